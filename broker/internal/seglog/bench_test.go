package seglog

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

func benchLog(b *testing.B, o Options) *Log {
	b.Helper()
	l, err := Create(storefs.OS, filepath.Join(b.TempDir(), "log"), 0, o)
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	return l
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{256, 16 << 10, 256 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			l := benchLog(b, Options{SegmentBytes: 8 << 20})
			raw := buildBatch(b, 0, 1, size-batch.HeaderSize, 1)
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				batch.Stamp(raw, l.Next(), 1, 1)
				h, err := batch.ParseHeader(raw)
				if err == nil {
					err = l.Append(raw, h)
				}
				if err != nil {
					b.Fatal(err)
				}
				if n := l.Next(); n%1024 == 0 { // keep the disk small
					if err := l.SetStart(l.RetentionPoint(0, 0, 16<<20)); err != nil {
						b.Fatal(err)
					}
					if err := l.DropBelow(n); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkRead reads a log of 32 MiB in 4 segments, 64 KiB at a time.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{256, 16 << 10} {
		for name, opts := range map[string]Options{
			"tail": {SegmentBytes: 8 << 20, TailCacheBytes: 64 << 20},
			"disk": {SegmentBytes: 8 << 20, TailCacheBytes: -1},
		} {
			l := benchLog(b, opts)
			for l.Bytes() < 32<<20 {
				add(b, l, 1, size-batch.HeaderSize, 1)
			}
			next := uint64(l.Next())
			for order, from := range map[string]func(protocol.Offset) protocol.Offset{
				"sequential": func(o protocol.Offset) protocol.Offset { return o % l.Next() },
				"random":     func(protocol.Offset) protocol.Offset { return protocol.Offset(rand.Uint64N(next)) },
			} {
				b.Run(fmt.Sprintf("%s/%s/%d", name, order, size), func(b *testing.B) { benchRead(b, l, from) })
			}
		}
	}
}

func benchRead(b *testing.B, l *Log, from func(protocol.Offset) protocol.Offset) {
	dst := make([]byte, 0, 68<<10)
	var o protocol.Offset
	var total int64
	b.ReportAllocs()
	for b.Loop() {
		o = from(o)
		got, err := l.Read(o, 64<<10, dst)
		if err != nil || len(got) == 0 {
			b.Fatal(o, err)
		}
		total += int64(len(got))
		h, err := batch.ParseHeader(got)
		if err != nil {
			b.Fatal(err)
		}
		o += protocol.Offset(len(got) / int(h.Length))
	}
	b.SetBytes(total / int64(b.N))
}
