package client_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
)

// BenchmarkSend measures the client's part of publishing: the brokers only keep the batches.
func BenchmarkSend(b *testing.B) {
	fc := start(b, fakebroker.Config{Nodes: 1})
	fc.CreateTopic("t", 1)
	c := connect(b, fc)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := c.Producer(ctx, "t")
	require.NoError(b, err)
	value := make([]byte, 256)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if err := p.Send(ctx, client.Record{Value: value}, func(client.Receipt, error) {}); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, p.Flush(ctx))
}

// BenchmarkReceive measures the client's part of consuming.
func BenchmarkReceive(b *testing.B) {
	fc := start(b, fakebroker.Config{Nodes: 1})
	fc.CreateTopic("t", 1)
	c := connect(b, fc)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := c.Producer(ctx, "t")
	require.NoError(b, err)
	const n = 100_000
	for range n {
		require.NoError(b, p.Send(ctx, client.Record{Value: make([]byte, 256)}, nil))
	}
	require.NoError(b, p.Flush(ctx))
	b.SetBytes(256)
	b.ReportAllocs()
	var s *client.Subscription
	left := 0
	for i := 0; b.Loop(); i++ {
		if left == 0 {
			b.StopTimer()
			if s != nil {
				require.NoError(b, s.Close(ctx))
			}
			s, err = c.Subscribe(ctx, "t", fmt.Sprintf("s%d", i))
			require.NoError(b, err)
			left = n
			b.StartTimer()
		}
		m, err := s.Receive(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Ack(m); err != nil {
			b.Fatal(err)
		}
		left--
	}
}
