package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func offline() *Cluster {
	c := &Cluster{
		lost: make(chan struct{}, 1), imageChanged: make(chan struct{}),
		leaders: make(map[protocol.TopicPartition]*leaderEntry), peers: make(map[protocol.BrokerID]*peer),
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

func image(version uint64, leader protocol.BrokerID, epoch protocol.Epoch, partitions int) *wire.Metadata {
	t := wire.TopicInfo{ID: 1, Name: "t"}
	for p := range partitions {
		t.Partitions = append(t.Partitions, wire.PartitionInfo{
			Partition: protocol.Partition(p), Leader: leader, Epoch: epoch,
		})
	}
	return &wire.Metadata{Version: version, Topics: []wire.TopicInfo{t}}
}

var first = protocol.TopicPartition{Topic: 1, Partition: 0}

// TestNewsInAnyOrder: leaders are compared by epoch, images by version, each on its own.
func TestNewsInAnyOrder(t *testing.T) {
	c := offline()
	leader := func() Leader {
		l, _ := c.Leader(first)
		return l
	}
	c.apply(image(5, 1, 3, 2))
	require.Equal(t, Leader{1, 3}, leader())
	_, changed := c.Leader(first)

	c.apply(image(4, 2, 4, 1)) // an old image may know a newer leader
	require.Equal(t, Leader{2, 4}, leader())
	i, _ := c.Image()
	require.Equal(t, uint64(5), i.Version)
	require.True(t, i.Has(protocol.TopicPartition{Topic: 1, Partition: 1}))
	select {
	case <-changed:
	default:
		t.Fatal("nobody was told")
	}

	c.Observe(first, Leader{3, 4}) // an epoch has one leader
	c.Observe(first, Leader{3, 3})
	c.Observe(first, Leader{0, 9}) // that nobody leads helps nobody
	require.Equal(t, Leader{2, 4}, leader())
	c.Observe(first, Leader{3, 5})
	require.Equal(t, Leader{3, 5}, leader())

	_, changed = c.Leader(first)
	c.apply(&wire.Metadata{Version: 6})
	<-changed
	require.Equal(t, Leader{}, leader(), "the topic is gone")
}

// TestAnEmptyImageIsNoCluster: and what Open says for want of a better one.
func TestAnEmptyImageIsNoCluster(t *testing.T) {
	c := offline()
	i, _ := c.Image()
	require.False(t, i.formed())
	require.Equal(t, ErrNoBroker, unopened(i))
	c.apply(&wire.Metadata{})
	i, _ = c.Image()
	require.False(t, i.formed())
	require.ErrorIs(t, unopened(i), ErrNoBroker)
	require.ErrorContains(t, unopened(i), "bring up a majority of its members")
	c.apply(&wire.Metadata{Version: 1, Brokers: []wire.BrokerInfo{{ID: 7}}})
	i, _ = c.Image()
	require.True(t, i.formed())
}

func TestBackoff(t *testing.T) {
	var b backoff
	require.Zero(t, b.next())
	longest := time.Duration(0)
	for i := range 1000 {
		d := b.next()
		require.GreaterOrEqual(t, d, firstDelay/2)
		if i < patientAttempts-1 {
			require.LessOrEqual(t, d, maxDelay)
		}
		longest = max(longest, d)
	}
	require.Greater(t, longest, longDelay*3/4)
	require.LessOrEqual(t, longest, longDelay)
	b.reset()
	require.Zero(t, b.next())
	for attempt := range 100 {
		require.LessOrEqual(t, dialTimeout(attempt), maxDial)
		require.GreaterOrEqual(t, dialTimeout(attempt), firstDial)
	}
}

func TestTerminal(t *testing.T) {
	refused := protocol.Errorf(protocol.CodeUnauthorized, "no")
	moved := protocol.Errorf(protocol.CodeNotLeader, "not me")
	for _, x := range []struct {
		err  error
		want bool
	}{
		{errors.New("broken"), false}, {refused, true}, {fmt.Errorf("open: %w", refused), true}, {moved, false},
		{Retry(refused), false}, {Stop(moved), true}, {Stop(errors.New("enough")), true},
	} {
		require.Equal(t, x.want, terminal(x.err), "%v", x.err)
	}
}

// TestASessionMayStopWhileItsLeaderMoves: what it found final counts, though its context ended first.
func TestASessionMayStopWhileItsLeaderMoves(t *testing.T) {
	c := offline()
	c.apply(image(1, 1, 1, 1))
	c.peers[1] = &peer{id: 1, conn: new(conn.Conn)}
	sessions := 0
	err := c.Run(t.Context(), Follow{Partition: first}, func(ctx context.Context, _ *conn.Conn, _ Leader) (bool, error) {
		if sessions++; sessions > 1 {
			return false, Stop(errors.New("called again"))
		}
		<-ctx.Done() // an empty connection is not to the leader
		require.ErrorIs(t, context.Cause(ctx), errMoved)
		return true, Stop(io.EOF)
	})
	require.Equal(t, io.EOF, err)
}

// TestARequestOfACallerWhoLeftIsNotSent: and so its outcome is known.
func TestARequestOfACallerWhoLeftIsNotSent(t *testing.T) {
	c := offline()
	c.peers[1] = &peer{id: 1, conn: new(conn.Conn)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, unknown, err := c.Do(ctx, &wire.Request{CreateTopic: &wire.CreateTopic{Name: "t"}})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, unknown)
}
