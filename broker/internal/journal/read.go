package journal

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// GetBootstrapInfo implements raftio.ILogDB.
func (j *Journal) GetBootstrapInfo(shard, replicaID uint64) (pb.Bootstrap, error) {
	b, err := j.read(shard, replicaID, func(r *replica) []byte { return r.bootstrap })
	if err != nil {
		return pb.Bootstrap{}, err
	}
	if b == nil {
		return pb.Bootstrap{}, raftio.ErrNoBootstrapInfo
	}
	var info pb.Bootstrap
	if err := info.Unmarshal(b); err != nil {
		return pb.Bootstrap{}, fmt.Errorf("journal: bootstrap of shard %d: %w", shard, err)
	}
	return info, nil
}

// GetSnapshot implements raftio.ILogDB. Without a snapshot it returns the empty one.
func (j *Journal) GetSnapshot(shard, replicaID uint64) (pb.Snapshot, error) {
	b, err := j.read(shard, replicaID, func(r *replica) []byte { return r.snapshot })
	if err != nil || b == nil {
		return pb.Snapshot{}, err
	}
	var s pb.Snapshot
	if err := s.Unmarshal(b); err != nil {
		return pb.Snapshot{}, fmt.Errorf("journal: snapshot of shard %d: %w", shard, err)
	}
	return s, nil
}

// read returns bytes of the replica that never change once they are there.
func (j *Journal) read(shard, replicaID uint64, get func(*replica) []byte) ([]byte, error) {
	if j.closed.Load() {
		return nil, ErrClosed
	}
	w := j.wal(shard)
	w.index.mu.RLock()
	defer w.index.mu.RUnlock()
	if r := w.index.replicas[nodeID{shard, replicaID}]; r != nil {
		return get(r), nil
	}
	return nil, nil
}

// ReadRaftState implements raftio.ILogDB: the state, and which entries behind lastIndex there are. A replica that
// recovery found to be impossible fails here, alone.
func (j *Journal) ReadRaftState(shard, replicaID, lastIndex uint64) (raftio.RaftState, error) {
	if j.closed.Load() {
		return raftio.RaftState{}, ErrClosed
	}
	w := j.wal(shard)
	w.index.mu.RLock()
	defer w.index.mu.RUnlock()
	r := w.index.replicas[nodeID{shard, replicaID}]
	switch {
	case r == nil:
		return raftio.RaftState{}, raftio.ErrNoSavedLog
	case r.damage != nil:
		return raftio.RaftState{}, r.damage
	case pb.IsEmptyState(r.state):
		return raftio.RaftState{}, raftio.ErrNoSavedLog
	}
	s := raftio.RaftState{State: r.state}
	if r.log.len() > 0 && r.log.first() <= lastIndex+1 && r.log.last() > lastIndex {
		s.FirstIndex = lastIndex + 1
		s.EntryCount = r.log.last() - lastIndex
	}
	return s, nil
}

// IterateEntries implements raftio.ILogDB: it appends the entries from low to high-1 as far as they are there, and
// stops behind the first with which their size exceeds maxSize. The commands are the caller's.
func (j *Journal) IterateEntries(entries []pb.Entry, size, shard, replicaID, low, high, maxSize uint64) (
	[]pb.Entry, uint64, error) {
	if j.closed.Load() {
		return nil, 0, ErrClosed
	}
	if maxSize == 0 {
		maxSize = math.MaxUint64
	}
	w := j.wal(shard)
	q := query{w: w, next: low, high: high, size: size, maxSize: maxSize, entries: entries}
	var few [16]extent
	found := w.index.pin(few[:0], nodeID{shard, replicaID}, &q)
	defer unpin(found)
	for i := range found {
		done, err := q.read(&found[i])
		if err != nil {
			return nil, 0, err
		}
		if done {
			break
		}
	}
	return q.entries, q.size, nil
}

// pin appends the extents that q needs. Their files stay until unpin, whatever is truncated or reclaimed meanwhile.
func (ix *index) pin(found []extent, node nodeID, q *query) []extent {
	ix.mu.RLock()
	defer ix.mu.RUnlock()
	r := ix.replicas[node]
	if r == nil || r.log.len() == 0 || q.next <= r.compactedTo || q.next < r.log.first() || q.next > r.log.last() {
		return found
	}
	bytes := q.size
	for _, e := range r.log.all()[r.log.find(q.next):] {
		if e.first >= q.high || bytes > q.maxSize {
			break
		}
		// Only what is wanted whole counts, and a body is shorter than the sizes of its entries: never too few.
		if e.first >= q.next && e.last-e.first == uint64(e.count-1) {
			bytes += uint64(e.length)
		}
		e.file.pins.Add(1)
		found = append(found, e)
	}
	return found
}

func unpin(found []extent) {
	for i := range found {
		found[i].file.unpin()
	}
}

// query is one call of IterateEntries.
type query struct {
	w          *wal
	next, high uint64
	size       uint64
	maxSize    uint64
	entries    []pb.Entry
}

// read takes what is wanted of one extent, from memory if its round is still there.
func (q *query) read(e *extent) (done bool, err error) {
	if e.at != 0 {
		q.w.index.mu.RLock()
		body, ok := q.w.index.arena.at(e.at-1, e.length)
		if ok {
			done, err = q.take(e, body)
		}
		q.w.index.mu.RUnlock()
		if ok {
			q.w.j.metrics.cacheReads.Inc()
			return done, err
		}
	}
	q.w.j.metrics.fileReads.Inc()
	return q.readFile(e)
}

func (q *query) readFile(e *extent) (done bool, err error) {
	buf := buffers.Get().(*[]byte)
	*buf = slices.Grow((*buf)[:0], int(e.length))[:e.length]
	body, err := e.load(*buf)
	if err == nil {
		done, err = q.take(e, body) // copies
	}
	if cap(*buf) <= maxPooledBytes {
		buffers.Put(buf)
	}
	return done, err
}

// buffers are for bodies that are read from files; larger ones are not kept.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

const maxPooledBytes = 1 << 20

// load reads the whole body into b and checks it.
func (e *extent) load(b []byte) ([]byte, error) {
	if _, err := e.file.f.ReadAt(b, e.offset); err != nil {
		return nil, fmt.Errorf("journal: read: %w", err)
	}
	if checksum(b) != e.crc {
		return nil, &CorruptionError{File: e.file.path, Offset: e.offset,
			Reason: fmt.Sprintf("the checksum of entries %d to %d is wrong", e.first, e.last)}
	}
	return b, nil
}

// take appends entries of body. Their commands go into one piece of memory.
func (q *query) take(e *extent, body []byte) (done bool, err error) {
	r := entryReader{body: body, index: e.first, left: e.count}
	begin, bytes := len(q.entries), 0
	for r.index <= e.last && r.index < q.high && !done {
		var entry pb.Entry
		if err := r.next(&entry); err != nil {
			return false, &CorruptionError{File: e.file.path, Offset: e.offset, Reason: err.Error()}
		}
		if entry.Index < q.next {
			continue
		}
		q.next = entry.Index + 1
		q.entries = append(q.entries, entry)
		q.size += uint64(entry.SizeUpperLimit())
		bytes += len(entry.Cmd)
		done = q.size > q.maxSize
	}
	own(q.entries[begin:], bytes)
	return done || q.next >= q.high, nil
}

// own copies the commands, bytes in all.
func own(entries []pb.Entry, bytes int) {
	block := make([]byte, 0, bytes)
	for i := range entries {
		e := &entries[i]
		if e.Cmd == nil {
			continue
		}
		at := len(block)
		block = append(block, e.Cmd...)
		e.Cmd = block[at:len(block):len(block)]
	}
}
