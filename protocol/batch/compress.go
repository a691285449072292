package batch

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/trunkline/trunkline/protocol"
)

// zstdWindow bounds what an encoder and a decoder remember, and with it their memory.
const zstdWindow = 1 << 20

// Coders are dear to make (about a MiB each) and are reused. With concurrency 1 and whole buffers they
// run on the caller's goroutine and own none, so the pools may drop them without closing.
var (
	zstdEncoders = sync.Pool{New: func() any { return newZstdEncoder() }}
	zstdDecoders = sync.Pool{New: func() any { return newZstdDecoder() }}
)

func newZstdEncoder() *zstd.Encoder {
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(zstdWindow),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false)) // the batch has its own
	if err != nil {
		panic(fmt.Sprintf("batch: zstd refuses constant options: %v", err))
	}
	return w
}

func newZstdDecoder() *zstd.Decoder {
	r, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxMemory(protocol.MaxBatchBytesLimit),
		zstd.WithDecoderMaxWindow(protocol.MaxBatchBytesLimit),
		zstd.WithDecodeAllCapLimit(true)) // never more than the claimed size, which was checked
	if err != nil {
		panic(fmt.Sprintf("batch: zstd refuses constant options: %v", err))
	}
	return r
}

// pack appends the packed form of src to dst.
func pack(dst []byte, c Compression, src []byte) []byte {
	switch c {
	case Zstd:
		w := zstdEncoders.Get().(*zstd.Encoder)
		defer zstdEncoders.Put(w)
		return w.EncodeAll(src, dst)
	case S2:
		room := s2.MaxEncodedLen(len(src))
		dst = growBy(dst, room)
		out := s2.Encode(dst[len(dst):len(dst)+room], src)
		return dst[:len(dst)+len(out)]
	}
	return append(dst, src...)
}

// unpack unpacks src, which must yield exactly size bytes, into buf if it has room.
func unpack(buf []byte, c Compression, src []byte, size int) ([]byte, error) {
	if cap(buf) < size {
		buf = make([]byte, 0, size)
	}
	var out []byte
	var err error
	switch c {
	case Zstd:
		r := zstdDecoders.Get().(*zstd.Decoder)
		defer zstdDecoders.Put(r)
		out, err = r.DecodeAll(src, buf[:0:size])
	case S2:
		n, lenErr := s2.DecodedLen(src)
		if lenErr == nil && n != size {
			return nil, corrupt("payload unpacks to %d bytes, its size says %d", n, size)
		}
		out, err = s2.Decode(buf[:size:size], src)
	}
	if err != nil {
		return nil, corrupt("unpack %s: %v", c, err)
	}
	if len(out) != size {
		return nil, corrupt("payload unpacks to %d bytes, its size says %d", len(out), size)
	}
	return out, nil
}

// growBy returns dst with room for n more bytes.
func growBy(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	grown := make([]byte, len(dst), len(dst)+n)
	copy(grown, dst)
	return grown
}
