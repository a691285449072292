package archive

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// decoder unpacks chunks; it is safe for concurrent use. maxChunkBytes bounds what it allocates.
var decoder = must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxChunkBytes)))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // fixed options
	}
	return v
}

// chunk is a checked chunk.
type chunk struct {
	chunkHeader
	at      int64          // of its header in the file
	end     int64          // behind its stored bytes
	headers []batch.Header // of its batches
	batches [][]byte       // slices of one piece of memory that is the receiver's own
}

// reader reads a partition's file front to back and checks everything on the way. It belongs to one goroutine.
type reader struct {
	file string // for errors
	r    io.Reader
	pos  int64
	next protocol.Offset // behind the last record; chunks begin here or above
}

// newReader reads the header of a file, which must be that of want.
func newReader(file string, r io.Reader, want fileHeader) (*reader, error) {
	in := &reader{file: file, r: r}
	b := make([]byte, fileHeaderSize)
	if n, err := io.ReadFull(r, b); err != nil {
		return nil, in.broken(int64(n), err, "the file header")
	}
	got, err := parseFileHeader(b)
	if err == nil && got != want {
		err = fmt.Errorf("this is partition %d of export %016x, not partition %d of %016x",
			got.partition, got.export, want.partition, want.export)
	}
	if err != nil {
		return nil, &DamageError{File: file, Err: err}
	}
	in.pos = fileHeaderSize
	return in, nil
}

// broken is the error of a read that ended early: at is where.
func (in *reader) broken(at int64, err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &DamageError{File: in.file, Byte: at, Err: fmt.Errorf("the file ends within %s", what)}
	}
	return fmt.Errorf("read %s at byte %d: %w", in.file, at, err)
}

// chunk returns the next chunk, io.EOF at the end of the file, or a *DamageError.
func (in *reader) chunk() (*chunk, error) {
	var head [chunkHeaderSize]byte
	n, err := io.ReadFull(in.r, head[:])
	if n == 0 && errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err != nil {
		return nil, in.broken(in.pos+int64(n), err, "a chunk header")
	}
	h, err := parseChunkHeader(head[:])
	if err == nil && h.first < in.next {
		err = fmt.Errorf("chunk begins at offset %d, below %d where the one before it ends", h.first, in.next)
	}
	if err != nil {
		return nil, &DamageError{File: in.file, Byte: in.pos, Err: err}
	}
	body := in.pos + chunkHeaderSize
	stored := make([]byte, h.stored)
	if n, err := io.ReadFull(in.r, stored); err != nil {
		return nil, in.broken(body+int64(n), err, "a chunk")
	}
	if got := crc32.Checksum(stored, castagnoli); got != h.crc {
		return nil, &DamageError{File: in.file, Byte: body,
			Err: fmt.Errorf("the chunk's CRC32C is %08x, its header says %08x", got, h.crc)}
	}
	c := &chunk{chunkHeader: h, at: in.pos, end: body + int64(h.stored)}
	if err := c.open(stored); err != nil {
		return nil, &DamageError{File: in.file, Byte: in.pos, Err: err}
	}
	in.pos, in.next = c.end, h.next()
	return c, nil
}

// open unpacks and splits the chunk and checks every batch of it.
func (c *chunk) open(stored []byte) error {
	if c.packing == zstdPacked {
		unpacked, err := decoder.DecodeAll(stored, make([]byte, 0, c.length))
		if err != nil {
			return fmt.Errorf("unpack the chunk: %w", err)
		}
		stored = unpacked
	}
	if len(stored) != int(c.length) {
		return fmt.Errorf("the chunk unpacks to %d bytes, its header says %d", len(stored), c.length)
	}
	next := c.first
	for rest := stored; len(rest) > 0; {
		at := len(stored) - len(rest)
		b, tail, err := batch.Split(rest)
		if err != nil {
			return fmt.Errorf("batch at byte %d of the unpacked chunk: %w", at, err)
		}
		h, err := batch.Check(b, protocol.MaxBatchBytesLimit)
		if err == nil && h.BaseOffset != next {
			err = fmt.Errorf("it begins at offset %d, not at %d", h.BaseOffset, next)
		}
		if err != nil {
			return fmt.Errorf("batch at byte %d of the unpacked chunk: %w", at, err)
		}
		next = h.Next()
		c.headers, c.batches = append(c.headers, h), append(c.batches, b)
		rest = tail
	}
	if next != c.next() {
		return fmt.Errorf("the chunk's records end at offset %d, its header says %d", next, c.next())
	}
	return nil
}
