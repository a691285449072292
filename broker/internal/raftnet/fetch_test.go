package raftnet

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

func TestFetch(t *testing.T) {
	c := newCluster(t, 3)
	one := c.start(c.config(1, 1))
	cfg := c.config(2, 1)
	cfg.SnapshotBytesPerSecond = 64 << 20
	block := make(chan struct{})
	cfg.OnFetch = func(from protocol.BrokerID, request []byte) []byte {
		switch string(request) {
		case "block":
			<-block
		case "large":
			return bytes.Repeat([]byte("x"), 3<<20)
		case "too large":
			return make([]byte, MaxFetchBytes+1)
		}
		return append([]byte{byte(from)}, request...)
	}
	c.start(cfg)
	c.start(c.config(3, 1))

	got, err := one.Fetch(t.Context(), 2, []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, "\x01hello", string(got))
	got, err = one.Fetch(t.Context(), 2, []byte("large"))
	require.NoError(t, err)
	require.Len(t, got, 3<<20)
	for what, to := range map[string]protocol.BrokerID{"too large": 2, "nobody answers": 3} {
		_, err = one.Fetch(t.Context(), to, []byte(what))
		require.Error(t, err, what)
	}
	_, err = one.Fetch(t.Context(), 2, make([]byte, maxFetchRequest+1))
	require.ErrorContains(t, err, "limit")
	_, err = one.Fetch(t.Context(), 9, nil)
	require.ErrorIs(t, err, ErrUnknownPeer)

	// Those that wait end with their context, and are bounded.
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	for range maxFetchesPerPeer + 1 {
		go func() {
			_, err := one.Fetch(ctx, 2, []byte("block"))
			failed <- err
		}()
	}
	var refused *Reject
	require.ErrorAs(t, <-failed, &refused)
	require.Equal(t, RejectBusy, refused.Code)
	cancel()
	for range maxFetchesPerPeer {
		require.ErrorIs(t, <-failed, context.Canceled)
	}
	close(block)
	require.Eventually(t, func() bool {
		_, err := one.Fetch(t.Context(), 2, []byte("again"))
		return err == nil
	}, soon, 1<<20)
}
