package conn_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
)

// TestAClientShowsTheTokenThatItWasGiven: at every dial of that broker, and at no other.
func TestAClientShowsTheTokenThatItWasGiven(t *testing.T) {
	dialled := make(chan bool, 1)
	fc, err := fakebroker.New(fakebroker.Config{Nodes: 2, Dialled: func(known bool) { dialled <- known }})
	require.NoError(t, err)
	t.Cleanup(fc.Close)
	cfg := &conn.Config{TLS: fc.TLS(), Name: "test", Known: new(conn.Known)}
	known := func(addr string) bool {
		cn, err := conn.Dial(t.Context(), addr, cfg)
		require.NoError(t, err)
		cn.Start(deaf{})
		cn.Close(conn.ErrReplaced)
		return <-dialled
	}
	first, other := fc.Addrs()[0], fc.Addrs()[1]
	require.False(t, known(first))
	require.Eventually(t, func() bool { return known(first) }, 5*time.Second, time.Millisecond, "a token comes after the handshake")
	require.True(t, known(first), "showing it does not use it up")
	require.False(t, known(other), "it is another broker's, whatever name is in their certificates")
}
