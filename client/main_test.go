package client_test

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
	"github.com/trunkline/trunkline/protocol"
)

// TestMain checks for goroutines left, and has each random test do fewer rounds than usual, since a round
// starts a cluster. The flag -rapid.checks overrides that.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "40"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// patience bounds everything a test waits for.
const patience = 20 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	require.TestingT
	Helper()
	Cleanup(func())
	Logf(string, ...any)
}

func start(t tb, cfg fakebroker.Config) *fakebroker.Cluster {
	t.Helper()
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	c, err := fakebroker.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func connect(t tb, fc *fakebroker.Cluster, opts ...client.Option) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := client.Connect(ctx, fc.Addrs(), append([]client.Option{client.WithTLSConfig(fc.TLS())}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

func value(i int) []byte { return fmt.Appendf(nil, "value-%06d", i) }

func record(p, i int) client.Record {
	return client.Record{Value: value(i), Partition: client.OnPartition(p)}
}

// values returns what a partition holds.
func values(fc *fakebroker.Cluster, topic string, p protocol.Partition) []string {
	var list []string
	for _, e := range fc.Log(topic, p) {
		list = append(list, e.Value)
	}
	return list
}

// sequence returns the values 0 to n-1.
func sequence(n int) []string {
	var list []string
	for i := range n {
		list = append(list, string(value(i)))
	}
	return list
}

// publish puts n records into a partition and waits for all.
func publish(t tb, p *client.Producer, partition, from, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	errs := make(chan error, n)
	for i := range n {
		err := p.Send(ctx, record(partition, from+i), func(_ client.Receipt, err error) { errs <- err })
		require.NoError(t, err)
	}
	require.NoError(t, p.Flush(ctx))
	for range n {
		require.NoError(t, <-errs)
	}
}
