package partition

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
)

// TestFenced: an epoch of somebody unknown is in the log. Nobody is told; a new epoch is begun.
func TestFenced(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		r.raft.apply(fsm.EpochBegin(1, other, 2, 0)) // an older incarnation of the same term, say
		r.send(t, a, 5, 0)
		r.send(t, a, 5, 1)
		time.Sleep(time.Second)
		require.Equal(t, []string{"5/0:0", "5/1:1"}, a.got())
		require.Equal(t, []protocol.Epoch{1, 3}, r.noted())
	})
}

func TestTransfer(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		require.ErrorIs(t, r.Transfer(t.Context(), other, 0), protocol.ErrNotLeader)
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		r.send(t, a, 5, 0)
		result := make(chan error, 1)
		go func() { result <- r.Transfer(t.Context(), other, 0) }()
		synctest.Wait()
		require.ErrorIs(t, r.Transfer(t.Context(), other, 0), protocol.ErrOverloaded, "one at a time")
		r.send(t, a, 5, 1) // the target is not there yet: this is served
		_, transfers, _ := r.raft.seen()
		require.Empty(t, transfers, "something is pending")
		release()
		time.Sleep(10 * roundTrip)
		_, transfers, busy := r.raft.seen()
		require.Equal(t, []protocol.BrokerID{other}, transfers)
		require.Zero(t, busy)
		require.Equal(t, []string{"5/0:0", "5/1:1"}, a.got())

		raw, h := makeBatch(t, 5, 2, 1, 1)
		late := make(chan error, 1)
		go func() { late <- r.Append(context.Background(), raw, h, nil) }()
		ack := make(chan error, 1)
		r.CursorAck("s", 1, 1, func(_ protocol.Offset, err error) { ack <- err })
		time.Sleep(10 * roundTrip)
		require.Empty(t, ack, "it waits")
		r.raft.lead(other)
		require.NoError(t, <-result)
		require.ErrorIs(t, <-late, protocol.ErrNotLeader)
		require.ErrorIs(t, <-ack, protocol.ErrNotLeader)
	})
}

// TestTransferFails: Raft did not hand over. The replica serves on, with what waited.
func TestTransferFails(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		for n, want := range []*protocol.Error{protocol.ErrUnavailable, protocol.ErrTimeout} {
			r.raft.stick(n == 0) // else it claims to have handed over, and nobody comes
			result := make(chan error, 1)
			go func() { result <- r.Transfer(t.Context(), other, 0) }()
			synctest.Wait()
			go r.send(t, a, 5, n)
			require.ErrorIs(t, <-result, want)
			time.Sleep(5 * roundTrip)
			require.Len(t, a.got(), n+1)
		}
		r.raft.script(lose)
		require.ErrorIs(t, r.Transfer(t.Context(), other, 0), protocol.ErrUnavailable)
		require.Equal(t, []string{"5/0:0", "5/1:1"}, a.got())
	})
}

func TestTransferGoesAstray(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		result := make(chan error, 1)
		go func() { result <- r.Transfer(t.Context(), other, 0) }()
		time.Sleep(5 * roundTrip)
		r.raft.lead(0)
		r.raft.lead(3)
		require.ErrorContains(t, <-result, "went to broker 3")
	})
}

func TestDrain(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		require.NoError(t, r.Drain(t.Context()), "nothing to drain")
		r.Resume()
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		r.send(t, a, 5, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.Drain(ctx), protocol.ErrTimeout)
		release()
		require.NoError(t, r.Drain(t.Context()))
		require.Equal(t, []string{"5/0:0"}, a.got())
		require.Zero(t, r.Status().Pending)
		go r.send(t, a, 5, 1)
		time.Sleep(time.Second)
		require.Len(t, a.got(), 1)
		r.Resume()
		time.Sleep(time.Second)
		require.Len(t, a.got(), 1, "drained twice")
		r.Resume()
		r.Resume()
		time.Sleep(time.Second)
		require.Len(t, a.got(), 2)
	})
}
