package journal

import (
	"errors"
	"fmt"
	"path/filepath"
)

// reclaimBytes is about how much is copied forward in one round.
const reclaimBytes = 512 << 10

// manyFiles is how many files there may be while they are small: each start of a broker leaves one.
const manyFiles = 8

// tidy has the cleaning goroutine look.
func (w *wal) tidy() {
	select {
	case w.clean <- struct{}{}:
	default: // it will look anyway
	}
}

// cleanUp is the goroutine that reclaims files.
func (w *wal) cleanUp() {
	defer w.j.cleaners.Done()
	for {
		select {
		case <-w.j.stopCleaning:
			return
		case <-w.clean:
		}
		for w.untidy() && !w.stopping() {
			if err := w.reclaim(); err != nil {
				if !errors.Is(err, ErrClosed) {
					_ = w.j.fail("reclaim a file", err)
				}
				return
			}
		}
	}
}

func (w *wal) stopping() bool {
	select {
	case <-w.j.stopCleaning:
		return true
	default:
		return false
	}
}

// untidy reports whether the oldest file is worth reclaiming. The WAL is locked because records that were written and
// are not in the index yet, in a file that is not the current one any more, must not be taken for dead.
func (w *wal) untidy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.mu.RLock()
	defer w.index.mu.RUnlock()
	if len(w.files) < 2 {
		return false
	}
	total, live := int64(0), int64(0)
	for _, f := range w.files {
		total += f.size
		live += f.live
	}
	oldest, full := w.files[0], w.j.opts.FileBytes
	return oldest.live == 0 || total > 2*live+2*full || len(w.files) > manyFiles && oldest.size < full
}

// reclaim copies forward what is live in the oldest file and gives the file up. Only the oldest can go: a later one
// holds truncations and removals of what is in those before it.
func (w *wal) reclaim() error {
	oldest, work := w.liveInOldest()
	for len(work) > 0 {
		n := chunk(work)
		if err := w.relocate(oldest, work[:n]); err != nil {
			return err
		}
		work = work[n:]
		if w.stopping() {
			return ErrClosed
		}
	}
	if err := w.forget(oldest); err != nil {
		return err
	}
	return w.dispose(oldest)
}

// item is one record to be copied.
type item struct {
	node   nodeID
	typ    recordType
	extent extent // of relocated
	bytes  int64
}

// liveInOldest lists what is live in the oldest file. It is not written any more, so the list can only become shorter;
// the WAL is locked for the same reason as in untidy.
func (w *wal) liveInOldest() (f *file, work []item) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.mu.RLock()
	defer w.index.mu.RUnlock()
	f = w.files[0]
	for node, r := range w.index.replicas {
		for typ := range r.newest {
			if p := r.newest[typ]; p.file == f {
				work = append(work, item{node: node, typ: recordType(typ), bytes: p.length})
			}
		}
		for _, e := range r.log.all() {
			if e.file == f {
				work = append(work, item{node: node, typ: recordRelocated, extent: e, bytes: e.cost()})
			}
		}
	}
	return f, work
}

// chunk returns how many items go into one round, at least one.
func chunk(work []item) int {
	bytes := int64(0)
	for n := range work {
		if bytes += work[n].bytes; n > 0 && bytes > reclaimBytes {
			return n
		}
	}
	return len(work)
}

// relocate copies the items of one round. Reading is done before the WAL is locked; what died meanwhile is left out.
func (w *wal) relocate(from *file, work []item) error {
	bodies := make([][]byte, len(work))
	for i := range work {
		if work[i].typ == recordRelocated {
			body, err := work[i].extent.load(make([]byte, work[i].extent.length))
			if err != nil {
				return err
			}
			bodies[i] = body
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.j.broken(); err != nil {
		return err
	}
	b := &w.batch
	defer b.reset()
	w.index.mu.RLock()
	err := w.collect(b, from, work, bodies)
	w.index.mu.RUnlock()
	if err != nil || len(b.records) == 0 {
		return err
	}
	if err := w.write(b.records, false); err != nil {
		return err
	}
	w.index.mu.Lock()
	for i := range b.records {
		w.index.put(&b.records[i])
		w.j.metrics.relocated.Add(float64(b.records[i].length))
	}
	w.index.mu.Unlock()
	begin := max(0, w.off-2*reclaimBytes)
	return w.current().f.StartWriteback(begin, w.off-begin) // so that the next sync is short
}

// collect adds a record for each item that is live still.
func (w *wal) collect(b *batch, from *file, work []item, bodies [][]byte) error {
	for i := range work {
		it := &work[i]
		r := w.index.replicas[it.node]
		if r == nil {
			continue
		}
		if it.typ == recordRelocated {
			if err := r.collectEntries(b, it, bodies[i]); err != nil {
				return err
			}
			continue
		}
		if r.newest[it.typ].file != from {
			continue
		}
		rec := b.add(it.typ, it.node)
		switch it.typ {
		case recordState:
			rec.putState(r.state)
		case recordSnapshot:
			rec.index = r.snapshotAt
			rec.putBody(r.snapshot)
		case recordBootstrap:
			rec.putBody(r.bootstrap)
		}
	}
	return nil
}

// collectEntries adds the entries of an extent that are live still.
func (r *replica) collectEntries(b *batch, it *item, body []byte) error {
	all := r.log.all()
	i := r.log.find(it.extent.first)
	if i == len(all) || all[i].file != it.extent.file || all[i].offset != it.extent.offset {
		return nil
	}
	e := &all[i]
	low := max(e.first, r.compactedTo+1)
	part, err := cutEntries(body, e.first, low, e.last)
	if err != nil {
		return &CorruptionError{File: e.file.path, Offset: e.offset, Reason: err.Error()}
	}
	rec := b.add(recordRelocated, r.node)
	rec.index, rec.count = low, uint32(e.last-low+1)
	rec.putBody(part)
	return nil
}

// forget makes it durable that recovery begins behind f.
func (w *wal) forget(f *file) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.j.broken(); err != nil {
		return err
	}
	w.index.mu.Lock()
	live, next := f.live, w.files[1].id
	w.index.mu.Unlock()
	if live != 0 {
		return fmt.Errorf("file %s has %d live bytes after they were copied", f.path, live)
	}
	w.oldest = next
	if err := w.write(nil, false); err != nil {
		return err
	}
	if err := w.sync(); err != nil {
		return err
	}
	w.index.mu.Lock()
	w.files = append([]*file(nil), w.files[1:]...)
	w.index.mu.Unlock()
	return nil
}

// dispose makes f a spare file, or deletes it. Its removal is durable before another file can be removed, and before its
// bytes can be used again.
func (w *wal) dispose(f *file) error {
	var spare *file
	if unread := f.retire(); unread && w.spares.wants(f.size, w.j.opts.FileBytes) {
		spare = &file{id: f.id, path: filepath.Join(w.dir, fmt.Sprintf("%s%016x", sparePrefix, f.id)), size: f.size}
		if err := w.fs.Rename(f.path, spare.path); err != nil {
			return err
		}
	} else if err := w.fs.Remove(f.path); err != nil {
		return err
	}
	if err := w.fs.SyncDir(w.dir); err != nil {
		return err
	}
	if spare != nil {
		w.spares.put(spare)
	}
	return nil
}
