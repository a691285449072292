package client_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
)

type closer interface {
	Close(ctx context.Context) error
}

// closeInAHurry closes x while another Close waits for a leader, as begun says, and checks that both return.
func closeInAHurry(t *testing.T, x closer, begun func(expired context.Context) error) {
	t.Helper()
	expired, cancel := context.WithCancel(t.Context())
	cancel()
	patient := make(chan error, 1)
	go func() { patient <- x.Close(within(t)) }()
	waitFor(t, func() bool { return errors.Is(begun(expired), client.ErrClosed) })
	require.ErrorIs(t, x.Close(expired), context.Canceled)
	require.ErrorIs(t, <-patient, client.ErrClosed)
	require.NoError(t, x.Close(expired), "it is closed")
}

// TestProducerClosedInAHurry: a Close that waits for a leader does not hold up one whose context ends. Both tell that not all was
// flushed.
func TestProducerClosedInAHurry(t *testing.T) {
	for _, what := range []string{"producer", "client"} {
		t.Run(what, func(t *testing.T) {
			fc, c, p := filled(t, 1, 5)
			fc.Kill(1)
			left := make(chan error, 1)
			require.NoError(t, p.Send(t.Context(), record(0, 5), func(_ client.Receipt, err error) { left <- err }))
			begun := func(expired context.Context) error { return p.Send(expired, record(0, 6), nil) }
			if what == "client" {
				closeInAHurry(t, c, begun)
			} else {
				closeInAHurry(t, p, begun)
			}
			require.ErrorIs(t, <-left, client.ErrClosed)
		})
	}
}

// TestSubscriptionClosedInAHurry: the same, of a Close that waits for its Commit.
func TestSubscriptionClosedInAHurry(t *testing.T) {
	fc, c, _ := filled(t, 1, 5)
	s, err := c.Subscribe(within(t), "t", "s")
	require.NoError(t, err)
	held := receive(t, s, 5)
	fc.Kill(1)
	require.NoError(t, s.Ack(held...))
	closeInAHurry(t, s, func(context.Context) error {
		_, err := s.Receive(within(t))
		return err
	})
}
