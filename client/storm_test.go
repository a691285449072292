package client_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
	"github.com/trunkline/trunkline/protocol"
)

// TestStormKeepsNothing: consumers that come and go on one client, in order or not, leave no stream and no goroutine: the brokers grant
// hardly more streams than one consumer needs.
func TestStormKeepsNothing(t *testing.T) {
	const partitions, consumers = 6, 60
	fc := start(t, fakebroker.Config{Nodes: 1, MaxStreams: partitions + 4}) // and the control stream, and requests
	fc.CreateTopic("t", partitions)
	c := connect(t, fc)
	p, err := c.Producer(within(t), "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 1)
	require.NoError(t, p.Close(within(t)))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var before int
	for n := range consumers {
		s, err := c.Subscribe(within(t), "t", "s", client.WithConsumerName("a"))
		require.NoError(t, err)
		receive(t, s, 1)
		leave := within(t)
		if n%2 == 1 {
			leave = gone // as if it crashed
		}
		_ = s.Close(leave)
		if n == 1 {
			before = runtime.NumGoroutine()
		}
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before+partitions })
}

// last returns the newest event.
func (e *events) last() client.Rebalance {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.list) == 0 {
		return client.Rebalance{}
	}
	return e.list[len(e.list)-1]
}

// TestResumedIsTold: a consumer whose streams are lost is told the activation under which it goes on, also when another one had the
// partition in between, and is handed out nothing twice.
func TestResumedIsTold(t *testing.T) {
	fc, c, p := filled(t, 1, 5)
	ctx := within(t)
	var a events
	s, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName("a"), client.OnRebalance(a.add))
	require.NoError(t, err)
	held := receive(t, s, 5)
	require.NoError(t, s.Ack(held[:2]...))
	require.NoError(t, s.Commit(ctx))
	other, err := connect(t, fc).Subscribe(ctx, "t", "s", client.WithConsumerName("b"), client.WithGrace(10*time.Millisecond))
	require.NoError(t, err)
	const losses = 8 // of which either consumer may be the first to come back
	for n := range losses {
		fc.DropConns(fc.Leader("t", 0))
		waitFor(t, func() bool {
			told := a.last()
			_, now := fc.Cursor("t", 0, "s")
			return told.Kind == client.Resumed && told.Activation == now && now > protocol.Activation(n+1) && len(s.Assigned()) == 1
		})
		require.Equal(t, protocol.Offset(5), a.last().From)
		require.Equal(t, 3, a.last().Unacked)
	}
	require.Equal(t, 1, a.count(client.Assigned), "its turn goes on")
	require.Zero(t, a.count(client.Lost)+a.count(client.Released))
	require.NoError(t, other.Close(ctx))
	publish(t, p, 0, 5, 1)
	next := receive(t, s, 1)
	require.Equal(t, protocol.Offset(5), next[0].Offset)
	require.Equal(t, held[0].Activation(), next[0].Activation(), "it is the same turn")
	require.NoError(t, s.Ack(append(held[2:], next...)...))
	require.NoError(t, s.Commit(ctx))
	cursor, _ := fc.Cursor("t", 0, "s")
	require.Equal(t, protocol.Offset(6), cursor)
}
