package batch

import (
	"bytes"
	"errors"
	"testing"

	"github.com/trunkline/trunkline/protocol"
)

func seeds(f *testing.F) {
	for _, c := range compressions {
		f.Add(build(f, c, 7, sampleRecords()...))
	}
	f.Add(wrap([]byte("\x94\xc6\xff\xff\xff\xff"), None, 1))
}

// mustHaveCode fails unless err is one a peer can be told.
func mustHaveCode(t *testing.T, err error) {
	t.Helper()
	var pe *protocol.Error
	if !errors.As(err, &pe) {
		t.Fatalf("an error without a code: %v", err)
	}
}

func FuzzBatchHeader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= HeaderSize { // without right checksums little would be tried
			Stamp(b, 1, 2, 3)
		}
		h, err := ParseHeader(b)
		if err != nil {
			mustHaveCode(t, err)
			return
		}
		if h.Length <= HeaderSize || h.Length > protocol.MaxBatchBytesLimit || h.Count == 0 || h.Next() < h.BaseOffset {
			t.Fatalf("accepted %+v", h)
		}
		first, rest, err := Split(b)
		if err != nil {
			mustHaveCode(t, err)
			return
		}
		if len(first) != int(h.Length) || !bytes.Equal(append(bytes.Clone(first), rest...), b) {
			t.Fatalf("split %d bytes into %d and %d", len(b), len(first), len(rest))
		}
	})
}

func FuzzBatchCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		if _, err := Check(b, protocol.MaxBatchBytesLimit); err != nil {
			mustHaveCode(t, err)
		}
		if len(b) >= HeaderSize {
			b = seal(b)
			h, err := Check(b, protocol.MaxBatchBytesLimit)
			if err != nil {
				mustHaveCode(t, err)
			} else if int(h.Length) != len(b) {
				t.Fatalf("accepted length %d of %d bytes", h.Length, len(b))
			}
		} else if !bytes.Equal(before, b) {
			t.Fatal("Check changed its input")
		}
	})
}

// FuzzRecords puts arbitrary payloads behind right checksums, and arbitrary bytes behind none.
func FuzzRecords(f *testing.F) {
	for _, c := range compressions {
		b := build(f, c, 7, sampleRecords()...)
		f.Add(b[HeaderSize:], uint8(c), uint32(len(sampleRecords())))
	}
	f.Add([]byte("\x94\xc0\xc0\xdd\xff\xff\xff\xff\x01"), uint8(0), uint32(1))
	f.Fuzz(func(t *testing.T, payload []byte, compression uint8, count uint32) {
		b := wrap(payload, Compression(compression&compressionMask), count)
		it, err := Records(b, ReadOptions{})
		if err != nil {
			mustHaveCode(t, err)
			return
		}
		again := NewBuilder(None)
		var got []Record
		for r, ok := it.Next(); ok; r, ok = it.Next() {
			if err := again.Add(r); err != nil {
				t.Fatalf("a record that was read cannot be written: %v", err)
			}
			got = append(got, r)
		}
		if err := it.Err(); err != nil {
			mustHaveCode(t, err)
			return
		}
		if len(got) != int(count) {
			t.Fatalf("%d records, the header says %d", len(got), count)
		}
		out, err := again.Build(nil, 1, 2, 3)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(readAll(t, out, ReadOptions{})); n != len(got) {
			t.Fatalf("%d records became %d", len(got), n)
		}
	})
}
