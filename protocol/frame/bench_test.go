package frame

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/trunkline/trunkline/protocol"
)

// BenchmarkAppend writes a frame behind others, as acks and deliveries are written.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body, out := make([]byte, size), []byte(nil)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if len(out) > 256<<10 {
					out = out[:0]
				}
				out = Append(out, protocol.KindProduce, body)
			}
		})
	}
}

// BenchmarkNext reads frames that stay the reader's.
func BenchmarkNext(b *testing.B) {
	for _, size := range []int{64, 16 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			stream := bytes.Repeat(Append(nil, protocol.KindProduce, make([]byte, size)), 64)
			src := bytes.NewReader(stream)
			r := NewReader(src)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if src.Len() == 0 {
					src.Reset(stream)
				}
				if _, _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
