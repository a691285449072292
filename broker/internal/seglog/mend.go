package seglog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// mendBytes is how much is asked of another replica at once.
const mendBytes = 1 << 20

// Fetch returns whole batches from another replica of the log as Log.Read does: the first one contains from.
type Fetch func(from protocol.Offset, maxBytes int) ([]byte, error)

// Mended says what Mend wrote anew.
type Mended struct {
	Batches int
	Bytes   int64
}

// MismatchError says that another replica's batches do not fit where this log is damaged. They were not written.
type MismatchError struct {
	File     string
	Position int64 // in File
	Reason   string
}

// Error implements error.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("seglog: %s cannot be mended at byte %d: %s", e.File, e.Position, e.Reason)
}

// SealedEnd returns where the sealed segments end: the first offset of the active one.
func (l *Log) SealedEnd() protocol.Offset {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.active().base
}

// Verify reads the segment that holds from off the disk, checks all of it that is readable, and returns the first
// offset behind it. pace is asked before each read of so many bytes and ends Verify with its error. Damage is a
// *CorruptionError, with the offset behind the segment too.
func (l *Log) Verify(from protocol.Offset, pace func(bytes int) error) (protocol.Offset, error) {
	t, err := l.pin(from)
	if err != nil {
		return 0, err
	}
	defer t.seg.pins.Add(-1)
	f, err := l.fs.Open(fileName(l.dir, t.seg.base, logSuffix))
	if err != nil {
		return t.next, l.openError(&t, err)
	}
	defer f.Close()
	// What the page cache holds may be better than the disk; and it is for readers, not for what nobody asked for.
	_ = f.DropCache(0, t.size) // only a hint
	defer func() { _ = f.DropCache(0, t.size) }()
	s := l.scanner(pacedFile{f, pace}, &t, make([]byte, recoveryBufferBytes))
	if !t.active {
		if s.end, err = f.Size(); err != nil {
			return t.next, fmt.Errorf("seglog: verify: %w", err)
		}
	}
	p, err := l.firstReadable(s.f, &t)
	if err == nil {
		p, err = s.scan(p, t.next, true, nil)
	}
	if err == nil && (p.next != t.next || p.pos != s.end) {
		err = s.damage(p.pos, "its batches end here at offset %d, the segment of %d bytes should end at %d", p.next, s.end, t.next)
	}
	return t.next, err
}

// pacedFile asks before each read.
type pacedFile struct {
	storefs.File
	pace func(bytes int) error
}

func (f pacedFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.pace(len(b)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

// pin returns the segment that holds o; the caller takes the pin back.
func (l *Log) pin(o protocol.Offset) (target, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	start, next := l.Start(), l.Next()
	switch {
	case l.closed:
		return target{}, ErrClosed
	case o < l.segments[0].base || o >= next || l.segmentOf(o).next <= start:
		return target{}, protocol.Errorf(protocol.CodeOffsetOutOfRange, "offset %d, but the log holds %d to %d", o, start, next)
	}
	s := l.segmentOf(o)
	return l.target(s, key{offset: max(start, s.base)}), nil
}

// firstReadable returns the place of the first batch of a pinned segment that retention has left: other replicas may not
// have those before it any more.
func (l *Log) firstReadable(f storefs.File, t *target) (progress, error) {
	if t.key.offset == t.seg.base {
		return progress{next: t.seg.base}, nil
	}
	pos, h, ok, err := l.locate(f, t, make([]byte, scratchBytes))
	if err == nil && !ok {
		s := l.scanner(f, t, nil)
		err = s.damage(pos, "no batch holds offset %d", t.key.offset)
	}
	return progress{pos: pos, next: h.BaseOffset}, err
}

// openError says why a pinned segment could not be opened.
func (l *Log) openError(t *target, err error) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch {
	case l.closed:
		return ErrClosed // then its files may be gone
	case errors.Is(err, fs.ErrNotExist):
		return &CorruptionError{fileName(l.dir, t.seg.base, logSuffix), 0, "the file is missing"}
	}
	return fmt.Errorf("seglog: open segment: %w", err)
}

// Mend replaces every damaged batch of the segment that holds from by that of another replica, in its place, and makes it
// durable. Batches that are good are not touched, so that at any moment, also after a crash, the segment is at least as
// good as before. fetch is called without any lock, any number of times, each for more of the segment. What was mended
// before an error stays. Readers go on meanwhile: they see a batch as good or as damaged. One Mend at a time; it must
// have returned before the same directory is opened again.
func (l *Log) Mend(from protocol.Offset, fetch Fetch) (Mended, error) {
	t, err := l.pin(from)
	if err != nil {
		return Mended{}, err
	}
	defer t.seg.pins.Add(-1)
	f, err := l.fs.OpenFile(fileName(l.dir, t.seg.base, logSuffix), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return Mended{}, l.openError(&t, err)
	}
	m := mender{l: l, t: &t, f: f, fetch: fetch, s: l.scanner(f, &t, make([]byte, recoveryBufferBytes))}
	err = m.mend()
	if m.changed {
		err = errors.Join(err, m.settle())
	}
	return m.done, errors.Join(err, f.Close())
}

// mender is one Mend.
type mender struct {
	l       *Log
	t       *target
	f       storefs.File
	s       scanner
	fetch   Fetch
	changed bool
	at      progress // how far the segment is good
	done    Mended
}

// mend makes the segment good up to its end.
func (m *mender) mend() error {
	size, err := m.f.Size()
	if err != nil {
		return fmt.Errorf("seglog: mend: %w", err)
	}
	if !m.t.active {
		m.s.end = size
	}
	if m.at, err = m.l.firstReadable(m.f, m.t); err != nil {
		return err
	}
	for {
		var damage *CorruptionError
		m.at, err = m.s.scan(m.at, m.t.next, true, nil)
		if err != nil && !errors.As(err, &damage) {
			return err
		}
		if m.at.next == m.t.next {
			break
		}
		batches, err := m.fetch(m.at.next, mendBytes)
		if err != nil {
			return err
		}
		if err := m.replace(batches); err != nil {
			return err
		}
	}
	if m.t.active || m.at.pos == size || m.at.pos > size {
		return nil
	}
	m.changed = true
	return m.f.Truncate(m.at.pos) // what lies behind the last batch never was of this log
}

// replace goes on over another replica's batches and writes those that are damaged here.
func (m *mender) replace(batches []byte) error {
	if len(batches) == 0 {
		return m.mismatch("the other replica has nothing at offset %d", m.at.next)
	}
	for len(batches) > 0 && m.at.next < m.t.next {
		h, err := batch.ParseHeader(batches)
		if err == nil && int64(h.Length) <= int64(len(batches)) {
			_, err = batch.Check(batches[:h.Length], protocol.MaxBatchBytesLimit)
		}
		switch {
		case err != nil:
			return m.mismatch("the other replica's batch at offset %d: %v", m.at.next, err)
		case int64(h.Length) > int64(len(batches)):
			return m.mismatch("the other replica gave %d bytes of a batch of %d", len(batches), h.Length)
		case h.BaseOffset != m.at.next || h.Next() > m.t.next || m.at.pos+int64(h.Length) > maxFileBytes:
			return m.mismatch("the other replica's batch holds offsets %d to %d, one from %d on is needed, up to %d at most",
				h.BaseOffset, h.Next()-1, m.at.next, m.t.next-1)
		}
		if err := m.replaceOne(batches[:h.Length], &h); err != nil {
			return err
		}
		m.at = progress{pos: m.at.pos + int64(h.Length), next: h.Next(), time: max(m.at.time, h.AppendTime)}
		batches = batches[h.Length:]
	}
	return nil
}

// replaceOne writes b, which is good and belongs here, unless what is here is good.
func (m *mender) replaceOne(b []byte, h *batch.Header) error {
	own, err := m.s.header(m.at.pos, m.at.next)
	if err == nil {
		err = m.s.body(m.at.pos, &own)
	}
	var damage *CorruptionError
	switch {
	case err == nil && own.Length != h.Length:
		return m.mismatch("a good batch of %d bytes is here, the other replica's has %d: the replicas differ", own.Length, h.Length)
	case err == nil:
		return nil
	case !errors.As(err, &damage):
		return err
	}
	if err := m.write(b); err != nil {
		return err
	}
	m.changed, m.s.filled = true, 0
	m.s.end = max(m.s.end, m.at.pos+int64(len(b)))
	m.done.Batches++
	m.done.Bytes += int64(len(b))
	return nil
}

func (m *mender) mismatch(format string, args ...any) error {
	return &MismatchError{fileName(m.l.dir, m.t.seg.base, logSuffix), m.at.pos, fmt.Sprintf(format, args...)}
}

// write puts b in its place.
func (m *mender) write(b []byte) error {
	return m.exclusively("mend", func() error {
		_, err := m.f.WriteAt(b, m.at.pos)
		return err
	})
}

// exclusively runs a write or sync. That of an active segment excludes the log's writer and fails the log as its own does:
// a failed fsync of one file is reported once, to whoever asks first.
func (m *mender) exclusively(op string, do func() error) error {
	m.l.writer.Lock()
	defer m.l.writer.Unlock()
	if err := m.l.usable(); err != nil {
		return err
	}
	if err := do(); err != nil {
		if m.t.active {
			return m.l.fail(op, err)
		}
		return fmt.Errorf("seglog: %s: %w", op, err)
	}
	return nil
}

// settle makes what was written durable and tells the log what a damaged segment could not.
func (m *mender) settle() error {
	sync := m.f.Sync
	if m.t.active {
		sync = func() error { return m.exclusively("sync what was mended", m.f.Sync) }
	}
	err := sync()
	if err == nil {
		err = m.l.fs.SyncDir(m.l.dir)
	}
	if err != nil || m.t.active || m.at.next != m.t.next {
		return err
	}
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	m.t.seg.size = m.at.pos
	if m.t.key.offset == m.t.seg.base {
		m.t.seg.lastTime = m.at.time // all of it was seen
	}
	m.l.countBytes()
	return nil
}
