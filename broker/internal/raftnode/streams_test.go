package raftnode

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4"
	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// slow is a machine whose snapshots wait, and its syncs while held.
type slow struct {
	*fsm.Machine
	sending chan uint64 // gets the shard of each snapshot that is sent
	send    chan struct{}
	held    atomic.Bool
	sync    chan struct{} // ends the waits of syncs
	shard   uint64
}

func (s *slow) SaveSnapshot(frozen any, w io.Writer, stopc <-chan struct{}) error {
	s.sending <- s.shard
	select {
	case <-s.send:
	case <-stopc:
	}
	return s.Machine.SaveSnapshot(frozen, w, stopc)
}

func (s *slow) Sync() error {
	if s.held.Load() {
		<-s.sync
	}
	return s.Machine.Sync()
}

// host starts a replica of a shard that broker 1 founds alone.
func (c *cluster) host(b *testBroker, s *slow, replica uint64) {
	c.t.Helper()
	s.Machine = fsm.New(fsm.Config{
		FS: storefs.OS, Dir: c.data(b.id, s.shard), Partition: testTP, SnapshotBytesPerSecond: -1,
	})
	r := Start{Shard: s.shard, Replica: replica, Join: true}
	if b.id == 1 {
		r.Join, r.Replicas = false, c.replicas
	}
	require.NoError(c.t, b.node.StartPartition(r, s))
}

// touch makes a shard's leader apply one more command.
func (c *cluster) touch(b *testBroker, shard uint64) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		l, _ := b.node.Leader(shard)
		r, err := b.node.ProposeWait(c.context(), shard, fsm.EpochBegin(l.Term, b.id, 1, 0))
		return l.Self && err == nil && r.Outcome == Committed
	}, soon, 5*time.Millisecond)
}

// TestStreamsLeaveWorkers: while all snapshots that may be sent at a time take long, other partitions that need one wait, and
// compaction and opening do not.
func TestStreamsLeaveWorkers(t *testing.T) {
	const shards = MaxStreams + 2
	c := newClusterOf(t, t.TempDir(), 2, 1)
	one, two := c.open(1), c.open(2)
	sending, send := make(chan uint64, 100), make(chan struct{})
	release := sync.OnceFunc(func() { close(send) })
	t.Cleanup(release)
	ids := func(yield func(uint64) bool) {
		for i := range uint64(shards) {
			if !yield(testShard + i) {
				return
			}
		}
	}
	var machines []*slow
	for shard := range ids {
		s := &slow{shard: shard, sending: sending, send: send}
		machines = append(machines, s)
		c.host(one, s, 1)
	}
	for shard := range ids {
		c.touch(one, shard)
		require.NoError(t, one.node.ForgetBeginning(c.context(), shard))
		m, err := one.node.Membership(c.context(), shard)
		require.NoError(t, err)
		r := Replica{Broker: 2, ReplicaID: joined(2, 1)}
		require.NoError(t, one.node.AddLearner(c.context(), shard, r, m.ConfigChangeID))
		c.host(two, &slow{shard: shard}, r.ReplicaID)
	}
	busy := map[uint64]bool{}
	for range MaxStreams {
		select {
		case shard := <-sending:
			busy[shard] = true
		case <-time.After(soon):
			require.Fail(t, "no snapshot is sent")
		}
	}
	require.Len(t, busy, MaxStreams)
	for shard := range ids {
		if !busy[shard] {
			c.touch(one, shard)
			require.NoError(t, one.node.Compact(c.context(), shard, 2), "with a worker that sends nothing")
		}
	}
	c.host(one, &slow{shard: testShard + shards}, 1)
	c.touch(one, testShard+shards)
	require.Empty(t, sending, "no more than MaxStreams at a time")
	release()
	for _, s := range machines {
		require.Eventually(t, func() bool {
			match, _, ok := one.node.Progress(s.shard, joined(2, 1))
			return ok && match >= s.Applied()
		}, 2*soon, 5*time.Millisecond)
	}
}

// TestIgnoredCompactions: a request that Dragonboat ignores because an earlier one is not done has compacted nothing.
func TestIgnoredCompactions(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 1, 1)
	b := c.open(1)
	s := &slow{shard: testShard, sync: make(chan struct{})}
	release := sync.OnceFunc(func() { close(s.sync) })
	t.Cleanup(release)
	c.host(b, s, 1)
	c.touch(b, testShard)
	s.held.Store(true)
	rs, err := b.node.nh.RequestSnapshot(testShard, dragonboat.DefaultSnapshotOption, 2*b.node.cfg.Tick)
	require.NoError(t, err)
	select {
	case r := <-rs.AppliedC():
		require.True(t, r.Timeout(), "the sync waits")
	case <-time.After(soon):
		require.Fail(t, "the request does not end")
	}
	for range 2 {
		require.ErrorIs(t, b.node.Compact(c.context(), testShard, 2), ErrBusy)
		require.ErrorIs(t, b.node.ForgetBeginning(c.context(), testShard), ErrBusy)
	}
	release()
	require.Eventually(t, func() bool { return b.node.ForgetBeginning(c.context(), testShard) == nil }, soon, 5*time.Millisecond)
	require.ErrorIs(t, b.node.Compact(c.context(), testShard, 2), ErrNothingToCompact)
}

var _ sm.IOnDiskStateMachine = (*slow)(nil)
