package archive

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// encoder packs chunks; it is safe for concurrent use.
var encoder = must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault)))

// writer appends chunks to a partition's file. It belongs to one goroutine.
type writer struct {
	f     *os.File
	pack  bool
	fill  int             // bytes that a chunk is filled to: chunkBytes
	empty bool            // no record is in the file or the chunk
	next  protocol.Offset // behind the last record that was added

	buf     []byte // batches of the chunk that is being filled
	first   protocol.Offset
	records uint32
}

// openWriter opens the file of a partition and goes on behind its last whole chunk; what follows that is cut off. from is
// where a file without chunks begins.
func openWriter(path string, h fileHeader, from protocol.Offset, pack bool) (*writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	w := &writer{f: f, pack: pack, fill: chunkBytes, empty: true, next: from}
	if err := w.resume(path, h); err != nil {
		return nil, errors.Join(fmt.Errorf("resume %s: %w", path, err), f.Close())
	}
	return w, nil
}

func (w *writer) resume(path string, h fileHeader) error {
	in, err := newReader(path, w.f, h)
	var damage *DamageError
	end := int64(0)
	for err == nil {
		end = in.pos
		var c *chunk
		if c, err = in.chunk(); err == nil {
			w.empty, w.next = false, c.next()
		}
	}
	if !errors.Is(err, io.EOF) && !errors.As(err, &damage) {
		return err
	}
	if err := w.f.Truncate(end); err != nil {
		return err
	}
	if _, err := w.f.Seek(end, io.SeekStart); err != nil {
		return err
	}
	if end == 0 {
		_, err = w.f.Write(h.append(nil))
		return err
	}
	return nil
}

// add appends a batch, which is copied. Batches come in the order of their offsets; one that is in the file already is passed over.
func (w *writer) add(h *batch.Header, b []byte) error {
	switch {
	case h.Next() <= w.next:
		return nil
	case h.BaseOffset < w.next && !w.empty:
		return fmt.Errorf("the batch at offset %d overlaps what is there up to %d", h.BaseOffset, w.next)
	case h.BaseOffset > w.next || len(w.buf)+len(b) > w.fill:
		if err := w.flush(); err != nil {
			return err
		}
	}
	if w.records == 0 {
		w.first = h.BaseOffset
	}
	w.buf = append(w.buf, b...)
	w.records += h.Count
	w.empty, w.next = false, h.Next()
	return nil
}

// flush writes the chunk, if it holds anything, with one write.
func (w *writer) flush() error {
	if w.records == 0 {
		return nil
	}
	h := chunkHeader{length: uint32(len(w.buf)), records: w.records, first: w.first}
	stored := w.buf
	if w.pack {
		if packed := encoder.EncodeAll(w.buf, nil); len(packed) < len(w.buf) {
			stored, h.packing = packed, zstdPacked
		}
	}
	h.stored, h.crc = uint32(len(stored)), crc32.Checksum(stored, castagnoli)
	out := append(h.append(make([]byte, 0, chunkHeaderSize+len(stored))), stored...)
	if _, err := w.f.Write(out); err != nil {
		return err
	}
	w.buf, w.records = w.buf[:0], 0
	return nil
}

// close writes and fsyncs what is left.
func (w *writer) close() error {
	return errors.Join(w.flush(), w.f.Sync(), w.f.Close())
}
