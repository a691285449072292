package raftnode

import (
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// TestAnHeirThatDiesIsReplaced: the leader has lost its term to a candidate that is dead, so that nobody leads and nobody died who did. Who
// has led stands again.
func TestAnHeirThatDiesIsReplaced(t *testing.T) {
	c := newCluster(t)
	for id := protocol.BrokerID(1); id <= 3; id++ {
		c.start(id)
	}
	c.leader()
	for _, b := range c.brokers {
		require.Eventually(t, b.node.campaigns.empty, soon, time.Millisecond, "what elected the leader is over")
	}
	one := c.leader()
	c.kill(one.id%3 + 1)
	l, _ := one.node.Leader(testShard)
	for _, b := range c.brokers {
		b.node.deliver([]pb.Message{b.node.stepDown(testShard, l.Term+1)})
	}
	for _, b := range c.brokers {
		b.await(t, "nobody leads", func(now Leadership) bool { return now.Leader == 0 })
	}
	asked := testutil.ToFloat64(one.node.metrics.campaigns)
	one.node.succeed(c.context(), testShard, l.Term, heirWindow)
	now, known := one.node.Leader(testShard)
	require.True(t, known)
	require.Greater(t, now.Term, l.Term)
	require.Greater(t, testutil.ToFloat64(one.node.metrics.campaigns), asked, "it did not wait for Raft's own timers")
}
