package seglog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// entrySize is part of the file format.
const entrySize = 24

// entry says where one batch begins. See the package's byte box.
type entry struct {
	offset protocol.Offset
	time   int64
	pos    uint32
}

// errBadIndex says that an index cannot be used; the batches can still be.
var errBadIndex = errors.New("seglog: index does not fit")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (e entry) append(dst []byte) []byte {
	at := len(dst)
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.offset))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.time))
	dst = binary.BigEndian.AppendUint32(dst, e.pos)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

func parseEntry(b []byte) (entry, error) {
	be := binary.BigEndian
	if crc32.Checksum(b[:entrySize-4], castagnoli) != be.Uint32(b[entrySize-4:]) {
		return entry{}, errBadIndex
	}
	return entry{offset: protocol.Offset(be.Uint64(b)), time: int64(be.Uint64(b[8:])), pos: be.Uint32(b[16:])}, nil
}

// key is what a search looks for: the batch that contains offset or, with byTime, the first one appended at time or
// later.
type key struct {
	offset protocol.Offset
	time   int64
	byTime bool
}

// covers reports whether the batch sought is the one e points at or behind it.
func (k key) covers(e entry) bool {
	if k.byTime {
		return e.time < k.time
	}
	return e.offset <= k.offset
}

// found reports whether the batch with header h is the one sought, when none before it was.
func (k key) found(h *batch.Header) bool {
	if k.byTime {
		return h.AppendTime >= k.time
	}
	return h.Next() > k.offset
}

// searchMemory returns the last of the sorted entries that k covers.
func searchMemory(entries []entry, k key) (entry, bool) {
	lo, hi := 0, len(entries) // entries[:lo] are covered, entries[hi:] are not
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if k.covers(entries[mid]) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == 0 {
		return entry{}, false
	}
	return entries[lo-1], true
}

// searchFile returns the last of the first count entries in f that k covers and its number; errBadIndex when it
// meets damage or no entry is covered, which cannot be: the first entry is the segment's first batch.
func searchFile(f storefs.File, count int64, k key, scratch []byte) (entry, int64, error) {
	b := scratch[:entrySize]
	var best entry
	lo, hi := int64(0), count
	for lo < hi {
		mid := int64(uint64(lo+hi) / 2)
		if err := readFull(f, b, mid*entrySize); err != nil {
			return entry{}, 0, err
		}
		e, err := parseEntry(b)
		if err != nil {
			return entry{}, 0, err
		}
		if k.covers(e) {
			best, lo = e, mid+1
		} else {
			hi = mid
		}
	}
	if lo == 0 && !k.byTime {
		return entry{}, 0, errBadIndex
	}
	return best, lo - 1, nil
}

// writeIndex writes entries behind the first at entries of the file, which it creates when needed.
func writeIndex(fs storefs.FS, name string, at int64, entries []entry, scratch []byte, sync bool) ([]byte, error) {
	flag := os.O_RDWR | os.O_CREATE
	if at == 0 {
		flag |= os.O_TRUNC // whatever it was, it is not of this segment
	}
	f, err := fs.OpenFile(name, flag)
	if err != nil {
		return scratch, err
	}
	scratch = scratch[:0]
	for _, e := range entries {
		scratch = e.append(scratch)
	}
	_, err = f.WriteAt(scratch, at*entrySize)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return scratch, err
}

// indexBuilder collects the entries of batches that are met in order.
type indexBuilder struct {
	every   int64
	last    int64 // position of the newest entry, -1 before the first
	entries []entry
}

func (b *indexBuilder) add(pos int64, offset protocol.Offset, time int64) {
	if b.last >= 0 && pos-b.last < b.every {
		return
	}
	b.last = pos
	b.entries = append(b.entries, entry{offset: offset, time: time, pos: uint32(pos)})
}

// readFull fills b from off, or fails.
func readFull(f storefs.File, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("%d of %d bytes at %d: %w", n, len(b), off, io.ErrUnexpectedEOF)
	}
	return err
}
