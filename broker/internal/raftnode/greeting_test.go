package raftnode

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// TestAReplicaThatStartsIsToldOfItsLeader and gets what it lacks, at once: Raft's own heartbeats come once a second.
func TestAReplicaThatStartsIsToldOfItsLeader(t *testing.T) {
	const rounds = 5
	c := newCluster(t)
	one := c.start(1)
	c.start(2)
	c.start(3)
	l, epoch := c.elect(one)
	led := func(n Leadership) bool { return n.Term == l.Term && n.Leader == one.id }
	waited := time.Duration(0)
	for round := range rounds {
		c.kill(3)
		c.publish(one, epoch, protocol.ProducerID(9+round), 20, 100)
		three := c.start(3)
		begun := time.Now()
		three.await(t, "the leader", led)
		applied := one.machine.Applied()
		require.Eventually(t, func() bool { return three.machine.Applied() >= applied }, soon, time.Millisecond)
		waited += time.Since(begun)
	}
	require.Less(t, waited, rounds*time.Second/4, "half a second each, if Raft's heartbeats do it")
	require.GreaterOrEqual(t, testutil.ToFloat64(one.node.metrics.greeted), float64(rounds))
	now, known := one.node.Leader(testShard)
	require.True(t, known)
	require.Equal(t, l.Term, now.Term, "nobody lost a term: %+v", now)
	require.True(t, now.Self)
}
