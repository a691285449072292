package seglog

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// maxPendingEntries is how many index entries wait in memory before they are written in one go.
const maxPendingEntries = 64

// Log is one partition's records on disk. Make one with Open or Create.
//
// Lock order: writer, life, mu, then those of segment, hints and Cache.
type Log struct {
	fs   storefs.FS
	dir  string
	opts Options

	// life is read-locked by every read and write-locked by Close. closed changes under writer and life.
	life   sync.RWMutex
	closed bool

	// writer serialises Append, SetStart, DropBelow, Sync and Close. It guards the following.
	writer    sync.Mutex
	failed    error // the first failed write or sync; final
	unsynced  bool  // something was written since the last Sync
	newNames  bool  // a file was created since the last sync of the directory
	written   int64 // bytes of the active segment that writeback was started for
	lastIndex int64 // position of the active segment's newest index entry, -1 for none
	scratch   []byte

	// mu guards the following, and the fields of segments. It is never held during I/O, except to close a file. The
	// writer alone changes them and may read them without it; but Mend sets size and lastTime of a sealed segment.
	mu       sync.RWMutex
	segments []*segment // by offset, dense; the last one is active; never empty
	pending  []entry    // newest index entries of the active segment
	flushed  int64      // number of its entries in the .idx file
	tail     tail
	views    []*View

	start atomic.Uint64 // changed under mu
	next  atomic.Uint64
	bytes atomic.Int64

	openFiles atomic.Int32       // files of segments
	clock     atomic.Uint64      // counts reads from disk
	damage    []*CorruptionError // found by Open; never changes
	hints     hints
}

func newLog(fs storefs.FS, dir string, opts Options) *Log {
	return &Log{
		fs: fs, dir: dir, opts: opts, lastIndex: -1, unsynced: true,
		tail: tail{cache: opts.Cache, limit: opts.TailCacheBytes},
	}
}

// Create makes an empty log in dir whose first record will have offset start. dir is made when it is missing and must
// hold no log; the log is there durably when Create returns.
func Create(fs storefs.FS, dir string, start protocol.Offset, opts Options) (*Log, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("seglog: create: %w", err)
	}
	files, err := listFiles(fs, dir)
	if err != nil {
		return nil, err
	}
	if len(files.segments) > 0 {
		return nil, fmt.Errorf("seglog: create: %s holds a log already: %w", dir, os.ErrExist)
	}
	l := newLog(fs, dir, opts)
	f, err := fs.Create(fileName(dir, start, logSuffix))
	if err != nil {
		return nil, fmt.Errorf("seglog: create: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("seglog: create: %w", err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := fs.SyncDir(d); err != nil {
			return nil, fmt.Errorf("seglog: create: %w", err)
		}
	}
	l.segments = []*segment{{base: start, next: start}}
	l.start.Store(uint64(start))
	l.next.Store(uint64(start))
	return l, nil
}

// Start returns the first readable offset.
func (l *Log) Start() protocol.Offset { return protocol.Offset(l.start.Load()) }

// Next returns the offset the next record will get.
func (l *Log) Next() protocol.Offset { return protocol.Offset(l.next.Load()) }

// Bytes returns the size of the segments that hold readable records.
func (l *Log) Bytes() int64 { return l.bytes.Load() }

func (l *Log) active() *segment { return l.segments[len(l.segments)-1] }

// usable reports why nothing can be written. writer is held.
func (l *Log) usable() error {
	if l.closed {
		return ErrClosed
	}
	return l.failed
}

// fail makes err final: Inv8. writer is held.
func (l *Log) fail(op string, err error) error {
	l.failed = fmt.Errorf("seglog: %s: %w", op, err)
	return l.failed
}

// Append writes one whole stamped batch whose base offset is Next. It does not sync, except when a segment is full.
// h is b's header; b may be used again when Append returns.
func (l *Log) Append(b []byte, h batch.Header) error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if h.BaseOffset != l.Next() || int64(h.Length) != int64(len(b)) {
		return fmt.Errorf("seglog: append of %d bytes at offset %d, but the header says %d bytes and the log ends at %d",
			len(b), h.BaseOffset, h.Length, l.Next())
	}
	if a := l.active(); a.size > 0 && a.size+int64(len(b)) > l.opts.SegmentBytes {
		if err := l.roll(); err != nil {
			return l.fail("begin segment", err)
		}
	}
	if err := l.write(b); err != nil {
		return l.fail("append", err)
	}
	l.publish(b, &h)
	if len(l.pending) >= maxPendingEntries {
		if err := l.flushIndex(false); err != nil {
			return l.fail("write index", err)
		}
	}
	return nil
}

// write puts b behind the active segment and starts writeback when enough has come together.
func (l *Log) write(b []byte) error {
	a := l.active()
	f, err := l.open(a, true)
	if err != nil {
		return err
	}
	l.unsynced = true
	failpoint.Hit("beforeSegWrite")
	if _, err := f.WriteAt(b, a.size); err != nil {
		return err
	}
	end := a.size + int64(len(b))
	if l.opts.WritebackBytes > 0 && end-l.written >= l.opts.WritebackBytes {
		if err := f.StartWriteback(l.written, end-l.written); err != nil {
			return err
		}
		l.written = end
	}
	return nil
}

// publish shows the batch that was just written to readers.
func (l *Log) publish(b []byte, h *batch.Header) {
	staged := l.tail.stage(b)
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.active()
	// A writer that lets append times go back gets a time index that stays searchable.
	time := h.AppendTime
	if a.size > 0 {
		time = max(time, a.lastTime)
	}
	if l.lastIndex < 0 || a.size-l.lastIndex >= l.opts.IndexEveryBytes {
		l.pending = append(l.pending, entry{offset: h.BaseOffset, time: time, pos: uint32(a.size)})
		l.lastIndex = a.size
	}
	a.size += int64(len(b))
	a.next, a.lastTime = h.Next(), time
	l.tail.publish(staged, h, len(b))
	l.bytes.Add(int64(len(b)))
	l.next.Store(uint64(h.Next()))
}

// flushIndex moves the pending index entries into the active segment's .idx file. Readers go on finding them: they
// know flushed and pending of the same moment.
func (l *Log) flushIndex(sync bool) error {
	if len(l.pending) == 0 && !sync || l.active().size == 0 {
		return nil
	}
	name := fileName(l.dir, l.active().base, indexSuffix)
	l.newNames = l.newNames || l.flushed == 0
	scratch, err := writeIndex(l.fs, name, l.flushed, l.pending, l.scratch, sync)
	if err != nil {
		return err
	}
	l.scratch = scratch
	l.mu.Lock()
	l.flushed += int64(len(l.pending))
	l.pending = l.pending[:0]
	l.mu.Unlock()
	return nil
}

// syncActive makes the active segment durable: data, index and names.
func (l *Log) syncActive() error {
	if err := l.flushIndex(true); err != nil {
		return err
	}
	f, err := l.open(l.active(), true)
	if err != nil {
		return err
	}
	failpoint.Hit("beforeSegSync")
	if err := f.Sync(); err != nil {
		return err
	}
	l.written = l.active().size
	if !l.newNames {
		return nil
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return err
	}
	l.newNames = false
	return nil
}

// roll seals the active segment and begins the next one: Inv3.
func (l *Log) roll() error {
	failpoint.Hit("beforeRoll")
	if err := l.syncActive(); err != nil {
		return err
	}
	s := &segment{base: l.Next(), next: l.Next()}
	f, err := l.fs.Create(fileName(l.dir, s.base, logSuffix))
	if err != nil {
		return err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return errorAfterClose(err, f)
	}
	s.file = f
	l.openFiles.Add(1)
	l.written, l.lastIndex = 0, -1
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = append(l.segments, s)
	l.flushed = 0
	l.closeIdleFiles()
	return nil
}

// errorAfterClose returns err; f, which is of no use any more, is closed.
func errorAfterClose(err error, f storefs.File) error {
	_ = f.Close() // the first error is the one to report
	return err
}

// Sync makes everything appended so far durable: data, index and directory.
func (l *Log) Sync() error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if !l.unsynced {
		return nil
	}
	if err := l.syncActive(); err != nil {
		return l.fail("sync", err)
	}
	l.unsynced = false
	return nil
}

// Close waits for reads in progress, then closes all files and forgets the tail. It does not sync; index entries
// that are still in memory are written so that the next Open is quick. A second Close does nothing.
func (l *Log) Close() error {
	l.writer.Lock()
	defer l.writer.Unlock()
	if l.closed {
		return nil
	}
	var first error
	if l.failed == nil {
		first = l.flushIndex(false)
	}
	l.life.Lock()
	defer l.life.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.tail.clear()
	for _, s := range l.segments {
		if err := l.closeFile(s); err != nil && first == nil {
			first = err
		}
	}
	if first != nil {
		return fmt.Errorf("seglog: close: %w", first)
	}
	return nil
}
