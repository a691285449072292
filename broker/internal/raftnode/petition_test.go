package raftnode

import (
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

func grant(from, term uint64, reject bool) pb.Message {
	return pb.Message{Type: pb.RequestPreVoteResp, ShardID: testShard, From: from, To: 1, Term: term, Reject: reject}
}

func TestGrantsOfAPetition(t *testing.T) {
	now := time.Now()
	fresh := func(need int) *petitions {
		p := newPetitions()
		p.begin(testShard, 7, need, now)
		return p
	}
	due := []granted{{testShard, 7}}

	p := fresh(1)
	require.Empty(t, p.received(batchOf(grant(2, 7, false), grant(2, 9, false))), "they are about other terms")
	require.Empty(t, p.received(batchOf(grant(2, 8, true))), "a refusal")
	require.Equal(t, due, p.received(batchOf(grant(2, 8, false))))
	require.Empty(t, p.received(batchOf(grant(3, 8, false))), "it is over")

	p = fresh(2)
	require.Empty(t, p.received(batchOf(grant(2, 8, false), grant(2, 8, false))), "twice the same")
	require.Equal(t, due, p.received(batchOf(grant(3, 8, false))))

	p = newPetitions()
	p.begin(testShard, 7, 1, now.Add(-petitionWindow-time.Millisecond))
	require.Empty(t, p.received(batchOf(grant(2, 8, false))), "too late")

	p = fresh(1)
	p.forget(testShard)
	require.Empty(t, p.received(batchOf(grant(2, 8, false))))
	require.Empty(t, p.open)
}

// everybody is the brokers of a cluster of three.
var everybody = []protocol.BrokerID{1, 2, 3}

// TestPetitionWhereNobodyLeads: the leader has lost its term to a candidate that is dead. Who has led stands again when it asks to.
func TestPetitionWhereNobodyLeads(t *testing.T) {
	c := newCluster(t)
	one, two, three := c.start(1), c.start(2), c.start(3)
	l, _ := c.elect(one)
	led := func(n Leadership) bool { return n.Term == l.Term && n.Leader == one.id }
	two.await(t, "the leader", led)
	for _, b := range c.brokers {
		require.Eventually(t, b.node.campaigns.empty, soon, time.Millisecond, "what elected the leader is over")
	}
	c.kill(three.id)
	for _, b := range c.brokers {
		b.node.deliver([]pb.Message{b.node.stepDown(testShard, l.Term+1)})
	}
	for _, b := range c.brokers {
		b.await(t, "nobody leads", func(now Leadership) bool { return now.Leader == 0 })
	}
	begun := time.Now()
	for {
		one.node.Petition(testShard, everybody)
		if now, known := one.node.Leader(testShard); known && now.Self {
			break
		}
		require.Less(t, time.Since(begun), time.Second, "Raft's own election timeout is two")
		time.Sleep(campaignEvery)
	}
}

// TestPetitionWhereSomebodyLeads: a replica that just started knows no leader, and has a longer log than the leader had when it asked for
// votes. The request that reaches it only now must not cost the leader its term, nor may its own wish to lead.
func TestPetitionWhereSomebodyLeads(t *testing.T) {
	c := newCluster(t)
	one, two := c.start(1), c.start(2)
	c.start(3)
	l, epoch := c.elect(one)
	two.await(t, "the leader", func(n Leadership) bool { return n.Term == l.Term && n.Leader == one.id })
	c.publish(one, epoch, 9, 20, 100)
	c.kill(two.id)
	two = c.start(2)
	for begun := time.Now(); time.Since(begun) < 300*time.Millisecond; time.Sleep(campaignEvery) {
		late := ask(1, 2, l.Term, logEnd{1, 1})
		two.node.deliver([]pb.Message{late})
		two.node.Petition(testShard, everybody)
	}
	now, known := one.node.Leader(testShard)
	require.True(t, known)
	require.Equal(t, l.Term, now.Term, "%+v", now)
	require.True(t, now.Self)
}
