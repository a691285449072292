package batch

import (
	"bytes"
	"fmt"
	"testing"
)

func benchRecords(n int) []Record {
	records := make([]Record, n)
	for i := range records {
		value := bytes.Repeat(fmt.Appendf(nil, "%d some text that repeats; ", i), 10)[:256]
		records[i] = Record{Key: fmt.Appendf(nil, "key-%d", i%50), Value: value, Timestamp: 1_700_000_000_000 + int64(i)}
	}
	return records
}

// BenchmarkBuild and BenchmarkRecords move batches of 256 records with 256 bytes each.
func BenchmarkBuild(b *testing.B) {
	records := benchRecords(256)
	for _, c := range compressions {
		b.Run(c.String(), func(b *testing.B) {
			builder, out := NewBuilder(c), []byte(nil)
			b.ReportAllocs()
			for b.Loop() {
				builder.Reset()
				for i := range records {
					if err := builder.Add(records[i]); err != nil {
						b.Fatal(err)
					}
				}
				b.SetBytes(int64(builder.Size()))
				var err error
				if out, err = builder.Build(out[:0], 1, 2, 3); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkRecords(b *testing.B) {
	for _, c := range compressions {
		b.Run(c.String(), func(b *testing.B) {
			in := build(b, c, 0, benchRecords(256)...)
			buf := make([]byte, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				it, err := Records(in, ReadOptions{Buffer: buf})
				if err != nil {
					b.Fatal(err)
				}
				n := 0
				for _, ok := it.Next(); ok; _, ok = it.Next() {
					n++
				}
				if n != 256 {
					b.Fatal(it.Err())
				}
			}
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	in := build(b, None, 0, benchRecords(256)...)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := Check(in, len(in)); err != nil {
			b.Fatal(err)
		}
	}
}
