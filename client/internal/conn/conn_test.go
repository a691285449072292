package conn_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deaf ignores what brokers push.
type deaf struct{}

func (deaf) Metadata(*conn.Conn, *wire.Metadata) {}
func (deaf) Leaders(*conn.Conn, []wire.Leader)   {}
func (deaf) GoAway(*conn.Conn, *wire.GoAway)     {}

// TestStreamsAreWaitedFor: a broker that grants no stream is blamed for it, one that was not asked is not, and a stream that ended
// makes room.
func TestStreamsAreWaitedFor(t *testing.T) {
	fc, err := fakebroker.New(fakebroker.Config{Nodes: 1, MaxStreams: 2})
	require.NoError(t, err)
	t.Cleanup(fc.Close)
	cn, err := conn.Dial(t.Context(), fc.Addrs()[0], &conn.Config{TLS: fc.TLS(), Name: "test"})
	require.NoError(t, err)
	cn.Start(deaf{})
	t.Cleanup(func() { cn.Close(conn.ErrReplaced) })

	first, err := cn.OpenStream(t.Context())
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = cn.OpenStream(short)
	require.ErrorIs(t, err, protocol.ErrOverloaded)
	require.ErrorContains(t, err, "no stream granted by broker 1 within")

	require.Error(t, short.Err())
	_, err = cn.OpenStream(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, protocol.ErrOverloaded, "its time was over before: nobody was asked for a stream")

	first.Abort()
	second, err := cn.OpenStream(t.Context())
	require.NoError(t, err)
	second.Abort()
}
