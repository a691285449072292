package partition

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// BenchmarkAppend measures one partition on three nodes in this process, the Raft logs' fsyncs and all: one batch of 1 KiB in flight, and
// a window of batches of 16 KiB.
func BenchmarkAppend(b *testing.B) {
	for _, bench := range []struct {
		name          string
		window, bytes int
	}{
		{"one in flight", 1, 1 << 10},
		{"window", 64, 16 << 10},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c := newCluster(b)
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			leader := c.leader(ctx)
			require.NotNil(b, leader)
			raws, headers := make([][]byte, b.N), make([]batch.Header, b.N)
			for i := range raws {
				raws[i], headers[i] = makeBatch(b, 1, protocol.Sequence(i), 1, bench.bytes)
			}
			slots := make(chan struct{}, bench.window)
			var all sync.WaitGroup
			b.SetBytes(int64(bench.bytes))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range raws {
				slots <- struct{}{}
				all.Add(1)
				err := leader.Append(ctx, raws[i], headers[i], func(a Ack) {
					if a.Err != nil {
						b.Error(a.Err)
					}
					<-slots
					all.Done()
				})
				require.NoError(b, err)
			}
			all.Wait()
		})
	}
}
