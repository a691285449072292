package archive

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
	"github.com/trunkline/trunkline/protocol/batch"
)

// TestMain checks for goroutines left, and has each random test do fewer rounds than usual, since each fsyncs. The flag
// -rapid.checks overrides that.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// cluster starts three brokers in this process.
func cluster(t testing.TB) *fakebroker.Cluster {
	fc, err := fakebroker.New(fakebroker.Config{Nodes: 3})
	require.NoError(t, err)
	t.Cleanup(fc.Close)
	return fc
}

func connect(t testing.TB, fc *fakebroker.Cluster) *client.Client {
	c, err := client.Connect(within(t), fc.Addrs(), client.WithTLSConfig(fc.TLS()))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// fill publishes n records to each partition of a topic, with keys, headers, empty and missing parts.
func fill(t testing.TB, c *client.Client, topic string, partitions, n int) {
	p, err := c.Producer(within(t), topic, client.WithBatchBytes(300))
	require.NoError(t, err)
	for part := range partitions {
		for i := range n {
			r := client.Record{Value: fmt.Appendf(nil, "%d/%d", part, i), Partition: client.OnPartition(part), Timestamp: time.UnixMilli(int64(1000 + i))}
			switch i % 4 {
			case 0:
				r.Key = []byte{}
			case 1:
				r.Key, r.Headers = []byte("key"), []client.Header{{Key: "a", Value: []byte("1")}, {Key: "a"}}
			case 2:
				r.Value = nil
			}
			require.NoError(t, p.Send(within(t), r, nil))
		}
	}
	require.NoError(t, p.Flush(within(t)))
	require.NoError(t, p.Close(within(t)))
}

// content is what a topic holds, but for what an import makes anew.
func content(t testing.TB, c *client.Client, topic string) map[protocol.Partition][]client.Record {
	r, err := c.Reader(within(t), topic, client.StopAtEnd())
	require.NoError(t, err)
	got := map[protocol.Partition][]client.Record{}
	for m, err := range r.Messages(within(t)) {
		require.NoError(t, err)
		got[m.Partition] = append(got[m.Partition], m.Record)
	}
	require.NoError(t, r.Close(within(t)))
	return got
}

// sealedBatch is a batch of n records with its first offset, as a broker stores it.
func sealedBatch(t require.TestingT, first protocol.Offset, n, valueBytes int) (batch.Header, []byte) {
	bd := batch.NewBuilder(batch.None)
	for i := range n {
		require.NoError(t, bd.Add(batch.Record{Key: fmt.Appendf(nil, "%d", i), Value: make([]byte, valueBytes), Timestamp: 5}))
	}
	b, err := bd.Build(nil, 7, 0, 0)
	require.NoError(t, err)
	batch.Stamp(b, first, 3, 1234)
	h, err := batch.Check(b, protocol.MaxBatchBytesLimit)
	require.NoError(t, err)
	return h, b
}

func checkBatch(b []byte) (batch.Header, error) { return batch.Check(b, protocol.MaxBatchBytesLimit) }
