package seglog

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// scratchBytes is how much of a segment or an index is read at once while a position is looked for.
const scratchBytes = 4 << 10

// Read appends whole batches to dst, beginning with the one that contains from: at least one when from is below
// Next, and no more than maxBytes otherwise. It may stop early, as at the end of a segment. It allocates nothing
// when dst has room for what is read and, for a read that goes on from no other one, for 4 KiB. Outside of [Start,
// Next] the error is a *protocol.Error with CodeOffsetOutOfRange; on an error dst is returned as it was.
func (l *Log) Read(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	l.life.RLock()
	defer l.life.RUnlock()
	l.mu.RLock()
	return l.read(from, l.Start(), l.Next(), maxBytes, dst)
}

// read is Read in [lo, hi). It is called with life and mu read-locked and unlocks mu.
func (l *Log) read(from, lo, hi protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	if l.closed || from < lo || from >= hi {
		l.mu.RUnlock()
		switch {
		case l.closed:
			return dst, ErrClosed
		case from == hi:
			return dst, nil
		}
		return dst, protocol.Errorf(protocol.CodeOffsetOutOfRange, "offset %d, but the log holds %d to %d", from, lo, hi)
	}
	var pieces [maxPieces]piece
	if n := l.tail.collect(from, maxBytes, &pieces); n > 0 {
		l.mu.RUnlock()
		return copyPieces(pieces[:n], from, hi, maxBytes, dst)
	}
	t := l.target(l.segmentOf(from), key{offset: from})
	l.mu.RUnlock()
	defer t.seg.pins.Add(-1)
	return l.readFile(&t, from, hi, maxBytes, dst)
}

// target is where a read from disk goes: what mu guards, as of one moment. Its segment is pinned.
type target struct {
	seg     *segment
	key     key
	active  bool
	size    int64
	next    protocol.Offset
	flushed int64 // entries in the .idx file that count; for a sealed segment all do
	near    entry // with hasNear: the entry in memory from which on to look
	hasNear bool
}

// segmentOf returns the segment that holds the offset, which is in the log. mu is read-locked.
func (l *Log) segmentOf(o protocol.Offset) *segment {
	lo, hi := 0, len(l.segments)-1 // segments[:lo] end at or below o
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if l.segments[mid].next <= o {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return l.segments[lo]
}

// target pins s. mu is read-locked.
func (l *Log) target(s *segment, k key) target {
	t := target{seg: s, key: k, active: s == l.active(), size: s.size, next: s.next}
	if t.active {
		t.flushed = l.flushed
		t.near, t.hasNear = searchMemory(l.pending, k)
	}
	s.pins.Add(1)
	s.used.Store(l.clock.Add(1))
	return t
}

// scanner returns a scanner of the target's file.
func (l *Log) scanner(f storefs.File, t *target, buf []byte) scanner {
	return scanner{f: f, dir: l.dir, base: t.seg.base, end: t.size, buf: buf}
}

// readFile is the part of read that goes to disk.
func (l *Log) readFile(t *target, from, limit protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	f, err := l.open(t.seg, t.active)
	if err != nil {
		return dst, err
	}
	l.boundFiles()
	keep := len(dst)
	pos, ok := l.hints.get(t.seg.base, from)
	offset := from // a hint points at a batch that begins there
	if !ok {
		var h batch.Header
		dst = slices.Grow(dst, scratchBytes)
		pos, h, ok, err = l.locate(f, t, dst[keep:keep+scratchBytes])
		if err != nil {
			return dst[:keep], err
		}
		if !ok {
			return dst[:keep], &CorruptionError{fileName(l.dir, t.seg.base, logSuffix), pos,
				fmt.Sprintf("segment ends before offset %d, it should end at %d", from, t.next)}
		}
		offset = h.BaseOffset
	}
	s := l.scanner(f, t, nil)
	dst, next, err := s.read(pos, offset, min(limit, t.next), maxBytes, dst)
	if err != nil {
		return dst[:keep], err
	}
	l.hints.put(t.seg.base, next, pos+int64(len(dst)-keep))
	return dst, nil
}

// boundFiles closes files when the read that just opened one went over the bound.
func (l *Log) boundFiles() {
	if l.openFiles.Load() <= maxOpenSealed+1 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeIdleFiles()
}

// locate finds the batch that the target's key seeks. ok is false when the segment has none.
func (l *Log) locate(f storefs.File, t *target, scratch []byte) (pos int64, h batch.Header, ok bool, err error) {
	s := l.scanner(f, t, scratch)
	if t.hasNear {
		return s.find(int64(t.near.pos), t.near.offset, t.key)
	}
	if t.key.byTime || t.key.offset != t.seg.base {
		e, ierr := l.lookup(t, scratch)
		if ierr == nil {
			pos, h, ok, err = s.find(int64(e.pos), e.offset, t.key)
			var damage *CorruptionError
			switch {
			case err == nil && (ok || t.key.byTime && pos == t.size), err != nil && !errors.As(err, &damage):
				return pos, h, ok, err
			}
		}
		// Missing or wrong, so go by the batches alone. The next one shall have it easier; an active segment's index
		// is the writer's, and is put right by Open.
		if !t.active {
			if err := l.rebuildIndex(f, t); err != nil {
				return 0, h, false, err
			}
		}
	}
	s.filled = 0 // scratch was used for the index
	return s.find(0, t.seg.base, t.key)
}

// lookup finds in the segment's .idx file where to look for the target's key.
func (l *Log) lookup(t *target, scratch []byte) (entry, error) {
	t.seg.indexMu.RLock()
	defer t.seg.indexMu.RUnlock()
	if t.active && t.flushed == 0 {
		return entry{}, errBadIndex
	}
	f, err := l.fs.Open(fileName(l.dir, t.seg.base, indexSuffix))
	if err != nil {
		return entry{}, err
	}
	defer f.Close()
	count := t.flushed
	if !t.active {
		size, err := f.Size()
		if err != nil {
			return entry{}, err
		}
		count = size / entrySize
	}
	e, at, err := searchFile(f, count, t.key, scratch)
	if err == nil && at < 0 {
		e = entry{offset: t.seg.base}
	}
	return e, err
}

// rebuildIndex writes the index of a sealed segment anew. Real damage to the segment is an error; that the index
// cannot be written is none: it is only a hint.
func (l *Log) rebuildIndex(f storefs.File, t *target) error {
	s := l.scanner(f, t, nil)
	ix := indexBuilder{every: l.opts.IndexEveryBytes, last: -1}
	if _, err := s.scan(progress{next: t.seg.base}, t.next, true, &ix); err != nil {
		return err
	}
	t.seg.indexMu.Lock()
	defer t.seg.indexMu.Unlock()
	_, _ = writeIndex(l.fs, fileName(l.dir, t.seg.base, indexSuffix), 0, ix.entries, nil, false)
	return nil
}

// hints remember where recent reads from disk ended, so that readers that go on from there need no index. They
// never go stale: a position, once written, is final.
type hints struct {
	mu    sync.Mutex
	slots [8]hint // more readers than slots at once fall back to the index
	at    int     // the next slot to overwrite
}

type hint struct {
	base, offset protocol.Offset // of the segment, of the batch
	pos          int64           // of the batch; 0 for an empty slot
}

func (h *hints) get(base, offset protocol.Offset) (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.slots {
		if s := &h.slots[i]; s.pos > 0 && s.base == base && s.offset == offset {
			return s.pos, true
		}
	}
	return 0, false
}

func (h *hints) put(base, offset protocol.Offset, pos int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.slots {
		if s := &h.slots[i]; s.base == base && s.offset == offset && s.pos == pos {
			return
		}
	}
	h.slots[h.at] = hint{base, offset, pos}
	h.at = (h.at + 1) % len(h.slots)
}

// View is a frozen range of a log: its batches stay readable until Close, whatever SetStart and DropBelow do. An
// open view keeps the files of everything above its start, so close it soon. Closing the log makes it useless.
type View struct {
	l           *Log
	start, next protocol.Offset
}

// View freezes [Start, Next).
func (l *Log) View() (*View, error) {
	l.life.RLock()
	defer l.life.RUnlock()
	if l.closed {
		return nil, ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &View{l: l, start: l.Start(), next: l.Next()}
	l.views = append(l.views, v)
	return v, nil
}

// Start returns the first offset of the view.
func (v *View) Start() protocol.Offset { return v.start }

// Next returns the offset after the last of the view.
func (v *View) Next() protocol.Offset { return v.next }

// Read is Log.Read inside the view.
func (v *View) Read(from protocol.Offset, maxBytes int, dst []byte) ([]byte, error) {
	v.l.life.RLock()
	defer v.l.life.RUnlock()
	v.l.mu.RLock()
	return v.l.read(from, v.start, v.next, maxBytes, dst)
}

// Close lets the next DropBelow delete the view's files. No Read may run or follow. A second Close does nothing.
func (v *View) Close() {
	v.l.mu.Lock()
	defer v.l.mu.Unlock()
	if i := slices.Index(v.l.views, v); i >= 0 {
		v.l.views = slices.Delete(v.l.views, i, i+1)
	}
}
