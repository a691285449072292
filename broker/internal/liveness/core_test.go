package liveness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

const (
	testInterval = DefaultPingInterval
	testSilent   = DefaultSilentAfter
	simStep      = 5 * time.Millisecond
)

type way struct{ from, to protocol.BrokerID }

// sim runs detectors' cores on simulated time: a ping takes one step, unless its way is cut or its receiver is
// paused (then it waits).
type sim struct {
	now    time.Time
	ids    []protocol.BrokerID
	cores  map[protocol.BrokerID]*core
	cut    map[way]bool
	paused map[protocol.BrokerID]bool
	inbox  map[protocol.BrokerID][]func()
	events map[protocol.BrokerID][]event
	check  func(at protocol.BrokerID)
	// Ground truth: when to last got something of from, and when that was last testSilent ago.
	heard, silentAt map[way]time.Time
}

func bootOf(id protocol.BrokerID, n byte) [16]byte { return [16]byte{byte(id), n, 1} }

func newSim(n int) *sim {
	s := &sim{
		now: time.Unix(1000, 0), cores: map[protocol.BrokerID]*core{}, cut: map[way]bool{},
		paused: map[protocol.BrokerID]bool{}, inbox: map[protocol.BrokerID][]func(){},
		events: map[protocol.BrokerID][]event{}, heard: map[way]time.Time{}, silentAt: map[way]time.Time{},
	}
	for i := range n {
		s.ids = append(s.ids, protocol.BrokerID(i+1))
	}
	for _, id := range s.ids {
		s.boot(id, 1)
	}
	return s
}

func (s *sim) boot(id protocol.BrokerID, n byte) {
	c := newCore(&Config{
		Self: id, BootID: bootOf(id, n), Peers: s.ids, PingInterval: testInterval, SilentAfter: testSilent,
	}, s.now)
	c.start(s.now)
	s.cores[id] = c
	s.inbox[id] = nil
}

func (s *sim) run(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(simStep)
		for _, id := range s.ids {
			if s.paused[id] || s.cores[id] == nil {
				continue
			}
			pending := s.inbox[id]
			s.inbox[id] = nil
			for _, f := range pending {
				f()
			}
			// Brokers tick at different times.
			if (s.now.UnixMilli()+int64(id)*15)%testInterval.Milliseconds() == 0 {
				s.note(id, s.cores[id].tick(s.now, s.cores[id].condition))
				s.send(id)
			}
			for _, from := range s.ids {
				if s.now.Sub(s.heard[way{from, id}]) >= testSilent {
					s.silentAt[way{from, id}] = s.now
				}
			}
			if s.check != nil {
				s.check(id)
			}
		}
	}
}

func (s *sim) note(id protocol.BrokerID, evs []event) { s.events[id] = append(s.events[id], evs...) }

func (s *sim) send(id protocol.BrokerID) {
	b := func() []byte { m := s.cores[id].next(s.now); return m.append(nil) }()
	for _, to := range s.ids {
		if to == id || s.cut[way{id, to}] || s.cores[to] == nil {
			continue
		}
		s.inbox[to] = append(s.inbox[to], func() {
			m, err := parsePing(b)
			if err != nil {
				panic(err)
			}
			s.heard[way{id, to}] = s.now
			s.note(to, s.cores[to].ping(s.now, id, m))
		})
	}
}

func (s *sim) cutOut(id protocol.BrokerID, cut bool) {
	for _, to := range s.ids {
		s.cut[way{id, to}] = cut
	}
}

func (s *sim) cutIn(id protocol.BrokerID, cut bool) {
	for _, from := range s.ids {
		s.cut[way{from, id}] = cut
	}
}

// deposers returns who would take leadership from leader now: the judgement and Inv5 together.
func (s *sim) deposers(leader protocol.BrokerID, replicas []protocol.BrokerID) (out []protocol.BrokerID) {
	for _, id := range s.ids {
		if s.paused[id] || s.cores[id] == nil {
			continue
		}
		if _, ok := s.cores[id].deposed(s.now, leader, replicas); ok && s.cores[id].hearsMajority(s.now, replicas) {
			out = append(out, id)
		}
	}
	return out
}

func ids(n ...protocol.BrokerID) []protocol.BrokerID { return n }

func TestSilenceIsAgreed(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	for _, id := range s.ids {
		require.Empty(t, s.deposers(id, s.ids))
	}
	s.cutOut(1, true)
	s.cutIn(1, true)
	s.run(testSilent - 60*time.Millisecond)
	require.Empty(t, s.deposers(1, s.ids))
	s.run(160 * time.Millisecond)
	require.Equal(t, ids(2, 3), s.deposers(1, s.ids))
	require.False(t, s.cores[1].hearsMajority(s.now, s.ids))
	require.Equal(t, Suspect, s.cores[2].peers[1].state)
	s.cutOut(1, false)
	s.cutIn(1, false)
	s.run(150 * time.Millisecond)
	for _, id := range s.ids {
		require.Empty(t, s.deposers(id, s.ids), "healed")
		require.True(t, s.cores[id].hearsMajority(s.now, s.ids))
	}
}

func TestOneWayCutsBetweenTwoMoveNoLeader(t *testing.T) {
	for _, both := range []bool{false, true} {
		s := newSim(3)
		s.run(time.Second)
		s.check = func(protocol.BrokerID) {
			for _, l := range s.ids {
				require.Empty(t, s.deposers(l, s.ids), "leader %d both=%v", l, both)
			}
		}
		s.cut[way{1, 2}] = true
		s.cut[way{2, 1}] = both
		s.run(5 * time.Second)
		require.Equal(t, Suspect, s.cores[2].peers[1].state, "but it is seen")
	}
}

// TestABrokerIsMissedByAMajority: what one alone does not hear is not missed, and what most do not hear is, from then on.
func TestABrokerIsMissedByAMajority(t *testing.T) {
	s := newSim(4)
	s.run(time.Second)
	missed := func(at protocol.BrokerID) time.Time { return s.cores[at].peers[1].view().Missed }
	s.cut[way{1, 2}] = true
	s.run(5 * time.Second)
	require.Equal(t, Suspect, s.cores[2].peers[1].state)
	for _, at := range ids(2, 3, 4) {
		require.Zero(t, missed(at), "two of three hear it")
	}
	s.cut[way{1, 3}] = true
	begun := s.now
	s.run(5 * time.Second)
	for _, at := range ids(2, 3, 4) {
		require.WithinDuration(t, begun.Add(testSilent), missed(at), 4*testInterval, "two of three do not, one that does included")
	}
	s.cutOut(1, false)
	s.run(200 * time.Millisecond)
	for _, at := range ids(2, 3, 4) {
		require.Zero(t, missed(at))
	}
	s.cores[3], s.cores[4] = nil, nil
	s.cut[way{1, 2}] = true
	s.run(time.Second)
	require.NotZero(t, missed(2), "who says nothing does not count")
}

// breakOff ends all connections of id, which everybody notices at once.
func (s *sim) breakOff(id protocol.BrokerID) {
	s.cutOut(id, true)
	s.cutIn(id, true)
	for _, other := range s.ids {
		if other != id {
			s.cores[other].lost(s.now, id, bootOf(id, 1))
			s.cores[id].lost(s.now, other, bootOf(other, 1))
		}
	}
}

func TestConnectionsThatAreMadeAgainMoveNoLeader(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.check = func(protocol.BrokerID) {
		for _, l := range s.ids {
			require.Empty(t, s.deposers(l, s.ids))
		}
		require.True(t, s.cores[1].hearsMajority(s.now, s.ids), "as its own handshakes have time too")
	}
	for range 3 {
		s.breakOff(1)
		s.run(2*testSilent - 2*testInterval)
		s.cutOut(1, false)
		s.cutIn(1, false)
		s.run(300 * time.Millisecond)
	}
}

func TestConnectionsThatBreakAgainAndAgainHideNoSilence(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	for begun := s.now; s.now.Sub(begun) < 2*testSilent+2*testInterval; s.run(simStep) {
		s.breakOff(1)
	}
	require.Equal(t, ids(2, 3), s.deposers(1, s.ids))
	require.False(t, s.cores[1].hearsMajority(s.now, s.ids))
}

func TestWhatBrokeDuringAnOwnPauseIsNotHeard(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.paused[1] = true
	s.run(5 * time.Second)
	s.paused[1] = false
	s.cutIn(1, true)
	s.inbox[1] = nil
	s.run(testInterval)
	s.cores[1].lost(s.now, 2, bootOf(2, 1))
	s.cores[1].lost(s.now, 3, bootOf(3, 1))
	require.False(t, s.cores[1].hearsMajority(s.now, s.ids))
}

func TestALeaderNobodyHearsIsDeposedAndDoesNotStrikeBack(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.cutOut(1, true)
	s.run(600 * time.Millisecond)
	require.Equal(t, ids(2, 3), s.deposers(1, s.ids))
	for _, l := range ids(2, 3) {
		require.Empty(t, s.deposers(l, s.ids), "1 hears both, they hear each other")
	}
}

func TestADeafLeaderIsDeposedAndDoesNotStrikeBack(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.cutIn(1, true)
	s.run(600 * time.Millisecond)
	require.False(t, s.cores[1].hearsMajority(s.now, s.ids))
	require.Equal(t, ids(2, 3), s.deposers(1, s.ids))
	cause, _ := s.cores[2].deposed(s.now, 1, s.ids)
	require.Equal(t, causeDeafness, cause)
	require.Empty(t, s.deposers(2, s.ids), "1 hears no majority and must not campaign")
}

func TestStartingBrokersDeposeNobody(t *testing.T) {
	s := newSim(3)
	s.check = func(protocol.BrokerID) {
		for _, l := range s.ids {
			require.Empty(t, s.deposers(l, s.ids))
		}
	}
	s.run(time.Second)
	s.cores[2] = nil
	s.run(100 * time.Millisecond)
	s.boot(2, 2)
	s.run(time.Second)
}

func TestOwnPauseIsNotTheirSilence(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.paused[2] = true
	s.run(3 * time.Second)
	require.Equal(t, ids(1, 3), s.deposers(2, s.ids))
	s.paused[2] = false
	s.check = func(at protocol.BrokerID) {
		if at == 2 {
			require.NotContains(t, s.deposers(1, s.ids), at)
			require.NotContains(t, s.deposers(3, s.ids), at)
		}
	}
	// The worst order: the judgement is asked before anything was read or ticked.
	s.check(2)
	s.run(time.Second)
	require.Empty(t, s.deposers(2, s.ids))
	paused := false
	for _, ev := range s.events[2] {
		paused = paused || ev.pause > 2*time.Second
	}
	require.True(t, paused)
}

// A pause shorter than SilentAfter leaves reports that look fresh.
func TestAShortOwnPauseIsNotTheirSilenceEither(t *testing.T) {
	for phase := time.Duration(0); phase < testInterval; phase += simStep {
		s := newSim(3)
		s.cut[way{1, 3}] = true // 3 says truly that it does not hear 1
		s.run(time.Second + phase)
		s.paused[2] = true
		for range testSilent / simStep {
			s.run(simStep)
			_, ok := s.cores[2].deposed(s.now, 1, s.ids)
			require.False(t, ok, "asked in the moment of waking up")
		}
		s.paused[2] = false
		s.check = func(protocol.BrokerID) { require.Empty(t, s.deposers(1, s.ids)) }
		s.run(time.Second)
	}
}

func TestAllPausedTogether(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	for _, id := range s.ids {
		s.paused[id] = true
	}
	s.run(10 * time.Second)
	s.check = func(protocol.BrokerID) {
		for _, l := range s.ids {
			require.Empty(t, s.deposers(l, s.ids))
		}
	}
	clear(s.paused)
	s.run(2 * time.Second)
}

func TestTheLastOneAloneDeposesNobody(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.paused[1], s.paused[3] = true, true
	s.run(5 * time.Second)
	require.Empty(t, s.deposers(1, s.ids))
	_, ok := s.cores[2].deposed(s.now, 1, s.ids)
	require.False(t, ok)
}

func TestFiveReplicasNeedThree(t *testing.T) {
	s := newSim(5)
	s.run(time.Second)
	s.cut[way{1, 2}], s.cut[way{1, 3}] = true, true
	s.run(2 * time.Second)
	require.Empty(t, s.deposers(1, s.ids))
	s.cut[way{1, 4}] = true
	s.run(600 * time.Millisecond)
	require.Equal(t, ids(2, 3, 4), s.deposers(1, s.ids))
	require.Empty(t, s.deposers(1, ids(1, 2, 5)), "another shard, whose replicas hear it")
}

func TestDeathIsImmediateAndDeliveredOnce(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	c := s.cores[2]
	evs := c.down(s.now, 1, bootOf(1, 1), "refused")
	require.Len(t, evs, 1)
	require.True(t, evs[0].died)
	require.Empty(t, c.down(s.now, 1, bootOf(1, 1), "refused again"))
	cause, ok := c.deposed(s.now, 1, s.ids)
	require.True(t, ok)
	require.Equal(t, causeDeath, cause)
	require.False(t, c.alive(s.now, 1))

	// What it had sent before arrives after.
	late := ping{seq: 1 << 40, boot: bootOf(1, 1)}
	require.Empty(t, c.ping(s.now.Add(time.Millisecond), 1, late))
	require.Equal(t, Dead, c.peers[1].state)

	// The next incarnation is alive at once; a late word of or about the old one changes nothing.
	evs = c.up(s.now, 1, bootOf(1, 2))
	require.Len(t, evs, 1)
	require.False(t, evs[0].died, "its death was delivered")
	require.True(t, c.alive(s.now, 1))
	require.True(t, c.incarnationGone(s.now, 1, bootOf(1, 1)))
	require.Empty(t, c.down(s.now, 1, bootOf(1, 1), "late"))
	require.Empty(t, c.ping(s.now, 1, late))
	require.Empty(t, c.up(s.now, 1, bootOf(1, 1)))
	require.True(t, c.alive(s.now, 1))
	_, ok = c.deposed(s.now, 1, s.ids)
	require.False(t, ok)
}

func TestANewIncarnationMetFirstDeliversTheOldDeath(t *testing.T) {
	meet := map[string]func(c *core, now time.Time) []event{
		"handshake": func(c *core, now time.Time) []event { return c.up(now, 1, bootOf(1, 2)) },
		"ping":      func(c *core, now time.Time) []event { return c.ping(now, 1, ping{seq: 1, boot: bootOf(1, 2)}) },
	}
	for name, f := range meet {
		s := newSim(3)
		s.run(time.Second)
		evs := f(s.cores[2], s.now)
		require.Len(t, evs, 2, name)
		require.True(t, evs[0].died)
		require.Equal(t, bootOf(1, 1), evs[0].boot)
		require.Equal(t, Alive, evs[1].view.State)
	}
}

func TestAContradictedDeathIsWithdrawn(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	// Somebody rejects what 1 and 2 send each other: it looks like death to both.
	s.cut[way{1, 2}], s.cut[way{2, 1}] = true, true
	s.cores[2].down(s.now, 1, bootOf(1, 1), "refused")
	s.cores[1].down(s.now, 2, bootOf(2, 1), "refused")
	_, ok := s.cores[2].deposed(s.now, 1, s.ids)
	require.True(t, ok, "acts at once")
	s.run(250 * time.Millisecond)
	s.check = func(protocol.BrokerID) {
		require.Empty(t, s.deposers(1, s.ids))
		require.Empty(t, s.deposers(2, s.ids))
	}
	s.run(2 * time.Second)
	require.False(t, s.cores[2].incarnationGone(s.now, 1, bootOf(1, 1)))
	evs := s.cores[2].up(s.now, 1, bootOf(1, 1))
	require.Len(t, evs, 1)
	require.True(t, s.cores[2].alive(s.now, 1))
}

func TestARealDeathIsNotContradicted(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.cores[1] = nil
	// 2 sees it; 3 does not, and goes on saying that it heard 1 some time ago.
	s.cores[2].down(s.now, 1, bootOf(1, 1), "refused")
	s.check = func(at protocol.BrokerID) {
		if at == 2 {
			_, ok := s.cores[2].deposed(s.now, 1, s.ids)
			require.True(t, ok)
		}
	}
	s.run(2 * time.Second)
	require.Equal(t, Suspect, s.cores[3].peers[1].state)
	_, ok := s.cores[3].deposed(s.now, 1, s.ids)
	require.True(t, ok, "2 says dead, 3 itself does not hear it")
}

func TestClocksStartedAnewContradictNoDeath(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.cores[1] = nil
	s.cores[2].down(s.now, 1, bootOf(1, 1), "refused")
	s.paused[3] = true // it sees nothing, and after its pause it gives 1 its time again
	s.run(time.Second)
	s.paused[3] = false
	s.check = func(protocol.BrokerID) {
		_, ok := s.cores[2].deposed(s.now, 1, s.ids)
		require.True(t, ok)
	}
	s.run(time.Second)
}

func TestAStalledDiskIsTold(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.cores[1].stalled = true
	s.run(100 * time.Millisecond)
	require.Equal(t, ids(2, 3), s.deposers(1, s.ids))
	require.False(t, s.cores[1].candidate(s.now, 1))
	require.False(t, s.cores[2].candidate(s.now, 1))
	require.True(t, s.cores[2].alive(s.now, 1))
	s.cores[1].stalled = false
	s.run(100 * time.Millisecond)
	require.Empty(t, s.deposers(1, s.ids))
}

func TestAFullDiskAndHungerAreTold(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	require.True(t, s.cores[1].roomy(s.now, 1))
	require.True(t, s.cores[2].roomy(s.now, 1))
	s.cores[1].starved = true
	s.run(100 * time.Millisecond)
	require.False(t, s.cores[1].roomy(s.now, 1))
	require.False(t, s.cores[2].roomy(s.now, 1))
	require.True(t, s.cores[2].candidate(s.now, 1), "it may still be the only one")
	require.Equal(t, ids(2, 3), s.deposers(1, s.ids))
	s.cores[2].starved, s.cores[3].starved = true, true
	s.run(100 * time.Millisecond)
	require.Empty(t, s.deposers(1, s.ids), "nobody is better off")
	s.cores[2].starved, s.cores[3].starved = false, false
	s.cores[1].starved = false
	s.run(100 * time.Millisecond)
	require.True(t, s.cores[2].roomy(s.now, 1))
	s.cores[1].short = true
	s.run(100 * time.Millisecond)
	require.False(t, s.cores[1].roomy(s.now, 1))
	require.False(t, s.cores[2].roomy(s.now, 1))
	require.Empty(t, s.deposers(1, s.ids), "it hands over by itself, and reads are served meanwhile")
	s.cores[1].short = false
	s.run(100 * time.Millisecond)
	require.True(t, s.cores[2].roomy(s.now, 1))
}

func TestAnUnknownBrokerIsIgnored(t *testing.T) {
	s := newSim(3)
	c := s.cores[1]
	require.Empty(t, c.ping(s.now, 9, ping{}))
	require.Empty(t, c.up(s.now, 9, bootOf(9, 1)))
	require.Empty(t, c.down(s.now, 9, bootOf(9, 1), ""))
	_, ok := c.deposed(s.now, 9, s.ids)
	require.False(t, ok)
	_, ok = c.deposed(s.now, 1, s.ids)
	require.False(t, ok, "nobody deposes itself")
	require.False(t, c.candidate(s.now, 9))
}

// TestSilenceNeverDeposesAHeardLeader cuts ways and pauses brokers at random: whoever would depose a leader
// for silence must be right about itself and about a majority.
func TestSilenceNeverDeposesAHeardLeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 5).Draw(t, "brokers")
		s := newSim(n)
		s.run(600 * time.Millisecond)
		s.check = func(at protocol.BrokerID) {
			for _, l := range s.ids {
				cause, ok := s.cores[at].deposed(s.now, l, s.ids)
				if !ok || cause != causeSilence {
					continue
				}
				if s.now.Sub(s.heard[way{l, at}]) < testSilent {
					t.Fatalf("%d deposes %d although it hears it", at, l)
				}
				silent := 0
				for _, r := range s.ids {
					// What a replica said may be testSilent old, and it travelled for a step.
					if r != l && s.now.Sub(s.silentAt[way{l, r}]) <= testSilent+2*simStep {
						silent++
					}
				}
				if silent <= n/2 && len(s.paused) == 0 {
					t.Fatalf("%d deposes %d, but only %d of %d do not hear it", at, l, silent, n)
				}
			}
		}
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			a := protocol.BrokerID(rapid.IntRange(1, n).Draw(t, "a"))
			b := protocol.BrokerID(rapid.IntRange(1, n).Draw(t, "b"))
			switch {
			case a != b:
				s.cut[way{a, b}] = !s.cut[way{a, b}]
			case s.paused[a]:
				delete(s.paused, a)
			default:
				s.paused[a] = true
			}
			s.run(time.Duration(rapid.IntRange(1, 140).Draw(t, "ms")) * simStep)
		}
	})
}

func TestABrokerThatJoins(t *testing.T) {
	s := newSim(3)
	s.run(time.Second)
	s.ids = append(s.ids, 4)
	for _, id := range ids(1, 2, 3) {
		require.Empty(t, s.cores[id].setPeers(s.now, s.ids))
	}
	require.False(t, s.cores[1].alive(s.now, 4))
	for range 2 * int(testSilent/simStep) {
		require.Less(t, s.cores[1].silence(s.now, s.cores[1].peers[4]), testSilent, "nobody could hear it yet")
		require.Empty(t, s.cores[1].troubled(s.now))
		s.run(simStep)
	}
	s.run(2 * testInterval) // until the others have said so
	require.Equal(t, Unknown, s.cores[1].peers[4].state)
	_, ok := s.cores[1].deposed(s.now, 4, ids(1, 2, 4))
	require.True(t, ok, "what did not come in all that time is silent for 1 and 2")
	_, ok = s.cores[1].deposed(s.now, 2, ids(1, 2, 4))
	require.False(t, ok, "2 hears 1")
	s.boot(4, 1)
	s.run(200 * time.Millisecond)
	for _, id := range s.ids {
		require.True(t, s.cores[id].hearsMajority(s.now, ids(1, 2, 4)))
		require.True(t, s.cores[id].alive(s.now, 4))
		require.Empty(t, s.cores[id].troubled(s.now))
	}
}

func TestABrokerThatIsForgotten(t *testing.T) {
	s := newSim(4)
	s.run(time.Second)
	before := *s.cores[1].peers[2]
	require.Equal(t, ids(3, 4), s.cores[1].setPeers(s.now, ids(1, 2, 2)))
	require.Equal(t, before, *s.cores[1].peers[2], "beliefs of those that stay, stay")
	require.Equal(t, ids(2), s.cores[1].ids)
	require.Nil(t, s.cores[1].up(s.now, 4, bootOf(4, 1)))
	require.Nil(t, s.cores[1].down(s.now, 4, bootOf(4, 1), "refused"))
	s.cores[4] = nil
	s.run(time.Second)
	require.Empty(t, s.cores[1].troubled(s.now), "that others do not hear 4 is nothing to 1")
	require.False(t, s.cores[1].candidate(s.now, 4))
	require.False(t, s.cores[1].hearsMajority(s.now, ids(1, 3, 4)))
	_, ok := s.cores[1].deposed(s.now, 4, ids(1, 2, 4))
	require.False(t, ok, "of 4 nothing is believed")
	require.False(t, s.cores[1].incarnationGone(s.now, 4, bootOf(4, 1)))

	// 1 does not watch 3, but 2 says that it hears it: 2 is not deaf. Nor does it matter to 2 that 1 hears less.
	_, ok = s.cores[1].deposed(s.now, 2, ids(2, 3, 4))
	require.False(t, ok)
	cause, ok := s.cores[2].deposed(s.now, 1, ids(1, 3, 4))
	require.True(t, ok, "1 hears neither 3 nor 4")
	require.Equal(t, causeDeafness, cause)

	many := make([]protocol.BrokerID, 0, MaxPeers+10)
	for i := range protocol.BrokerID(MaxPeers + 10) {
		many = append(many, i+1)
	}
	s.cores[1].setPeers(s.now, many)
	require.Len(t, s.cores[1].ids, MaxPeers)
}
