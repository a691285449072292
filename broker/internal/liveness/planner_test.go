package liveness

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// fakeJudge says what the test tells it.
type fakeJudge struct {
	self     protocol.BrokerID
	bad      map[protocol.BrokerID]string // deposed in every shard
	gone     map[death]bool
	minority bool
	weak     map[protocol.BrokerID]bool // no candidates
	far      time.Duration              // there and back, to everybody
}

func (j *fakeJudge) deposed(b protocol.BrokerID, _ []protocol.BrokerID) (string, bool) {
	return j.bad[b], j.bad[b] != ""
}
func (j *fakeJudge) incarnationGone(b protocol.BrokerID, boot [16]byte) bool {
	return j.gone[death{b, boot}]
}
func (j *fakeJudge) roundTrip(protocol.BrokerID) time.Duration { return j.far }
func (j *fakeJudge) HearsMajority([]protocol.BrokerID) bool    { return !j.minority }
func (j *fakeJudge) candidate(b protocol.BrokerID) bool        { return !j.weak[b] && j.bad[b] == "" }
func (j *fakeJudge) troubled() (out []protocol.BrokerID) {
	for b := range j.bad {
		out = append(out, b)
	}
	return out
}

// fakeShards is the Raft of one broker.
type fakeShards struct {
	shards  map[uint64]*fakeShard
	onAsk   func(id uint64)
	asked   map[uint64][]time.Duration // since start
	prayed  []time.Duration            // petitions, since start
	now     func() time.Time
	started time.Time
}

type fakeShard struct {
	replicas []protocol.BrokerID
	leader   protocol.BrokerID
	term     uint64
	last     protocol.BrokerID // led before leader was lost
}

func (f *fakeShards) Led(by protocol.BrokerID) (out []Shard) {
	for id, s := range f.shards {
		if s.leader == by || by != 0 && s.leader == 0 && s.last == by {
			out = append(out, Shard{ID: id, Term: s.term, Replicas: s.replicas, Last: s.last})
		}
	}
	return out
}

func (f *fakeShards) Leader(id uint64) (protocol.BrokerID, uint64, bool) {
	s := f.shards[id]
	if s == nil {
		return 0, 0, false
	}
	return s.leader, s.term, true
}

func (f *fakeShards) Campaign(id uint64) {
	f.asked[id] = append(f.asked[id], f.now().Sub(f.started))
	if f.onAsk != nil {
		f.onAsk(id)
	}
}

func (f *fakeShards) Petition(uint64, []protocol.BrokerID) {
	f.prayed = append(f.prayed, f.now().Sub(f.started))
}

type planned struct {
	*planner
	judge  *fakeJudge
	shards *fakeShards
	now    time.Time
}

func newPlanned(self protocol.BrokerID, shards map[uint64]*fakeShard) *planned {
	p := &planned{now: time.Unix(1000, 0)}
	p.judge = &fakeJudge{
		self: self, bad: map[protocol.BrokerID]string{}, gone: map[death]bool{}, weak: map[protocol.BrokerID]bool{},
	}
	p.shards = &fakeShards{
		shards: shards, asked: map[uint64][]time.Duration{}, now: func() time.Time { return p.now }, started: p.now,
	}
	p.planner = newPlanner(self, p.judge, p.shards)
	p.jitter = func(time.Duration) time.Duration { return 0 }
	return p
}

func (p *planned) run(d time.Duration, deaths ...death) {
	for end := p.now.Add(d); p.now.Before(end); p.now = p.now.Add(5 * time.Millisecond) {
		p.step(p.now, deaths)
		deaths = nil
	}
}

func ms(n ...int) (out []time.Duration) {
	for _, n := range n {
		out = append(out, time.Duration(n)*time.Millisecond)
	}
	return out
}

func TestTakeoverTakesTurns(t *testing.T) {
	for self, first := range map[protocol.BrokerID]time.Duration{2: 0, 3: turn} {
		p := newPlanned(self, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
		p.judge.bad[1] = causeSilence
		p.shards.onAsk = func(id uint64) { p.shards.shards[id] = &fakeShard{replicas: ids(1, 2, 3), leader: self, term: 5} }
		p.run(500 * time.Millisecond)
		require.Equal(t, []time.Duration{first}, p.shards.asked[7], "broker %d", self)
		require.Empty(t, p.claims)
	}
	p := newPlanned(3, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	p.judge.bad[1], p.judge.weak[2] = causeStall, true
	p.run(20 * time.Millisecond)
	require.Equal(t, ms(0), p.shards.asked[7], "2 cannot be expected to")
}

func TestASkippedCampaignIsAskedAgainSoonAndABegunOneIsGivenTime(t *testing.T) {
	p := newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	p.judge.bad[1] = causeSilence
	p.shards.onAsk = func(id uint64) {
		if len(p.shards.asked[id]) == 3 {
			p.shards.shards[id] = &fakeShard{replicas: ids(1, 2, 3), leader: 0, term: 5} // a campaign without a winner
		}
	}
	p.run(370 * time.Millisecond)
	require.Equal(t, ms(0, 25, 50, 355), p.shards.asked[7], "time for itself and for the other candidate")
	p.run(2 * time.Second)
	n := len(p.shards.asked[7])
	p.run(time.Second)
	require.InDelta(t, 10, len(p.shards.asked[7])-n, 1, "less often in the long run")
}

// TestWhoLostItsTermAsks: nobody was deposed, and nobody leads.
func TestWhoLostItsTermAsks(t *testing.T) {
	lost := func(self, last protocol.BrokerID) *planned {
		return newPlanned(self, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), term: 4, last: last}})
	}
	p := lost(2, 2)
	p.run(290 * time.Millisecond)
	require.Empty(t, p.shards.prayed, "whoever took the term may win yet")
	p.run(time.Second)
	require.Equal(t, ms(300, 400, 500), p.shards.prayed[:3])
	require.Empty(t, p.shards.asked, "it does not know that there is no leader")
	p.shards.shards[7].leader = 2 // in the term that it lost
	p.run(20 * time.Millisecond)
	require.Empty(t, p.claims)

	p = lost(2, 2)
	p.judge.far = 400 * time.Millisecond
	p.run(690 * time.Millisecond)
	require.Empty(t, p.shards.prayed)
	p.run(20 * time.Millisecond)
	require.Len(t, p.shards.prayed, 1)

	p = lost(2, 2)
	p.run(200 * time.Millisecond)
	p.shards.shards[7].leader = 3
	p.run(100 * time.Millisecond)
	p.shards.shards[7] = &fakeShard{replicas: ids(1, 2, 3), term: 5, last: 2}
	p.run(290 * time.Millisecond)
	require.Empty(t, p.shards.prayed, "its time begins anew")

	p = lost(2, 2)
	p.judge.minority = true
	p.run(time.Second)
	p.judge.minority = false
	p.run(290 * time.Millisecond)
	require.Empty(t, p.shards.prayed, "it was cut off, and hears from now on who leads")
	require.Empty(t, p.claims)
}

// TestAQuestionIsNoTakeover: a replica that just started may ask for what another one has led all along.
func TestAQuestionIsNoTakeover(t *testing.T) {
	for leader, want := range map[protocol.BrokerID]float64{3: 0, 2: 1} {
		p := newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), term: 4, last: 2}})
		to := NewTakeover(TakeoverConfig{Detector: &Detector{cfg: Config{Self: 2}, events: make(chan event, 1)}, Shards: p.shards, Registerer: prometheus.NewRegistry()})
		p.run(400 * time.Millisecond)
		require.Len(t, p.claims, 1)
		to.planner = p.planner
		p.shards.shards[7].leader, p.shards.shards[7].term = leader, 5
		p.step(p.now, nil)
		require.Len(t, p.outcomes, 1)
		to.report()
		require.InDelta(t, want, testutil.ToFloat64(to.claims.WithLabelValues(causeLost)), 0, "broker %d leads", leader)
	}
}

// TestALostShardIsClaimedInTurns: the last leader first, and after a power cut, when nobody knows who that was, in the usual order.
func TestALostShardIsClaimedInTurns(t *testing.T) {
	first := func(self, last protocol.BrokerID, weak ...protocol.BrokerID) time.Duration {
		p := newPlanned(self, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), term: 4, last: last}})
		for _, b := range weak {
			p.judge.weak[b] = true
		}
		p.run(2 * time.Second)
		return p.shards.prayed[0]
	}
	require.Equal(t, 2*lostGrace, first(1, 0))
	require.Equal(t, 2*lostGrace+turn, first(2, 0))
	require.Equal(t, 2*lostGrace+2*turn, first(3, 0))
	require.Equal(t, 2*lostGrace+turn, first(1, 3), "after the last leader")
	require.Equal(t, 2*lostGrace+2*turn, first(2, 3))
	require.Equal(t, 2*lostGrace, first(1, 3, 3), "which cannot lead")
}

// TestTheCandidateThatCannotWinGivesWay: broker 2 comes first, but only the log of broker 3 is long enough, and an election takes
// nearly as long as it is given, because votes wait for slow disks.
func TestTheCandidateThatCannotWinGivesWay(t *testing.T) {
	const election = 140 * time.Millisecond
	two := newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	three := newPlanned(3, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	var wins time.Time // when the election of broker 3 is decided; zero: none is under way
	campaign := func(decided bool) func(uint64) {
		return func(id uint64) {
			term := two.shards.shards[id].term + 1
			for _, p := range []*planned{two, three} {
				p.shards.shards[id] = &fakeShard{replicas: ids(1, 2, 3), term: term, last: 1}
			}
			if wins = (time.Time{}); decided {
				wins = three.now.Add(election)
			}
		}
	}
	two.shards.onAsk, three.shards.onAsk = campaign(false), campaign(true)
	two.judge.bad[1], three.judge.bad[1] = causeSilence, causeSilence
	begun := two.now
	for wins.IsZero() || three.now.Before(wins) {
		two.run(5 * time.Millisecond)
		three.run(5 * time.Millisecond)
		require.Less(t, three.now.Sub(begun), 600*time.Millisecond, "broker 2 asked at %v, broker 3 at %v", two.shards.asked[7], three.shards.asked[7])
	}
}

// rivals are brokers 2 and 3, which both claim the shard of broker 1; only broker 3 has a log that is long enough.
type rivals struct {
	two, three *planned
	news       []news        // of elections, in the order of at
	half       time.Duration // from standing to the other one's hearing of it, and from there to its vote
	wins       time.Time     // when the vote of broker 2 reaches broker 3; zero: none is on its way
}

// news is what a broker learns of the other one's candidacy.
type news struct {
	to   *planned
	term uint64
	at   time.Time
}

func newRivals(half time.Duration) *rivals {
	r := &rivals{half: half}
	r.two = newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	r.three = newPlanned(3, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	for _, p := range []*planned{r.two, r.three} {
		p.judge.bad[1] = causeSilence
		random := rand.New(rand.NewPCG(uint64(half), uint64(p.self))) //nolint:gosec // repeatable
		p.jitter = func(most time.Duration) time.Duration { return time.Duration(random.Int64N(int64(most))) }
	}
	r.two.shards.onAsk = func(uint64) { r.stand(r.two, r.three) }
	r.three.shards.onAsk = func(uint64) { r.stand(r.three, r.two) }
	return r
}

// stand makes p a candidate of the next term; one that is a candidate already gives up the election that is under way.
func (r *rivals) stand(p, other *planned) {
	s := p.shards.shards[7]
	s.term, s.leader, s.last, r.wins = s.term+1, 0, 1, time.Time{}
	r.news = append(r.news, news{other, s.term, p.now.Add(r.half)})
}

// hear delivers what is due: a higher term ends the candidacy of whoever hears of it, and broker 2 votes for broker 3.
func (r *rivals) hear() {
	for len(r.news) > 0 && !r.two.now.Before(r.news[0].at) {
		n := r.news[0]
		r.news = r.news[1:]
		s := n.to.shards.shards[7]
		if n.term <= s.term {
			continue
		}
		s.term, s.leader, s.last, r.wins = n.term, 0, 1, time.Time{}
		if n.to == r.two {
			r.wins = n.at.Add(r.half)
		}
	}
}

// elect runs both until broker 3 has its votes.
func (r *rivals) elect(t *testing.T, limit time.Duration) time.Duration {
	begun := r.two.now
	for r.wins.IsZero() || r.two.now.Before(r.wins) {
		r.hear()
		r.two.run(5 * time.Millisecond)
		r.three.run(5 * time.Millisecond)
		require.Less(t, r.two.now.Sub(begun), limit, "a vote takes %v: broker 2 asked at %v, broker 3 at %v", 2*r.half, r.two.shards.asked[7], r.three.shards.asked[7])
	}
	return r.two.now.Sub(begun)
}

// TestSlowVotesDoNotKeepRivalsAtEachOther: votes take up to twice as long as an election is given at first, so that broker 2 takes
// its turn before it can hear that broker 3 stands.
func TestSlowVotesDoNotKeepRivalsAtEachOther(t *testing.T) {
	for half := 20 * time.Millisecond; half <= electionTime; half += 10 * time.Millisecond {
		took := newRivals(half).elect(t, 1100*time.Millisecond)
		t.Logf("votes in %v: leader after %v", 2*half, took)
	}
}

// TestFarBrokersElectAtOnce: both know how far they are from each other, so none takes its turn before it can have heard of the other.
func TestFarBrokersElectAtOnce(t *testing.T) {
	for half := electionTime; half <= maxWay/2; half += 50 * time.Millisecond {
		r := newRivals(half)
		r.two.judge.far, r.three.judge.far = 2*half, 2*half
		took := r.elect(t, 3*time.Second+8*half)
		require.Equal(t, 2, len(r.two.shards.asked[7])+len(r.three.shards.asked[7]), "votes in %v took %v", 2*half, took)
		t.Logf("votes in %v: leader after %v, broker 2 asked at %v, broker 3 at %v", 2*half, took, r.two.shards.asked[7], r.three.shards.asked[7])
	}
}

// TestACandidateThatNeverWinsDoesNotStarveTheOther: broker 3 has lost elections before, to votes that were slow then.
func TestACandidateThatNeverWinsDoesNotStarveTheOther(t *testing.T) {
	r := newRivals(150 * time.Millisecond)
	for range 6 { // elections at the same time: nobody can win
		for _, p := range []*planned{r.two, r.three} {
			p.step(p.now, nil)
			require.NotNil(t, p.claims[7])
			p.claims[7].next = p.now
			p.step(p.now, nil)
			p.step(p.now, nil)
		}
		r.news, r.wins = nil, time.Time{}
	}
	require.Equal(t, r.two.shards.shards[7].term, r.three.shards.shards[7].term)
	r.half = 30 * time.Millisecond
	r.elect(t, 3*time.Second)
}

// TestAnElectionIsBroughtToItsEnd: the leader is heard again when it has lost its term already.
func TestAnElectionIsBroughtToItsEnd(t *testing.T) {
	p := newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	p.judge.bad[1] = causeSilence
	p.shards.onAsk = func(id uint64) {
		p.shards.shards[id] = &fakeShard{replicas: ids(1, 2, 3), term: p.shards.shards[id].term + 1, last: 1}
	}
	p.run(50 * time.Millisecond)
	require.Len(t, p.shards.asked[7], 1)
	delete(p.judge.bad, 1)
	p.run(time.Second)
	require.Greater(t, len(p.shards.asked[7]), 1, "nobody leads")
	p.shards.shards[7].leader = 1
	p.run(10 * time.Millisecond)
	require.Empty(t, p.claims)
}

// TestTheSecondToLearnOfADeathStandsToo: broker 3 learnt first and stood for election, so that broker 2 knows no leader any more
// when it learns. Only the log of broker 2 is good enough.
func TestTheSecondToLearnOfADeathStandsToo(t *testing.T) {
	p := newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), term: 5, last: 1}})
	dead := death{broker: 1, boot: [16]byte{1}}
	p.judge.gone[dead] = true
	p.run(400*time.Millisecond, dead)
	require.NotEmpty(t, p.shards.asked[7])
	require.Equal(t, electionTime, p.shards.asked[7][0], "the election under way is given its time")
}

func TestAnElectionElsewhereIsNotDisturbed(t *testing.T) {
	p := newPlanned(3, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	p.judge.bad[1] = causeSilence
	p.run(40 * time.Millisecond)
	p.shards.shards[7].term, p.shards.shards[7].leader = 5, 0 // 2 campaigns
	p.run(140 * time.Millisecond)
	require.Empty(t, p.shards.asked[7])
	p.shards.shards[7].leader = 2
	p.run(time.Second)
	require.Empty(t, p.shards.asked[7])
	require.Empty(t, p.claims)
}

func TestADeathHoldsThoughTheNextIncarnationIsAlive(t *testing.T) {
	p := newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}, 8: {replicas: ids(1, 2, 3), leader: 3, term: 4}})
	d := death{1, bootOf(1, 1)}
	p.judge.gone[d] = true
	p.run(100*time.Millisecond, d)
	require.NotEmpty(t, p.shards.asked[7])
	require.Empty(t, p.shards.asked[8])
	p.shards.shards[7] = &fakeShard{replicas: ids(1, 2, 3), leader: 1, term: 5} // it wins the next term itself: that is a new leader
	p.run(50 * time.Millisecond)
	require.Empty(t, p.claims)
}

func TestWithdrawnClaims(t *testing.T) {
	p := newPlanned(3, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}, 8: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
	d := death{1, bootOf(1, 1)}
	p.judge.gone[d] = true
	p.step(p.now, []death{d})
	require.Len(t, p.claims, 2)
	delete(p.judge.gone, d) // contradicted
	delete(p.shards.shards, 8)
	p.run(time.Second)
	require.Empty(t, p.claims)
	require.Empty(t, p.shards.asked)
	p.run(100*time.Millisecond, d)
	require.Empty(t, p.shards.asked, "contradicted before it was looked at")

	p.judge.bad[1] = causeSilence
	p.step(p.now, nil)
	require.Len(t, p.claims, 1)
	delete(p.judge.bad, 1)
	p.step(p.now, nil)
	require.Empty(t, p.claims)
	require.Equal(t, protocol.BrokerID(0), p.outcomes[0].leader)
}

func TestNoCampaignInAMinorityOrWithAStalledDisk(t *testing.T) {
	for _, minority := range []bool{true, false} {
		p := newPlanned(2, map[uint64]*fakeShard{7: {replicas: ids(1, 2, 3), leader: 1, term: 4}})
		p.judge.bad[1] = causeDeath
		p.judge.minority, p.judge.weak[2] = minority, !minority
		p.run(time.Second)
		require.Empty(t, p.shards.asked[7])
		p.judge.minority, p.judge.weak[2] = false, false
		p.run(200 * time.Millisecond)
		require.NotEmpty(t, p.shards.asked[7])
	}
}

func TestANewShardIsClaimedByItsPreferredReplica(t *testing.T) {
	p := newPlanned(2, map[uint64]*fakeShard{
		7: {replicas: ids(2, 1, 3), leader: 0, term: 1}, 8: {replicas: ids(1, 2, 3), leader: 0, term: 1}, 9: {replicas: ids(2, 1, 3), leader: 0, term: 4},
		10: {replicas: ids(2, 1, 3), leader: 0, term: 0}, 11: {replicas: ids(2), leader: 0, term: 4},
	})
	p.run(150 * time.Millisecond)
	require.Equal(t, newShardGrace, p.shards.asked[7][0])
	require.Equal(t, newShardGrace, p.shards.asked[11][0], "nobody else can lead it")
	require.Empty(t, p.shards.asked[8], "not its turn yet")
	p.run(newShardTurn)
	require.NotEmpty(t, p.shards.asked[8])
	require.Empty(t, p.shards.asked[9], "it had a leader before: the others are asked first")
	require.Empty(t, p.shards.asked[10], "its term is not yet known")
}

func TestShardsOfADeadBrokerAreLookedForLessOftenInTheLongRun(t *testing.T) {
	p := newPlanned(2, map[uint64]*fakeShard{})
	p.judge.bad[1] = causeDeath
	p.run(10 * time.Second)
	p.shards.shards[7] = &fakeShard{replicas: ids(1, 2, 3), leader: 1, term: 4} // a late word of a dead leader
	p.run(600 * time.Millisecond)
	require.NotEmpty(t, p.shards.asked[7])
	delete(p.judge.bad, 1)
	p.step(p.now, nil)
	require.Empty(t, p.trouble)
}

func TestALaterCandidateWaitsLongerWhenManyShardsAreClaimed(t *testing.T) {
	first := func(shards uint64) time.Duration {
		all := map[uint64]*fakeShard{}
		for id := range shards {
			all[100+id] = &fakeShard{replicas: ids(1, 3, 2), leader: 1, term: 4}
		}
		p := newPlanned(2, all)
		p.judge.bad[1] = causeDeath
		p.run(2 * time.Second)
		return p.shards.asked[100][0]
	}
	require.Equal(t, turn, first(1))
	require.InDelta(t, turn+99*perClaim, first(100), float64(5*time.Millisecond))
}
