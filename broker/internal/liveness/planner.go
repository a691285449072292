package liveness

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// Times of a takeover.
const (
	// turn is the head start of each candidate over the next one.
	turn = 80 * time.Millisecond
	// maxWay bounds the round trip that is added to turn, once, and to electionTime, twice (claim.way): an echo that took longer
	// tells of a broker that does not run.
	maxWay = time.Second
	// perClaim is how much longer an election takes for each other shard that is claimed with it: their terms and votes
	// wait for the same disks. A candidate whose turn comes before it could hear of the first one's campaign votes for
	// itself in the same term, and neither wins.
	perClaim = 2 * time.Millisecond
	// askAgain is when a campaign is asked again if the term did not move: it was skipped, most likely because the
	// replica had not applied all it knew to be committed. After quickAsks it is asked less often.
	askAgain  = 25 * time.Millisecond
	askSlowly = 100 * time.Millisecond
	quickAsks = 8
	// electionTime is what a campaign that was begun, here or elsewhere, gets before the next one, beside the way: it waits
	// for two fsyncs, and a new campaign would undo it. From the second election on that this broker stood for in vain it
	// doubles, maxDoublings times at most: votes may take longer than that.
	electionTime = 150 * time.Millisecond
	maxDoublings = 2
	// newShardGrace lets the other replicas of a shard that never had a leader start too. newShardTurn is longer than
	// Raft's heartbeat interval: a replica that starts late hears of a leader by then, even if nobody tells it sooner.
	newShardGrace = 100 * time.Millisecond
	newShardTurn  = 1100 * time.Millisecond
	// lostGrace is what a leader that lost its term without being deposed leaves to whoever took it, beside the way. Others wait twice
	// as long. Who was just started, or cut off, is told by a leader that it asks, at the latest when it claims (Shards.Petition).
	lostGrace = 300 * time.Millisecond
	// scanNew and scanOld are how often shards are looked for: without a leader, and led by a broker that has been
	// in trouble for longer than scanFast.
	scanNew  = 50 * time.Millisecond
	scanOld  = 500 * time.Millisecond
	scanFast = 5 * time.Second
	// firstTerm is the term of a shard that was bootstrapped and has never had a leader. A replica that was just
	// started again knows no leader either (and perhaps not yet its term): to claim its shard would depose a living one,
	// unless it is the only replica.
	firstTerm = 1
)

// judge is what the planner asks of the detector.
type judge interface {
	deposed(leader protocol.BrokerID, replicas []protocol.BrokerID) (cause string, ok bool)
	incarnationGone(b protocol.BrokerID, boot [16]byte) bool
	HearsMajority(replicas []protocol.BrokerID) bool
	candidate(b protocol.BrokerID) bool
	troubled() []protocol.BrokerID
	roundTrip(b protocol.BrokerID) time.Duration
}

// claim is one shard whose leadership is to be taken.
type claim struct {
	shard Shard
	from  protocol.BrokerID // 0: nobody was deposed, the shard is new or lost
	cause string
	death bool     // of the incarnation boot: holds even when the next incarnation is alive
	boot  [16]byte // of from, if death
	rank  int      // of this broker among the candidates
	begun time.Time
	next  time.Time // when to act
	term  uint64    // the highest seen
	asked int       // since the term moved
	stood int       // elections that this broker asked for and has not won
	place int       // candidates that are to stand before this broker does, again
	// way is the longest round trip to another candidate. The others learn of the deposition and of an election that much apart;
	// an election needs one for the votes and one until the others hear who won.
	way time.Duration
}

// turn is the head start of each candidate over the next one, election what a campaign gets before the next one.
func (c *claim) turn() time.Duration     { return turn + c.way }
func (c *claim) election() time.Duration { return electionTime + 2*c.way }

// outcome is what became of a claim, for the log.
type outcome struct {
	claim  *claim
	leader protocol.BrokerID // 0: withdrawn
}

// planner decides when to campaign for what. It has no goroutine and no clock; one goroutine uses it.
type planner struct {
	self   protocol.BrokerID
	judge  judge
	shards Shards
	jitter func(max time.Duration) time.Duration

	claims   map[uint64]*claim // at most one per local shard
	trouble  map[protocol.BrokerID]*scan
	newScan  time.Time
	lost     map[uint64]time.Time // since when shards that are not new have been found without a leader
	outcomes []outcome            // since the last step
	begun    []*claim             // since the last step
	asks     int
}

// scan remembers when a troubled broker's shards were last looked for.
type scan struct {
	since, last time.Time
}

func newPlanner(self protocol.BrokerID, j judge, s Shards) *planner {
	return &planner{
		self: self, judge: j, shards: s,
		jitter:  func(max time.Duration) time.Duration { return rand.N(max) },
		claims:  make(map[uint64]*claim),
		trouble: make(map[protocol.BrokerID]*scan),
	}
}

// step does what is due and returns when the next step is due (zero: whenever something changes).
func (p *planner) step(now time.Time, deaths []death) time.Time {
	p.outcomes, p.begun, p.asks = p.outcomes[:0], p.begun[:0], 0
	for _, d := range deaths {
		if !p.judge.incarnationGone(d.broker, d.boot) {
			continue
		}
		for _, s := range p.shards.Led(d.broker) {
			p.add(now, claim{shard: s, from: d.broker, cause: causeDeath, death: true, boot: d.boot, next: now})
		}
	}
	p.scanTroubled(now)
	if now.Sub(p.newScan) >= scanNew {
		p.newScan = now
		p.scanLeaderless(now)
	}
	for _, c := range p.begun {
		c.next = c.next.Add(time.Duration(c.rank*(len(p.claims)-1)) * perClaim)
	}
	return p.act(now)
}

// scanLeaderless claims shards without a leader that nobody was deposed from. Those that had one once lost it to a candidate that died or
// lacks what others have, or all brokers were down; without a claim all would wait for Raft's own timers. That there is no leader is then
// only believed, so who is asked first are the others (Shards.Petition).
func (p *planner) scanLeaderless(now time.Time) {
	lost := make(map[uint64]time.Time)
	for _, s := range p.shards.Led(0) {
		switch {
		case s.Term == firstTerm || len(s.Replicas) == 1:
			p.add(now, claim{shard: s, cause: causeNew, next: now.Add(newShardGrace)})
		case p.judge.HearsMajority(s.Replicas):
			since, seen := p.lost[s.ID]
			if !seen {
				since = now
			}
			lost[s.ID] = since
			if now.Sub(since) >= p.grace(s) {
				p.add(now, claim{shard: s, cause: causeLost, next: now})
			}
		}
	}
	p.lost = lost
}

// grace is how long a shard that had a leader once may have none before this broker claims it.
func (p *planner) grace(s Shard) time.Duration {
	grace := lostGrace + p.way(&claim{shard: s})
	if s.Last != p.self {
		grace *= 2
	}
	return grace
}

func (p *planner) scanTroubled(now time.Time) {
	troubled := p.judge.troubled()
	for id := range p.trouble {
		if !slices.Contains(troubled, id) {
			delete(p.trouble, id)
		}
	}
	for _, id := range troubled {
		sc := p.trouble[id]
		if sc == nil {
			sc = &scan{since: now}
			p.trouble[id] = sc
		}
		if now.Sub(sc.since) > scanFast && now.Sub(sc.last) < scanOld {
			continue
		}
		sc.last = now
		for _, s := range p.shards.Led(id) {
			if cause, ok := p.judge.deposed(id, s.Replicas); ok {
				p.add(now, claim{shard: s, from: id, cause: cause, next: now})
			}
		}
	}
}

// add takes up a claim unless the shard has one. c.next is when the first candidate acts.
func (p *planner) add(now time.Time, c claim) {
	if p.claims[c.shard.ID] != nil || !slices.Contains(c.shard.Replicas, p.self) {
		return
	}
	c.rank, c.way = p.rank(&c), p.way(&c)
	c.begun, c.term, c.place = now, c.shard.Term, c.rank
	if leader, _, ok := p.shards.Leader(c.shard.ID); c.from != 0 && ok && leader == 0 {
		// Somebody stands for election already. It may win, or its log may not be good enough.
		c.next = c.next.Add(c.election())
	}
	if c.cause == causeNew {
		c.next = c.next.Add(time.Duration(c.rank) * newShardTurn)
	} else {
		c.next = c.next.Add(time.Duration(c.rank) * c.turn())
	}
	p.claims[c.shard.ID] = &c
	p.begun = append(p.begun, &c)
}

// rank counts the candidates that come before this broker: in the order of the replicas, but of a shard that was lost the last leader first.
func (p *planner) rank(c *claim) (rank int) {
	first := protocol.BrokerID(0)
	if c.cause == causeLost {
		first = c.shard.Last
	}
	if first == p.self {
		return 0
	}
	if slices.Contains(c.shard.Replicas, first) && p.judge.candidate(first) {
		rank++
	}
	for _, r := range c.shard.Replicas {
		if r == p.self {
			break
		}
		if r != c.from && r != first && p.judge.candidate(r) {
			rank++
		}
	}
	return rank
}

// way measures how far the other candidates of a claim are.
func (p *planner) way(c *claim) (most time.Duration) {
	for _, r := range c.shard.Replicas {
		if r != p.self && r != c.from && p.judge.candidate(r) {
			most = max(most, p.judge.roundTrip(r))
		}
	}
	return min(most, maxWay)
}

// act goes through the claims in the order of shards.
func (p *planner) act(now time.Time) (next time.Time) {
	ids := make([]uint64, 0, len(p.claims))
	for id := range p.claims {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		c := p.claims[id]
		leader, term, ok := p.shards.Leader(id)
		if done, by := p.settled(c, leader, term, ok); done {
			delete(p.claims, id)
			p.outcomes = append(p.outcomes, outcome{c, by})
			continue
		}
		p.claimOne(now, c, term)
		if next.IsZero() || c.next.Before(next) {
			next = c.next
		}
	}
	return next
}

// settled reports whether nothing is left to do: there is a new leader (by), or no reason any more (by is 0).
func (p *planner) settled(c *claim, leader protocol.BrokerID, term uint64, ok bool) (done bool, by protocol.BrokerID) {
	switch {
	case !ok:
		return true, 0
	case leader != 0 && (leader != c.from || term > c.shard.Term):
		return true, leader
	case leader == 0 && c.from != 0 && term > c.shard.Term:
		// An election has cost the old leader its term. Though it is back, somebody must win: else the shard would wait
		// for Raft's own timers.
		return false, 0
	case c.death:
		return !p.judge.incarnationGone(c.from, c.boot), 0
	case c.from == 0:
		return false, 0
	}
	_, deposed := p.judge.deposed(c.from, c.shard.Replicas)
	return !deposed, 0
}

// begins takes note of an election, of this broker if it asked for one. Candidates go round: whoever has stood lets all the
// others pass before it stands again. Its log may be too short to win at all, and it would undo the election of the one
// that can, again and again.
func (c *claim) begins() {
	if c.asked == 0 {
		c.place = max(c.place-1, 0)
		return
	}
	c.stood++
	c.place = max(len(c.shard.Replicas)-2, 0) // the deposed leader is none of them
}

// patience is how long this broker leaves alone an election that has just begun, here or elsewhere: the time of that one and
// of those that are to pass. Those who stood at the same time each voted for themselves; the time of an election
// between their ranks keeps them from doing so again. All of it grows with the elections that this broker lost, as the
// others' votes may be slow.
func (p *planner) patience(c *claim) time.Duration {
	step := turn/2 + c.way
	if c.place > 0 && c.stood > 0 {
		step = c.election()
	}
	d := time.Duration(1+c.place)*c.election() + time.Duration(c.rank)*step + p.jitter(turn/2)
	d += time.Duration(len(p.claims)-1) * perClaim / 2
	return d << min(max(c.stood-1, 0), maxDoublings)
}

func (p *planner) claimOne(now time.Time, c *claim, term uint64) {
	if term > c.term {
		// Somebody campaigns, this broker or another one: give it the time an election takes.
		c.begins()
		c.term, c.asked = term, 0
		c.next = now.Add(p.patience(c))
		return
	}
	if now.Before(c.next) {
		return
	}
	if !p.judge.candidate(p.self) || !p.judge.HearsMajority(c.shard.Replicas) {
		c.next = now.Add(askSlowly)
		return
	}
	c.asked++
	if c.cause == causeLost {
		p.shards.Petition(c.shard.ID, c.shard.Replicas)
		c.next = now.Add(askSlowly)
		return
	}
	p.asks++
	p.shards.Campaign(c.shard.ID)
	if c.asked <= quickAsks {
		c.next = now.Add(askAgain)
	} else {
		c.next = now.Add(askSlowly + p.jitter(askSlowly/4))
	}
}
