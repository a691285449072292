package journal

import (
	"cmp"
	"fmt"
	"sync"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// wal is the log of one worker.
//
// Lock order: mu, then index.mu, then spares.mu.
type wal struct {
	j      *Journal
	worker uint32
	dir    string
	fs     storefs.FS
	epoch  uint64
	start  uint64 // sequence number of this epoch's first round

	index index

	// mu is held by whoever writes, during I/O too. It guards the following.
	mu      sync.Mutex
	batch   batch
	seen    map[nodeID]struct{} // replicas of the save that is planned
	files   []*file             // with rounds, by id; the last one is written; changed under index.mu too
	off     int64               // where the next round goes in it
	seq     uint64              // of the newest round
	durable uint64              // newest round that is known to be durable
	oldest  uint64              // file with which recovery has to begin
	noted   uint64              // durable, as the newest round says it
	hurry   chan struct{}       // of the file after the current one; nil: not asked for yet
	scratch []byte              // of the last round that did not fit into the arena

	next  chan *file         // the file after the current one, when it is ready
	want  chan chan struct{} // asks for it; who closes what was sent waits for it
	clean chan struct{}      // asks for files to be reclaimed

	made   int    // files of this epoch; owned by the preparing goroutine
	lastID uint64 // of the newest file; owned by it too
	spares spares
}

// current is the file that is written. mu is held.
func (w *wal) current() *file { return w.files[len(w.files)-1] }

// commit writes w.batch, makes it durable if that is due and puts it into the index. mu is held.
func (w *wal) commit() error {
	b := &w.batch
	begin, end, payload := 0, 0, int64(0)
	for _, next := range b.groups {
		more := payloadSize(b.records[end:next])
		if end > begin && payload+more > w.j.maxPayload {
			if err := w.write(b.records[begin:end], true); err != nil {
				return err
			}
			begin, payload = end, 0
		}
		end, payload = next, payload+more
	}
	if end > begin {
		if err := w.write(b.records[begin:end], true); err != nil {
			return err
		}
	}
	if b.sync {
		if err := w.sync(); err != nil {
			return err
		}
	}
	w.index.mu.Lock()
	for i := range b.records {
		w.index.put(&b.records[i])
	}
	w.index.mu.Unlock()
	return nil
}

// write writes one round. mu is held.
func (w *wal) write(records []record, cache bool) error {
	h := roundHeader{
		epoch: w.epoch, seq: w.seq + 1, durable: w.durable, oldest: w.oldest,
		payload: uint32(payloadSize(records)), records: uint32(len(records)),
	}
	size := h.size()
	if err := w.room(size); err != nil {
		return err
	}
	f := w.current()
	h.file = f.id
	b, at := w.memory(size, cache)
	for i := range records {
		records[i].file = f
	}
	encode(b, &h, records, w.off, at)
	if _, err := f.f.WriteAt(b, w.off); err != nil {
		return w.j.fail("write", err)
	}
	w.seq, w.noted = h.seq, h.durable
	w.off += size
	w.j.metrics.wrote(size)
	w.ask()
	return nil
}

// memory returns where a round is encoded, and 1 + its position in the arena, or 0 when it is not to be cached or too
// large for that. The memory for those is kept up to a bound.
func (w *wal) memory(size int64, cache bool) ([]byte, uint64) {
	if cache {
		w.index.mu.Lock()
		b, at, ok := w.index.arena.take(size)
		w.index.mu.Unlock()
		if ok {
			return b, at + 1
		}
	}
	if int64(cap(w.scratch)) >= size {
		return w.scratch[:size], 0
	}
	b := make([]byte, size)
	if size <= maxScratchBytes {
		w.scratch = b
	}
	return b, 0
}

const maxScratchBytes = 8 << 20

// room makes the current file one that has room for size bytes. A round that fits into no file gets an empty one,
// which grows. mu is held.
func (w *wal) room(size int64) error {
	if w.off+size <= w.current().size || w.off == blockBytes {
		return nil
	}
	if w.durable < w.seq { // what is durable must be so without holes
		if err := w.sync(); err != nil {
			return err
		}
	}
	f, ok := w.takeNext()
	if !ok {
		return cmp.Or(w.j.broken(), ErrClosed)
	}
	w.index.mu.Lock()
	w.files = append(w.files, f)
	w.index.mu.Unlock()
	w.off = blockBytes
	w.tidy()
	return nil
}

// ask asks for the next file when the current one is used by a quarter, so that nobody has to wait for it. mu is held.
func (w *wal) ask() {
	if w.off > w.current().size/4 {
		w.request()
	}
}

func (w *wal) request() {
	if w.hurry == nil {
		w.hurry = make(chan struct{})
		w.want <- w.hurry // has room: there is one request for each file
	}
}

// takeNext returns the next file as soon as it can be used, filled or not. mu is held.
func (w *wal) takeNext() (f *file, ok bool) {
	w.request()
	select {
	case f, ok = <-w.next:
	default:
		close(w.hurry)
		f, ok = <-w.next
	}
	if ok { // otherwise nobody takes requests any more
		w.hurry = nil
	}
	return f, ok
}

// sync makes everything that was written durable. A failure is final: the kernel may have dropped the bytes, and a
// second attempt would succeed. mu is held.
func (w *wal) sync() error {
	if w.durable == w.seq {
		return nil
	}
	failpoint.Hit("beforeJournalSync")
	if failpoint.Bug("bug.ack-before-fsync") {
		w.durable = w.seq
		return nil
	}
	done := w.j.metrics.syncing()
	err := w.current().f.Datasync()
	done()
	if err != nil {
		return w.j.fail("sync", err)
	}
	w.durable = w.seq
	return nil
}

// finish writes what is remembered only, and that everything before is durable, and closes the files.
func (w *wal) finish() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.farewell()
	w.index.mu.Lock()
	defer w.index.mu.Unlock()
	for _, f := range w.files {
		f.retire()
	}
	mem := w.index.arena.mem
	w.index.arena = arena{}
	w.index.replicas = nil
	if merr := freeMemory(mem); err == nil && merr != nil {
		err = fmt.Errorf("journal: close: %w", merr)
	}
	return err
}

// discard closes the file that was prepared in vain, after the preparing goroutine ended.
func (w *wal) discard() {
	for f := range w.next {
		f.close()
	}
}

// farewell writes a last round, even without records, if it has something to say: after an orderly end every round
// but this one is known to be durable, and the loss of one of them is noticed.
func (w *wal) farewell() error {
	if w.j.broken() != nil {
		return nil // said already
	}
	b := &w.batch
	w.index.mu.Lock()
	for _, r := range w.index.replicas {
		b.addDirty(r, false)
		b.close()
	}
	w.index.mu.Unlock()
	if err := w.sync(); err != nil {
		return err
	}
	if len(b.records) == 0 && w.noted == w.durable {
		return nil
	}
	if len(b.records) == 0 {
		if err := w.write(nil, true); err != nil {
			return err
		}
		return w.sync()
	}
	b.sync = true
	return w.commit()
}
