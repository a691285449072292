package raftnode

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSplitVote: two replicas that voted for themselves in the same term, with the third one dead, are candidates that
// ignore TimeoutNow; a campaign gets one of them out of that long before Raft's election timeout.
func TestSplitVote(t *testing.T) {
	c := newCluster(t)
	one, two, three := c.start(1), c.start(2), c.start(3)
	l, _ := c.elect(three)
	led := func(n Leadership) bool { return n.Term == l.Term && n.Leader == three.id }
	one.await(t, "the leader", led)
	two.await(t, "the leader", led)
	c.kill(three.id)
	one.node.Campaign(testShard)
	two.node.Campaign(testShard)
	one.await(t, "the next term", func(n Leadership) bool { return n.Term > l.Term })
	for begun := time.Now(); ; time.Sleep(campaignEvery) {
		a, _ := one.node.Leader(testShard)
		b, _ := two.node.Leader(testShard)
		if a.Self || b.Self {
			return
		}
		require.Less(t, time.Since(begun), time.Second, "Raft's own election timeout is two")
		one.node.Campaign(testShard)
	}
}
