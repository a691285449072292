package raftnode

import (
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func batchOf(m ...pb.Message) *pb.MessageBatch { return &pb.MessageBatch{Requests: m} }

func ask(from, to, term uint64, end logEnd) pb.Message {
	return pb.Message{
		Type: pb.RequestVote, ShardID: testShard, From: from, To: to, Term: term, LogTerm: end.term, LogIndex: end.index,
	}
}

func vote(from, to, term uint64, reject bool) pb.Message {
	return pb.Message{Type: pb.RequestVoteResp, ShardID: testShard, From: from, To: to, Term: term, Reject: reject}
}

func TestRefusalMakesStand(t *testing.T) {
	short, long := logEnd{4, 9}, logEnd{4, 10}
	for name, c := range map[string]struct {
		self   uint64
		stands bool   // the local replica asked for votes itself
		mine   logEnd // then
		other  logEnd
		grants bool // it voted for a third replica first
		want   bool
	}{
		"a shorter log asks a voter":              {self: 2, other: short, want: true},
		"a voter gave its vote before":            {self: 2, other: long, grants: true},
		"two candidates, mine is longer":          {self: 3, stands: true, mine: long, other: short, want: true},
		"two candidates, mine is of a later term": {self: 3, stands: true, mine: logEnd{5, 1}, other: long, want: true},
		"two candidates, mine is shorter":         {self: 1, stands: true, mine: short, other: long},
		"two equal candidates, mine is the first": {self: 1, stands: true, mine: long, other: long, want: true},
		"two equal candidates, mine is the other": {self: 3, stands: true, mine: long, other: long},
	} {
		t.Run(name, func(t *testing.T) {
			stood := 0
			b := newBallots(func(shard, term, candidate uint64) {
				stood++
				require.Equal(t, testShard, shard)
				require.EqualValues(t, 7, term)
				require.EqualValues(t, 2, candidate)
			})
			if c.stands {
				b.sent(batchOf(ask(c.self, 2, 7, c.mine)))
			}
			if c.grants {
				b.received(batchOf(ask(5, c.self, 7, long)))
				b.sent(batchOf(vote(c.self, 5, 7, false)))
			}
			b.received(batchOf(ask(2, c.self, 7, c.other)))
			b.sent(batchOf(vote(c.self, 2, 7, true)))
			b.sent(batchOf(vote(c.self, 2, 7, true))) // its request came twice
			require.Equal(t, c.want, stood == 1)
			require.LessOrEqual(t, stood, 1)
			require.Equal(t, c.stands, b.stands(testShard, 7))
			b.sent(batchOf(vote(c.self, 2, 6, true)))
			require.LessOrEqual(t, stood, 1, "an earlier term is over")
		})
	}
}

// TestOfTwoCandidatesOneStands: whatever the logs are, and whichever refuses first.
func TestOfTwoCandidatesOneStands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		end := func(name string) logEnd {
			return logEnd{rapid.Uint64Range(1, 2).Draw(t, name+" term"), rapid.Uint64Range(1, 3).Draw(t, name+" index")}
		}
		ends := map[uint64]logEnd{1: end("one"), 3: end("three")}
		var stood []uint64
		for self, other := range map[uint64]uint64{1: 3, 3: 1} {
			b := newBallots(func(uint64, uint64, uint64) { stood = append(stood, self) })
			b.sent(batchOf(ask(self, other, 7, ends[self])))
			b.received(batchOf(ask(other, self, 7, ends[other])))
			b.sent(batchOf(vote(self, other, 7, true)))
		}
		require.Len(t, stood, 1)
		require.False(t, ends[4-stood[0]].after(ends[stood[0]]), "it can win")
	})
}

// TestShorterLogAsksFirst: with the leader dead, a replica that lacks entries asks for votes. Nobody asks the other one to
// campaign, and it leads at once.
func TestShorterLogAsksFirst(t *testing.T) {
	c := newCluster(t)
	one, two, three := c.start(1), c.start(2), c.start(3)
	l, epoch := c.elect(one)
	led := func(n Leadership) bool { return n.Term == l.Term && n.Leader == one.id }
	two.await(t, "the leader", led)
	three.await(t, "the leader", led)
	c.kill(two.id)
	c.publish(one, epoch, 9, 20, 100)
	c.same(one, three)
	c.kill(one.id)
	two = c.start(2)
	begun := time.Now()
	for {
		two.node.Campaign(testShard)
		if l, known := three.node.Leader(testShard); known && l.Self {
			break
		}
		require.Less(t, time.Since(begun), time.Second, "Raft's own election timeout is two")
		time.Sleep(campaignEvery)
	}
}
