package raftnode

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
)

// joined returns a replica ID of a broker that is no founder's.
func joined(id protocol.BrokerID, generation uint64) uint64 { return 1<<32*generation + uint64(id) }

func (c *cluster) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	c.t.Cleanup(cancel)
	return ctx
}

// leader returns a running broker that leads the shard, after it has made one of those that run a leader.
func (c *cluster) leader() *testBroker {
	c.t.Helper()
	begun := time.Now()
	for {
		for _, b := range c.brokers {
			if l, _ := b.node.Leader(testShard); l.Self {
				if _, err := b.node.Membership(c.context(), testShard); err == nil {
					return b
				}
			}
		}
		require.Less(c.t, time.Since(begun), soon, "nobody leads")
		for _, b := range c.brokers {
			if l, known := b.node.Leader(testShard); !known || c.brokers[l.Leader] == nil {
				b.node.Campaign(testShard)
			}
		}
		time.Sleep(campaignEvery)
	}
}

func (c *cluster) membership(b *testBroker) Membership {
	c.t.Helper()
	m, err := b.node.Membership(c.context(), testShard)
	require.NoError(c.t, err)
	return m
}

// change makes a change until it is made, as whoever leads then.
func (c *cluster) change(what string, made func(Membership) bool, step func(*testBroker, Membership) error) {
	c.t.Helper()
	for begun := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		require.Less(c.t, time.Since(begun), soon, what)
		b := c.leader()
		m, err := b.node.Membership(c.context(), testShard)
		if err != nil {
			continue
		}
		if made(m) {
			return
		}
		if err := step(b, m); err != nil {
			known := errors.Is(err, ErrChanged) || errors.Is(err, ErrUndecided) || errors.Is(err, ErrBusy) ||
				errors.Is(err, ErrNotReady) || errors.Is(err, ErrNotLeader) || errors.Is(err, ErrStopped)
			require.True(c.t, known, "%s: %v", what, err)
		}
	}
}

func (c *cluster) addLearner(r Replica) {
	c.t.Helper()
	c.change("add learner", func(m Membership) bool {
		_, learner := m.Learners[r.ReplicaID]
		_, voter := m.Voters[r.ReplicaID]
		return learner || voter
	}, func(b *testBroker, m Membership) error {
		return b.node.AddLearner(c.context(), testShard, r, m.ConfigChangeID)
	})
}

// promote waits until the learner has the log, and makes it a voter.
func (c *cluster) promote(r Replica) {
	c.t.Helper()
	c.change("promote", func(m Membership) bool {
		_, voter := m.Voters[r.ReplicaID]
		return voter
	}, func(b *testBroker, m Membership) error {
		if match, _, ok := b.node.Progress(testShard, r.ReplicaID); !ok || match < m.ConfigChangeID {
			return ErrNotReady
		}
		return b.node.Promote(c.context(), testShard, r, m.ConfigChangeID)
	})
}

// removeReplica removes a replica. A leader hands over first.
func (c *cluster) removeReplica(replica uint64) {
	c.t.Helper()
	c.change("remove", func(m Membership) bool {
		_, gone := m.Removed[replica]
		return gone
	}, func(b *testBroker, m Membership) error {
		if m.Voters[replica] == b.id {
			require.ErrorIs(c.t, b.node.RemoveReplica(c.context(), testShard, replica, m.ConfigChangeID), ErrSelf)
			for r, on := range m.Voters {
				if r != replica && c.brokers[on] != nil {
					_ = b.node.Transfer(c.context(), testShard, on, Handover{})
				}
			}
			time.Sleep(campaignWindow)
			return ErrNotLeader
		}
		return b.node.RemoveReplica(c.context(), testShard, replica, m.ConfigChangeID)
	})
}

// erase removes what a broker has of a replica that is no member.
func (c *cluster) erase(b *testBroker, replica uint64) {
	c.t.Helper()
	require.NoError(c.t, b.node.Stop(testShard))
	require.NoError(c.t, b.node.RemoveData(c.context(), testShard, replica))
	require.NoError(c.t, b.machine.Close())
	require.NoError(c.t, os.RemoveAll(c.data(b.id, replica)))
	require.Empty(c.t, b.node.Stored())
}

// grow adds a voter to the shard.
func (c *cluster) grow(b *testBroker, replica uint64) {
	c.t.Helper()
	r := Replica{Broker: b.id, ReplicaID: replica}
	c.addLearner(r)
	c.run(b, replica)
	c.promote(r)
}

// write begins an epoch on the leader and publishes some batches.
func (c *cluster) write(producer protocol.ProducerID, n int) *testBroker {
	c.t.Helper()
	b := c.leader()
	l, _ := b.node.Leader(testShard)
	r := c.propose(b, fsm.EpochBegin(l.Term, b.id, uint64(time.Now().UnixNano()), time.Now().UnixMilli()))
	require.Equal(c.t, fsm.ValueOK, r.Value)
	c.publish(b, fsm.ParseEpoch(r.Data), producer, n, 100)
	return b
}

// TestGrowReplaceShrink: from one replica to three and back to one, with a dead one replaced, and restarts between.
func TestGrowReplaceShrink(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 4, 1)
	one := c.start(1)
	c.write(1, 5)
	two, three := c.open(2), c.open(3)
	c.grow(two, joined(2, 1))
	c.write(2, 5)
	c.grow(three, joined(3, 1))
	leader := c.write(3, 5)
	c.same(leader, two)
	c.same(leader, three)

	c.kill(1) // the founder
	leader = c.write(4, 5)
	require.NotEqual(t, one.id, leader.id)
	c.removeReplica(1)
	c.grow(c.open(4), joined(4, 1))
	for id := protocol.BrokerID(2); id <= 4; id++ {
		c.kill(id)
		c.run(c.open(id), joined(id, 1))
		c.same(c.write(protocol.ProducerID(10+id), 3), c.brokers[id])
	}
	one = c.open(1)
	again := Start{Shard: testShard, Replica: joined(1, 2), Join: true}
	var other *OtherReplicaError
	require.ErrorAs(t, one.node.StartPartition(again, one.machine), &other)
	require.EqualValues(t, 1, other.Stored)
	require.NoError(t, one.node.RemoveData(c.context(), testShard, 1))
	c.grow(one, joined(1, 2))

	for id := protocol.BrokerID(4); id >= 2; id-- {
		c.removeReplica(joined(id, 1))
		c.erase(c.brokers[id], joined(id, 1))
		c.same(c.write(protocol.ProducerID(20+id), 3), one)
	}
	m := c.membership(one)
	require.Equal(t, map[uint64]protocol.BrokerID{joined(1, 2): 1}, m.Voters)
	require.Len(t, m.Removed, 4)
}

// compact takes a snapshot of a replica, once it is ready, and drops its log.
func (c *cluster) compact(b *testBroker) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		err := b.node.Compact(c.context(), testShard, b.machine.Applied())
		return err == nil || errors.Is(err, ErrNothingToCompact)
	}, soon, 5*time.Millisecond)
}

// TestRestartsOfAJoinedReplica: at every start it is what its log says, whatever of that is in a snapshot.
func TestRestartsOfAJoinedReplica(t *testing.T) {
	for name, at := range map[string]struct {
		learner, promoted bool // a snapshot is taken as a learner, after the promotion
		lags              bool // it is down while it is promoted and the leader's log is dropped: the snapshot promotes it
	}{
		"no snapshot":                     {},
		"of the learner":                  {learner: true},
		"of the voter":                    {promoted: true},
		"of both":                         {learner: true, promoted: true},
		"received by a learner":           {lags: true},
		"received by one with a snapshot": {learner: true, lags: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClusterOf(t, t.TempDir(), 2, 1)
			one := c.start(1)
			two := c.open(2)
			r := Replica{Broker: 2, ReplicaID: joined(2, 1)}
			c.write(1, 5)
			restart := func() {
				c.kill(2)
				two = c.run(c.open(2), r.ReplicaID)
			}
			c.run(two, r.ReplicaID) // before it is a member
			restart()
			c.addLearner(r)
			c.same(c.write(2, 5), two)
			if at.learner {
				c.compact(two)
			}
			restart()
			c.same(c.write(3, 5), two)
			require.True(t, two.node.isLearner(testShard))
			term := c.candidacyOf(two)
			require.ErrorIs(t, one.node.Transfer(c.context(), testShard, 2, Handover{}), ErrLearner)
			l, _ := one.node.Leader(testShard)
			require.Equal(t, term, l.Term, "a learner is no candidate")
			if at.lags {
				c.kill(2)
				m := c.membership(one)
				require.NoError(t, one.node.Promote(c.context(), testShard, r, m.ConfigChangeID))
				c.compact(one)
				two = c.run(c.open(2), r.ReplicaID)
			} else {
				c.promote(r)
			}
			c.same(c.write(4, 5), two)
			if at.promoted {
				c.compact(two)
			}
			restart()
			c.same(c.write(5, 5), two)
			require.Eventually(t, func() bool { return !two.node.isLearner(testShard) }, soon, time.Millisecond)
			require.NoError(t, one.node.Transfer(c.context(), testShard, 2, Handover{}))
			two.await(t, "it leads", func(l Leadership) bool { return l.Self })
			c.same(c.write(6, 5), one)
			c.kill(1)
			restart()
			c.kill(2)
			two = c.run(c.open(2), r.ReplicaID)
			one = c.start(1)
			c.same(c.write(7, 5), one)
			c.same(one, two)
		})
	}
}

// candidacyOf asks a replica to stand for election for a while and returns the term before.
func (c *cluster) candidacyOf(b *testBroker) uint64 {
	l, _ := b.node.Leader(testShard)
	for begun := time.Now(); time.Since(begun) < 2*campaignPatience; time.Sleep(campaignEvery) {
		b.node.Campaign(testShard)
		b.node.refused(testShard, l.Term, 1)
		b.node.deliver(b.node.standing(testShard, l.Term))
	}
	return l.Term
}

// TestChangesAreRefused: what nobody wanted does not happen.
func TestChangesAreRefused(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 3, 2)
	c.start(1)
	c.start(2)
	c.write(1, 1)
	leader := c.leader()
	follower := c.brokers[3-leader.id]
	r := Replica{Broker: 3, ReplicaID: joined(3, 1)}
	m := c.membership(follower)
	require.Equal(t, map[uint64]protocol.BrokerID{1: 1, 2: 2}, m.Voters)
	require.ErrorIs(t, follower.node.AddLearner(c.context(), testShard, r, m.ConfigChangeID), ErrNotLeader)
	require.ErrorIs(t, leader.node.AddLearner(c.context(), testShard, r, m.ConfigChangeID-1), ErrChanged, "stale")
	require.ErrorIs(t, leader.node.Promote(c.context(), testShard, r, m.ConfigChangeID), ErrChanged, "no learner")
	require.ErrorIs(t, leader.node.RemoveReplica(c.context(), testShard, uint64(leader.id), m.ConfigChangeID), ErrSelf)
	second := Replica{Broker: follower.id, ReplicaID: joined(follower.id, 1)}
	require.ErrorIs(t, leader.node.AddLearner(c.context(), testShard, second, m.ConfigChangeID), ErrChanged,
		"the broker has a replica")
	require.NoError(t, leader.node.AddLearner(c.context(), testShard, r, m.ConfigChangeID))
	next := c.membership(leader)
	require.Greater(t, next.ConfigChangeID, m.ConfigChangeID)
	require.Equal(t, map[uint64]protocol.BrokerID{r.ReplicaID: 3}, next.Learners)
	require.ErrorIs(t, leader.node.Promote(c.context(), testShard, r, m.ConfigChangeID), ErrChanged, "stale")
	for _, replica := range []uint64{r.ReplicaID, joined(3, 3)} { // a learner, and one that never was
		require.NoError(t, leader.node.RemoveReplica(c.context(), testShard, replica, next.ConfigChangeID))
		next = c.membership(leader)
		r := Replica{Broker: 3, ReplicaID: replica}
		require.ErrorIs(t, leader.node.AddLearner(c.context(), testShard, r, next.ConfigChangeID), ErrChanged, "removed")
	}

	c.kill(follower.id) // no majority
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := leader.node.AddLearner(short, testShard, Replica{Broker: 3, ReplicaID: joined(3, 2)}, next.ConfigChangeID)
	require.ErrorIs(t, err, ErrUndecided)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = leader.node.Membership(short, testShard)
	require.ErrorIs(t, err, ErrUndecided)
	_, err = leader.node.Membership(t.Context(), 99)
	require.ErrorIs(t, err, ErrStopped)
}

// TestRemovedReplicaIsTold: a replica that hears of its removal says so, also after a restart, and its ID never returns.
func TestRemovedReplicaIsTold(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 3, 3)
	for id := protocol.BrokerID(1); id <= 3; id++ {
		c.start(id)
	}
	c.write(1, 5)
	leader := c.leader()
	victim := c.brokers[leader.id%3+1]
	c.same(leader, victim)
	c.removeReplica(uint64(victim.id))
	select {
	case <-victim.removed:
		require.Eventually(t, func() bool { _, known := victim.node.Leader(testShard); return !known }, soon, time.Millisecond)
		_, err := victim.node.Propose(testShard, []byte("x"))
		require.Error(t, err)
	case <-time.After(time.Second): // the leader may forget the replica before it told it what was committed
		t.Log("it has not heard")
	}
	c.erase(victim, uint64(victim.id))
	require.ErrorIs(t, victim.node.StartPartition(Start{
		Shard: testShard, Replica: uint64(victim.id), Replicas: c.replicas,
	}, victim.machine), ErrRemoved)
	c.grow(victim, joined(victim.id, 1))
	c.same(c.write(2, 5), victim)
}

// TestProgressOfALearner: its answers are counted while it is no voter.
func TestProgressOfALearner(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 2, 1)
	one := c.start(1)
	c.write(1, 5)
	two := c.open(2)
	r := Replica{Broker: 2, ReplicaID: joined(2, 1)}
	c.addLearner(r)
	_, _, ok := one.node.Progress(testShard, r.ReplicaID)
	require.False(t, ok)
	_, ok = one.node.Match(testShard, 2)
	require.False(t, ok)
	c.run(two, r.ReplicaID)
	c.write(2, 5)
	want := one.machine.Applied()
	begun := time.Now()
	require.Eventually(t, func() bool {
		match, at, ok := one.node.Progress(testShard, r.ReplicaID)
		return ok && match >= want && at.After(begun)
	}, soon, time.Millisecond)
	match, ok := one.node.Match(testShard, 2)
	require.True(t, ok)
	require.GreaterOrEqual(t, match, want)
	_, _, ok = two.node.Progress(testShard, r.ReplicaID)
	require.False(t, ok, "it does not lead")
	_, at, _ := one.node.Progress(testShard, r.ReplicaID)
	require.Eventually(t, func() bool {
		_, later, ok := one.node.Progress(testShard, r.ReplicaID)
		return ok && later.After(at)
	}, soon, 10*time.Millisecond, "heartbeats are answered")
}

// TestMetaJoins: a broker that joined has a learner of the metadata shard, under its own ID, and knows that after a restart.
func TestMetaJoins(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 2, 1)
	create := func(uint64, uint64) sm.IStateMachine { return &register{} }
	start := func(r Start, id protocol.BrokerID) *testBroker {
		b := c.open(id)
		r.OnLeader = b.note
		require.NoError(t, b.node.StartMeta(r, create))
		return b
	}
	one := start(Start{Replicas: c.replicas}, 1)
	require.Eventually(t, func() bool {
		one.node.Campaign(MetaShard)
		l, _ := one.node.Leader(MetaShard)
		return l.Self
	}, soon, campaignWindow)
	two := start(Start{Join: true}, 2)
	r := Replica{Broker: 2, ReplicaID: 2}
	change := func(make func(context.Context, uint64, Replica, uint64) error) {
		m, err := one.node.Membership(c.context(), MetaShard)
		require.NoError(t, err)
		require.NoError(t, make(c.context(), MetaShard, r, m.ConfigChangeID))
	}
	change(one.node.AddLearner)
	reads := func(want string) {
		require.Eventually(t, func() bool {
			v, err := two.node.StaleRead(MetaShard, nil)
			return err == nil && v == want
		}, soon, time.Millisecond)
	}
	for _, value := range []string{"as a learner", "after a restart"} {
		result, err := one.node.ProposeWait(c.context(), MetaShard, []byte(value))
		require.NoError(t, err)
		require.Equal(t, Committed, result.Outcome)
		reads(value)
		require.True(t, two.node.isLearner(MetaShard))
		c.kill(2)
		two = start(Start{}, 2)
	}
	change(one.node.Promote)
	require.Eventually(t, func() bool { return !two.node.isLearner(MetaShard) }, soon, time.Millisecond)
	c.kill(2)
	two = start(Start{}, 2)
	reads("after a restart")
	two.await(t, "the leader", func(l Leadership) bool { return l.Leader == 1 })
	require.Eventually(t, func() bool {
		_ = one.node.Transfer(c.context(), MetaShard, 2, Handover{})
		l, _ := two.node.Leader(MetaShard)
		return l.Self
	}, soon, 100*time.Millisecond)
}

// TestANewReplicaBeginsWithASnapshot: when the first entry of the log is gone, and that alone, a learner gets a snapshot.
func TestANewReplicaBeginsWithASnapshot(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 2, 1)
	one := c.start(1)
	c.write(1, 5)
	log, err := one.node.nh.GetLogReader(testShard)
	require.NoError(t, err)
	first, _ := log.GetRange()
	require.EqualValues(t, 1, first)
	require.NoError(t, one.node.ForgetBeginning(c.context(), testShard))
	require.Eventually(t, func() bool { first, _ = log.GetRange(); return first == 2 }, soon, time.Millisecond)
	require.NoError(t, one.node.ForgetBeginning(c.context(), testShard), "it is gone, and that is fine")
	first, _ = log.GetRange()
	require.EqualValues(t, 2, first)

	two := c.open(2)
	r := Replica{Broker: 2, ReplicaID: joined(2, 1)}
	c.addLearner(r)
	c.run(two, r.ReplicaID)
	require.Eventually(t, func() bool {
		match, _, ok := one.node.Progress(testShard, r.ReplicaID)
		return ok && match >= one.machine.Applied()
	}, soon, time.Millisecond)
	c.same(one, two)
	log, err = two.node.nh.GetLogReader(testShard)
	require.NoError(t, err)
	first, _ = log.GetRange()
	require.Greater(t, first, uint64(2), "its log begins behind a snapshot")
}
