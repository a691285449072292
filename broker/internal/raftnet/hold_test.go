package raftnet

import (
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

func notice(shard, to, commit uint64) *pb.Message {
	return &pb.Message{Type: pb.Replicate, ShardID: shard, To: to, Commit: commit}
}

func entries(shard, to uint64) *pb.Message {
	return &pb.Message{Type: pb.Replicate, ShardID: shard, To: to, Entries: []pb.Entry{{Index: 1}}}
}

// delivery is a commit index that a holder sent, and when.
type delivery struct {
	commit uint64
	at     time.Time
}

// holding runs fn with a holder in a bubble of simulated time. sent returns what it sent by the end of a wait.
func holding(t *testing.T, fn func(h *holder, sent func(wait time.Duration) []delivery)) {
	synctest.Test(t, func(*testing.T) {
		var all []delivery
		h := newHolder(1, func(b pb.MessageBatch) {
			for _, m := range b.Requests {
				require.Equal(t, "me", b.SourceAddress)
				all = append(all, delivery{m.Commit, time.Now()})
			}
		})
		defer h.close()
		fn(h, func(wait time.Duration) []delivery {
			time.Sleep(wait)
			synctest.Wait()
			return all
		})
	})
}

func commits(sent []delivery) (c []uint64) {
	for _, d := range sent {
		c = append(c, d.commit)
	}
	return c
}

var holdBatch = pb.MessageBatch{SourceAddress: "me", Requests: []pb.Message{{Type: pb.Heartbeat}}}

func TestCommitNoticeIsSentInTime(t *testing.T) {
	holding(t, func(h *holder, sent func(time.Duration) []delivery) {
		var came []time.Time
		for i := range uint64(20) { // the timer is somewhere in its turn when a notice comes
			time.Sleep(holdWait / 3)
			came = append(came, time.Now())
			require.True(t, h.hold(notice(i+1, 2, i), &holdBatch))
		}
		all := sent(3 * holdWait)
		require.Len(t, all, len(came), "each once")
		for _, d := range all {
			waited := d.at.Sub(came[d.commit])
			require.GreaterOrEqual(t, waited, holdWait)
			require.LessOrEqual(t, waited, 2*holdWait)
		}
	})
}

func TestCommitNoticeIsSupersededByItsOwnShardAndReplicaOnly(t *testing.T) {
	holding(t, func(h *holder, sent func(time.Duration) []delivery) {
		require.True(t, h.hold(notice(1, 2, 10), &holdBatch))
		require.True(t, h.hold(notice(1, 3, 11), &holdBatch))
		require.True(t, h.hold(notice(2, 2, 12), &holdBatch))
		require.False(t, h.hold(entries(1, 2), &holdBatch), "entries are not held")
		require.False(t, h.hold(&pb.Message{Type: pb.Heartbeat, ShardID: 2, To: 2}, &holdBatch), "nor heartbeats")
		require.ElementsMatch(t, []uint64{11, 12}, commits(sent(3*holdWait)))
	})
}

func TestNewestCommitNoticeIsSent(t *testing.T) {
	holding(t, func(h *holder, sent func(time.Duration) []delivery) {
		require.True(t, h.hold(notice(1, 2, 10), &holdBatch))
		time.Sleep(holdWait + holdWait/2) // it waits for its second turn
		require.True(t, h.hold(notice(1, 2, 11), &holdBatch))
		require.Equal(t, []uint64{11}, commits(sent(3*holdWait)))
	})
}

// TestHoldFrom: brokers serve the metadata from their own replicas, so a topic that was made must be known everywhere soon.
func TestHoldFrom(t *testing.T) {
	for from, held := range map[uint64]bool{0: false, 5: true, 6: true, 7: false} {
		h := newHolder(from, func(pb.MessageBatch) {})
		require.Equal(t, held, h.hold(notice(6, 2, 1), &holdBatch), "from %d", from)
		h.close()
	}
}

func TestNothingIsHeldAfterClose(t *testing.T) {
	holding(t, func(h *holder, sent func(time.Duration) []delivery) {
		require.True(t, h.hold(notice(1, 2, 10), &holdBatch))
		h.close()
		require.Empty(t, sent(3*holdWait))
		require.False(t, h.hold(notice(1, 2, 11), &holdBatch))
	})
}
