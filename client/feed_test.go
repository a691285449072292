package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// scene is a subscription of one partition whose broker is the test.
type scene struct {
	t *testing.T
	s *Subscription
	f *feed
}

func newScene(t *testing.T) *scene {
	s := newConsumer(&Client{hooks: newHookList(nil)}, "t", 1, "s", defaultConsume())
	f := &feed{s: s, kick: make(chan struct{}, 1), opened: make(chan struct{})}
	s.feeds[0] = f
	x := &scene{t: t, s: &Subscription{s}, f: f}
	x.connect()
	return x
}

func (x *scene) connect() { x.f.attach(&wire.ConsumeOpenOK{}) }

func (x *scene) activate(a protocol.Activation, from protocol.Offset) {
	x.f.activated(&wire.Activate{Activation: a, From: from})
}

// receive delivers n records from an offset on under the feed's activation and has them all handed out.
func (x *scene) receive(from protocol.Offset, n int) []*Message {
	x.t.Helper()
	b := batch.NewBuilder(batch.None)
	for range n {
		require.NoError(x.t, b.Add(batch.Record{Value: []byte("x")}))
	}
	raw, err := b.Build(nil, 1, 0, 0)
	require.NoError(x.t, err)
	batch.Stamp(raw, from, 1, 0)
	h := wire.DeliverHeader{Activation: x.f.turn.activation, Next: from + protocol.Offset(n)}
	require.NoError(x.t, x.f.delivered(append(wire.AppendDeliverHeader(nil, h), raw...)))
	list := make([]*Message, n)
	for i := range list {
		list[i], err = x.s.Receive(x.t.Context())
		require.NoError(x.t, err)
	}
	return list
}

// write takes what the writer has to say now, and returns when it wants to look again.
func (x *scene) write() time.Duration {
	_, again, _ := x.f.compose(nil)
	return again
}

// poked reports whether the writer was woken since it was asked last.
func (x *scene) poked() bool {
	select {
	case <-x.f.kick:
		return true
	default:
		return false
	}
}

// begin commits in a goroutine, and returns when it waits or is done.
func (x *scene) begin() <-chan error {
	done := make(chan error, 1)
	go func() { done <- x.s.Commit(context.Background()) }()
	synctest.Wait()
	return done
}

// TestCommitTellsWhatIsLost: however a partition is lost before what was acknowledged is committed, a Commit that waits is told,
// and so is the next one after it; but each loss only once.
func TestCommitTellsWhatIsLost(t *testing.T) {
	for name, lose := range map[string]func(x *scene){
		"never resumed": func(x *scene) {
			x.f.detach()
			x.connect()
			time.Sleep(reactivation)
			x.write()
		},
		"deactivated unasked": func(x *scene) {
			x.f.deactivated(&wire.Deactivated{Activation: 1})
		},
		"released without what was not delivered again": func(x *scene) {
			x.f.detach()
			x.connect()
			x.activate(2, 0)
			x.f.revoked(&wire.Revoke{Activation: 2, GraceMillis: 1000})
			x.write()
			x.f.deactivated(&wire.Deactivated{Activation: 2})
		},
		"the stream ends in the grace": func(x *scene) {
			x.f.revoked(&wire.Revoke{Activation: 1, GraceMillis: 1000})
			x.f.detach()
		},
		"another turn begins": func(x *scene) {
			x.f.deactivated(&wire.Deactivated{Activation: 1})
			x.activate(3, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newScene(t)
				x.activate(1, 0)
				require.NoError(t, x.s.Ack(x.receive(0, 5)...))
				waiting := x.begin()
				lose(x)
				require.ErrorIs(t, <-waiting, ErrPartitionLost)
				require.NoError(t, x.s.Commit(context.Background()), "told already")
			})
			synctest.Test(t, func(t *testing.T) {
				x := newScene(t)
				x.activate(1, 0)
				require.NoError(t, x.s.Ack(x.receive(0, 5)...))
				lose(x)
				require.ErrorIs(t, x.s.Commit(context.Background()), ErrPartitionLost)
				require.NoError(t, x.s.Commit(context.Background()), "told already")
			})
		})
	}
}

// TestCommitWaitsForTheRest: a loss does not keep Commit from waiting for what is still to be committed.
func TestCommitWaitsForTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScene(t)
		x.activate(1, 0)
		require.NoError(t, x.s.Ack(x.receive(0, 5)...))
		x.f.deactivated(&wire.Deactivated{Activation: 1})
		x.activate(3, 0)
		require.NoError(t, x.s.Ack(x.receive(0, 5)...))
		waiting := x.begin()
		require.Empty(t, waiting)
		x.f.committed(&wire.AckOK{Activation: 3, Offset: 5})
		require.ErrorIs(t, <-waiting, ErrPartitionLost)

		require.NoError(t, x.s.Ack(x.receive(5, 5)...))
		x.f.deactivated(&wire.Deactivated{Activation: 3})
		x.activate(5, 5)
		require.NoError(t, x.s.Ack(x.receive(5, 5)...))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := x.s.Commit(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrPartitionLost)
	})
}

// TestCommitOfAReleasedTurn: what was committed with the release is not lost.
func TestCommitOfAReleasedTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScene(t)
		x.activate(1, 0)
		require.NoError(t, x.s.Ack(x.receive(0, 5)...))
		x.f.revoked(&wire.Revoke{Activation: 1, GraceMillis: 1000})
		x.write()
		waiting := x.begin()
		require.Empty(t, waiting)
		x.f.committed(&wire.AckOK{Activation: 1, Offset: 5})
		x.f.deactivated(&wire.Deactivated{Activation: 1})
		require.NoError(t, <-waiting)
		x.f.detach()
		require.NoError(t, x.s.Commit(context.Background()))
	})
}

// TestCloseAfterALoss: Close returns though what was acknowledged will never be committed.
func TestCloseAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScene(t)
		x.activate(1, 0)
		require.NoError(t, x.s.Ack(x.receive(0, 5)...))
		x.f.deactivated(&wire.Deactivated{Activation: 1})
		require.ErrorIs(t, x.s.Close(context.Background()), ErrPartitionLost)
	})
}

// TestAcksAfterALoss: acknowledgements that were lost with a turn before they were sent do not keep those of the next one from
// being sent.
func TestAcksAfterALoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newScene(t)
		x.activate(1, 0)
		require.NoError(t, x.s.Ack(x.receive(0, 5)...))
		x.f.deactivated(&wire.Deactivated{Activation: 1})
		time.Sleep(time.Minute)
		x.activate(3, 0)
		held := x.receive(0, 5)
		x.write()
		x.poked()
		require.NoError(t, x.s.Ack(held...))
		require.True(t, x.poked())
		require.Equal(t, ackDelay, x.write(), "it waits for company")
	})
}
