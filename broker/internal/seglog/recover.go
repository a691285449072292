package seglog

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// files is what a log's directory holds.
type files struct {
	segments []foundSegment    // by base
	indexes  []protocol.Offset // by base
}

type foundSegment struct {
	base protocol.Offset
	size int64
}

// listFiles lists dir. Files with other names are left alone.
func listFiles(fs storefs.FS, dir string) (files, error) {
	entries, err := fs.ReadDir(dir)
	if err != nil {
		return files{}, fmt.Errorf("seglog: list: %w", err)
	}
	var found files
	for _, e := range entries { // sorted by name, so by offset
		if base, ok := parseFileName(e.Name(), indexSuffix); ok {
			found.indexes = append(found.indexes, base)
		}
		base, ok := parseFileName(e.Name(), logSuffix)
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return files{}, fmt.Errorf("seglog: list: %w", err)
		}
		found.segments = append(found.segments, foundSegment{base, info.Size()})
	}
	return found, nil
}

// Open opens the log in dir and repairs what a crash left: everything at and above keepBelow is cut. keepBelow is
// the end of the log in the owner's checkpoint: everything below it was synced, so if it is damaged or missing in the
// last segment or in front of the first one, that is a *CorruptionError, found before any batch is changed. With All,
// where nothing is known to have been synced, the last segment is kept up to its first invalid batch. What is damaged or
// missing between is told by Damage, for Mend: the rest of the log can be read.
//
// What costs time is bounded: of each segment only the batches behind its last index entry are looked at (with All,
// all of the last segment). Damage in the middle of a segment is found when it is read, or by Verify.
func Open(fs storefs.FS, dir string, keepBelow protocol.Offset, opts Options) (*Log, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	found, err := listFiles(fs, dir)
	if err != nil {
		return nil, err
	}
	kept, cut, err := splitAt(found.segments, dir, keepBelow)
	if err != nil {
		return nil, err
	}
	r := recovery{fs: fs, dir: dir, every: opts.IndexEveryBytes, buf: make([]byte, recoveryBufferBytes)}
	l := newLog(fs, dir, opts)
	for i, s := range kept[:len(kept)-1] {
		seg, err := r.sealed(s, kept[i+1].base)
		var damage *CorruptionError
		switch {
		case errors.As(err, &damage): // Mend can put it right, and what lies in other places is readable
			l.damage = append(l.damage, damage)
		case err != nil:
			return nil, err
		}
		l.segments = append(l.segments, seg)
	}
	last, err := r.last(kept[len(kept)-1], keepBelow)
	if err != nil {
		return nil, err
	}
	if err := r.remove(cut, found.indexes, kept); err != nil {
		return nil, fmt.Errorf("seglog: open: %w", err)
	}
	if err := r.cut(&last); err != nil {
		return nil, fmt.Errorf("seglog: open: %w", err)
	}
	l.adopt(&last)
	return l, nil
}

// recoveryBufferBytes is what recovery reads at once; larger batches make it grow for the moment.
const recoveryBufferBytes = 64 << 10

// maxFileBytes bounds a segment file: full but for one byte, and then a batch. Positions fit into 32 bits.
const maxFileBytes = maxSegmentBytes + protocol.MaxBatchBytesLimit

// splitAt divides the segments into those that hold what is below keepBelow and those that are to be deleted. At
// least one is kept.
func splitAt(segments []foundSegment, dir string, keepBelow protocol.Offset) (kept, cut []foundSegment, err error) {
	if len(segments) == 0 {
		return nil, nil, &CorruptionError{File: dir, Reason: "no segment files"}
	}
	if first := segments[0].base; first > keepBelow {
		return nil, nil, &CorruptionError{fileName(dir, first, logSuffix), 0,
			fmt.Sprintf("the log begins at offset %d, the checkpoint ends at %d", first, keepBelow)}
	}
	for _, s := range segments {
		if s.size > maxFileBytes {
			return nil, nil, &CorruptionError{fileName(dir, s.base, logSuffix), maxFileBytes,
				fmt.Sprintf("segment of %d bytes, no log makes it longer than %d", s.size, maxFileBytes)}
		}
	}
	n := len(segments)
	for segments[n-1].base > keepBelow {
		n--
	}
	return segments[:n], segments[n:], nil
}

// adopt makes the recovered last segment the active one.
func (l *Log) adopt(last *lastSegment) {
	l.segments = append(l.segments, last.seg)
	l.lastIndex, l.flushed, l.pending = last.ix.last, last.keepEntries, last.ix.entries
	l.written, l.newNames = last.seg.size, true
	l.start.Store(uint64(l.segments[0].base))
	l.next.Store(uint64(last.seg.next))
	l.countBytes()
}

// recovery opens the segments of one directory. It reads only, until remove and cut.
type recovery struct {
	fs    storefs.FS
	dir   string
	every int64
	buf   []byte
}

// Damage returns what Open found damaged in sealed segments, at most one place in each.
func (l *Log) Damage() []*CorruptionError { return l.damage }

// sealed checks that the segment is whole and ends where the next one begins. With a *CorruptionError it returns what it
// was, as well as that can be known.
func (r *recovery) sealed(s foundSegment, next protocol.Offset) (*segment, error) {
	f, err := r.fs.Open(fileName(r.dir, s.base, logSuffix))
	if err != nil {
		return nil, fmt.Errorf("seglog: open: %w", err)
	}
	defer f.Close()
	sc := scanner{f: f, dir: r.dir, base: s.base, end: s.size, buf: r.buf}
	whole := func(p progress) bool { return p.pos == s.size && p.next == next && p.pos > 0 }

	ix := indexBuilder{every: r.every, last: -1}
	p, _, err := r.fromIndex(s.base, key{offset: next - 1})
	if err == nil {
		p, err = sc.scan(p, next, false, &ix)
	}
	if err == nil && whole(p) {
		return &segment{base: s.base, next: p.next, size: s.size, lastTime: p.time}, nil
	}
	// The index does not fit, or the segment is damaged: only all of it can tell.
	ix = indexBuilder{every: r.every, last: -1}
	p, err = sc.scan(progress{next: s.base}, All, true, &ix)
	if err == nil && !whole(p) {
		err = sc.damage(p.pos, "segment ends at offset %d, the next one begins at %d", p.next, next)
	}
	if err != nil {
		return &segment{base: s.base, next: next, size: s.size, lastTime: max(p.time, r.firstTime(next))}, err
	}
	if _, err := writeIndex(r.fs, fileName(r.dir, s.base, indexSuffix), 0, ix.entries, nil, true); err != nil {
		return nil, fmt.Errorf("seglog: write index: %w", err)
	}
	return &segment{base: s.base, next: p.next, size: s.size, lastTime: p.time}, nil
}

// firstTime returns the append time of the first batch of a segment, 0 when its index does not tell.
func (r *recovery) firstTime(base protocol.Offset) int64 {
	p, _, err := r.fromIndex(base, key{offset: base})
	if err != nil {
		return 0
	}
	return p.time
}

// fromIndex returns the place of the last batch in the segment's index that k covers, and the entry's number.
func (r *recovery) fromIndex(base protocol.Offset, k key) (progress, int64, error) {
	f, err := r.fs.Open(fileName(r.dir, base, indexSuffix))
	if err != nil {
		return progress{}, 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return progress{}, 0, err
	}
	e, at, err := searchFile(f, size/entrySize, k, make([]byte, entrySize))
	return progress{pos: int64(e.pos), next: e.offset, time: e.time}, at, err
}

// lastSegment is the last segment as it will be once cut was called.
type lastSegment struct {
	seg         *segment
	found       foundSegment
	keepEntries int64        // entries in the .idx file that stay
	ix          indexBuilder // those that come behind them
}

// last finds out how much of the last segment stays.
func (r *recovery) last(s foundSegment, keepBelow protocol.Offset) (lastSegment, error) {
	out := lastSegment{found: s}
	f, err := r.fs.Open(fileName(r.dir, s.base, logSuffix))
	if err != nil {
		return out, fmt.Errorf("seglog: open: %w", err)
	}
	defer f.Close()
	sc := scanner{f: f, dir: r.dir, base: s.base, end: s.size, buf: r.buf}
	var p progress
	if keepBelow == All {
		out.ix = indexBuilder{every: r.every, last: -1}
		p, err = sc.scan(progress{next: s.base}, All, true, &out.ix)
		var torn *CorruptionError
		if errors.As(err, &torn) {
			err = nil // not known to have been synced: it ends here
		}
	} else {
		p, err = r.upTo(&sc, s.base, keepBelow, &out)
	}
	if err != nil {
		return out, err
	}
	out.seg = &segment{base: s.base, next: p.next, size: p.pos, lastTime: p.time}
	return out, nil
}

// upTo scans the last segment to keepBelow, which it must reach, beginning as far up as its index allows.
func (r *recovery) upTo(sc *scanner, base, keepBelow protocol.Offset, out *lastSegment) (progress, error) {
	out.ix = indexBuilder{every: r.every, last: -1}
	if keepBelow == base {
		return progress{next: base}, nil
	}
	p, at, err := r.fromIndex(base, key{offset: keepBelow - 1})
	if err == nil {
		out.keepEntries = at + 1
		out.ix.last = p.pos
		if p, err = sc.scan(p, keepBelow, true, &out.ix); err == nil && p.next == keepBelow {
			return p, nil
		}
	}
	out.keepEntries = 0
	out.ix = indexBuilder{every: r.every, last: -1}
	p, err = sc.scan(progress{next: base}, keepBelow, true, &out.ix)
	if err == nil && p.next != keepBelow {
		err = sc.damage(p.pos, "the log ends at offset %d, the checkpoint at %d", p.next, keepBelow)
	}
	return p, err
}

// remove deletes the segments in cut, the last first, and indexes that belong to no segment in kept.
func (r *recovery) remove(cut []foundSegment, indexes []protocol.Offset, kept []foundSegment) error {
	for _, s := range slices.Backward(cut) {
		if err := r.fs.Remove(fileName(r.dir, s.base, logSuffix)); err != nil {
			return err
		}
		if err := r.fs.SyncDir(r.dir); err != nil { // each by itself: a crash must not leave a gap
			return err
		}
	}
	removed := false
	for _, base := range indexes {
		if slices.ContainsFunc(kept, func(s foundSegment) bool { return s.base == base }) {
			continue
		}
		if err := r.fs.Remove(fileName(r.dir, base, indexSuffix)); err != nil {
			return err
		}
		removed = true
	}
	if !removed {
		return nil
	}
	return r.fs.SyncDir(r.dir)
}

// cut shortens the last segment and its index to what stays. The segment's end is durable before anything is
// appended to it: else old batches could come back behind new ones.
func (r *recovery) cut(last *lastSegment) error {
	if last.seg.size < last.found.size {
		if err := r.truncate(fileName(r.dir, last.seg.base, logSuffix), last.seg.size, true); err != nil {
			return err
		}
	}
	name := fileName(r.dir, last.seg.base, indexSuffix)
	if last.keepEntries > 0 {
		if err := r.truncate(name, last.keepEntries*entrySize, false); err != nil {
			return err
		}
	}
	if len(last.ix.entries) <= maxPendingEntries {
		return nil
	}
	_, err := writeIndex(r.fs, name, last.keepEntries, last.ix.entries, nil, false)
	last.keepEntries += int64(len(last.ix.entries))
	last.ix.entries = nil
	return err
}

// truncate shortens one file.
func (r *recovery) truncate(name string, size int64, sync bool) error {
	f, err := r.fs.OpenFile(name, os.O_RDWR)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil && sync {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
