package client

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/client/internal/outbox"
	"github.com/trunkline/trunkline/protocol"
)

// TestNamedLaneEndsOfItsTimeout: everybody who waits for room in the buffer is told, and no session goes on, whether the timeout
// comes while there is one or before the next.
func TestNamedLaneEndsOfItsTimeout(t *testing.T) {
	const size = 50
	cfg := producerConfig{name: "n", bufferBytes: 2 * size, batchBytes: 1, maxInFlight: 1, deliveryTimeout: time.Second}
	synctest.Test(t, func(t *testing.T) {
		l := newLane(&Producer{c: &Client{hooks: newHookList(nil)}, cfg: cfg, id: protocol.NamedProducerBit, epoch: 1}, 0)
		require.NoError(t, l.box.Accepted(0))
		ctx := context.Background()
		outcomes := make(chan error, 2)
		for range 2 { // one of them in flight
			c := &call{done: func(_ Receipt, err error) { outcomes <- err }}
			require.NoError(t, l.reserve(ctx, size))
			require.NoError(t, l.add(ctx, &outbox.Item{Size: size, Tag: c}))
		}
		l.mu.Lock()
		l.seal()
		l.mu.Unlock()
		const callers = 5
		waiting := make(chan error, callers)
		for range callers {
			go func() { waiting <- l.reserve(ctx, size) }()
		}
		synctest.Wait()
		require.Empty(t, waiting)
		session, cancel := context.WithCancelCause(ctx)
		require.NoError(t, l.attach(cancel))

		time.Sleep(cfg.deliveryTimeout)
		synctest.Wait()
		require.Len(t, waiting, callers)
		for range callers {
			requirePoisoned(t, <-waiting, NotAppended)
		}
		requirePoisoned(t, l.reserve(ctx, size), NotAppended)
		require.ErrorIs(t, <-outcomes, errDeliveryTimeout)
		requirePoisoned(t, <-outcomes, NotAppended)
		require.Equal(t, cluster.Stop(l.dead), context.Cause(session))
		progress, err := l.session(ctx, nil, cluster.Leader{})
		require.False(t, progress)
		require.Equal(t, cluster.Stop(l.dead), err)
	})
}

func requirePoisoned(t *testing.T, err error, o Outcome) {
	t.Helper()
	var pe *PublishError
	require.ErrorAs(t, err, &pe)
	require.ErrorIs(t, err, ErrPoisoned)
	require.Equal(t, o, pe.Outcome)
}
