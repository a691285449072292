package raftnode

import (
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
)

// TestReplaysTo: what counts is the last proposal that was committed, not what an election or a change of the members wrote
// behind it; once a snapshot holds that, it is what the snapshot says.
func TestReplaysTo(t *testing.T) {
	c := newClusterOf(t, t.TempDir(), 2, 1)
	b := c.start(1)
	to, ok := b.node.ReplaysTo(testShard)
	require.True(t, ok)
	require.Zero(t, to, "nothing was committed")
	_, epoch := c.elect(b)
	c.publish(b, epoch, 7, 3, 100)
	last := b.machine.Applied()
	again := func() {
		t.Helper()
		c.kill(1)
		_, ok = b.node.ReplaysTo(testShard)
		require.False(t, ok)
		b = c.start(1)
		to, ok = b.node.ReplaysTo(testShard)
		require.True(t, ok)
		require.Equal(t, last, to)
		b.machine.ReplaysTo(to)
		require.Eventually(t, func() bool { return b.machine.Ready() == nil }, soon, time.Millisecond)
	}
	again()
	c.addLearner(Replica{Broker: 2, ReplicaID: joined(2, 1)})
	again()
	c.compact(c.leader())
	again()
}

func TestPeers(t *testing.T) {
	p := newPeers([]Replica{{Broker: 1, ReplicaID: 1}, {Broker: 2, ReplicaID: 2}})
	now := time.Unix(100, 0)
	answer := func(kind pb.MessageType, term, index uint64, reject bool) bool {
		now = now.Add(time.Second)
		return p.hear(&pb.Message{Type: kind, From: 7, Term: term, LogIndex: index, Reject: reject}, raftnet.Target(2), now)
	}
	require.False(t, p.hear(&pb.Message{Type: pb.Heartbeat, From: 7}, "", now), "nobody vouches for it")
	require.Zero(t, p.broker(7))
	require.True(t, p.hear(&pb.Message{Type: pb.Heartbeat, From: 7, Term: 3}, raftnet.Target(2), now))
	require.EqualValues(t, 2, p.broker(7))
	replica, ok := p.replicaOn(2)
	require.True(t, ok)
	require.EqualValues(t, 7, replica, "the newest")
	_, ok = p.replicaOn(3)
	require.False(t, ok)
	require.NotEqual(t, uint64(1), p.other(1))
	require.EqualValues(t, 9, newPeers(nil).other(9))

	_, _, ok = p.progress(7, 3)
	require.False(t, ok, "a leader's heartbeat is no answer")
	require.False(t, answer(pb.ReplicateResp, 3, 40, false))
	answer(pb.ReplicateResp, 3, 30, false) // overtaken by the one before
	answer(pb.ReplicateResp, 3, 50, true)
	match, at, ok := p.progress(7, 3)
	require.True(t, ok)
	require.EqualValues(t, 40, match)
	require.Equal(t, now, at)
	answer(pb.HeartbeatResp, 5, 0, false)
	_, _, ok = p.progress(7, 5)
	require.False(t, ok, "what it had before may have been cut off")
	answer(pb.ReplicateResp, 3, 60, false)
	answer(pb.ReplicateResp, 5, 20, false)
	match, _, ok = p.progress(7, 5)
	require.True(t, ok)
	require.EqualValues(t, 20, match)
	_, _, ok = p.progress(7, 6)
	require.False(t, ok)
	_, _, ok = p.progress(8, 5)
	require.False(t, ok)
}
