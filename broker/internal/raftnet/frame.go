package raftnet

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"
)

// Types of frames. Never renumber.
const (
	frameMessages  = 1 // pb.MessageBatch, dialer to listener
	frameChunk     = 2 // pb.Chunk, dialer to listener
	frameChunkAck  = 3 // u8: 1 accepted, 0 refused
	frameLiveness  = 4 // opaque, dialer to listener
	frameEcho      = 5 // u64, dialer to listener
	frameEchoReply = 6 // the same u64 back
	frameFetch     = 7 // opaque, dialer to listener
	frameFetched   = 8 // the answer to it, opaque
	frameJoin      = 9 // opaque, dialer to listener
	frameJoined    = 10
)

const (
	frameHeader = 5
	// keepBuffer is the largest buffer that is kept for the next frame.
	keepBuffer = 1 << 20
	// readStep bounds what is allocated ahead of the bytes that have come.
	readStep = 1 << 20
)

func putHeader(b []byte, typ byte, length int) {
	binary.BigEndian.PutUint32(b, uint32(length))
	b[4] = typ
}

// frameReader reads frames from one connection.
type frameReader struct {
	r     *bufio.Reader
	limit int
	head  [frameHeader]byte
	buf   []byte
}

func newFrameReader(r io.Reader, limit int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 32<<10), limit: limit}
}

// next returns the next frame. The payload is valid until the following call.
func (f *frameReader) next() (typ byte, payload []byte, err error) {
	if _, err := io.ReadFull(f.r, f.head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint32(f.head[:]))
	if n > f.limit {
		return 0, nil, fmt.Errorf("frame of %d bytes, limit %d", n, f.limit)
	}
	if cap(f.buf) > keepBuffer {
		f.buf = nil
	}
	f.buf = f.buf[:0]
	for len(f.buf) < n {
		step := min(n-len(f.buf), max(readStep, len(f.buf)))
		f.buf = slices.Grow(f.buf, step)
		part := f.buf[len(f.buf) : len(f.buf)+step]
		if _, err := io.ReadFull(f.r, part); err != nil {
			return 0, nil, err
		}
		f.buf = f.buf[:len(f.buf)+step]
	}
	return f.head[4], f.buf, nil
}

// buffers recycles the frames that wait in queues, by size: buffers[i] holds those of capacity 1<<i.
var buffers [21]sync.Pool

func getBuffer(n int) []byte {
	class := bits.Len(uint(max(n, 256) - 1))
	if class >= len(buffers) {
		return make([]byte, n)
	}
	if v, ok := buffers[class].Get().(*[]byte); ok {
		return (*v)[:n]
	}
	return make([]byte, n, 1<<class)
}

func putBuffer(b []byte) {
	class := bits.Len(uint(cap(b))) - 1
	if class < len(buffers) && cap(b) == 1<<class {
		buffers[class].Put(&b)
	}
}
