package journal

import (
	"fmt"
	"sort"
	"sync"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// index knows where everything of one WAL is. mu guards all of it, the live counters of files included; it is never
// held during I/O. It is changed only by put, which live use and recovery share, and by compactTo.
type index struct {
	mu       sync.RWMutex
	replicas map[nodeID]*replica
	arena    arena
}

// replica is what is known of one.
type replica struct {
	node        nodeID
	log         extents
	compactedTo uint64 // entries up to here are not needed
	state       pb.State
	snapshot    []byte // marshalled; nil: none
	snapshotAt  uint64 // its index
	bootstrap   []byte // marshalled; nil: none

	// What is newer than its last record. It goes along with the replica's next round.
	stateDirty, compactDirty bool

	newest [recordTypes]place // of the state, snapshot and bootstrap records; no other is missed with its file
	damage error              // what recovery found to be impossible
}

// place is where a record is.
type place struct {
	file   *file // nil: nowhere
	length int64
}

// record is a recordHeader with its place. The body is one of entries, state and body, or is only in the file.
type record struct {
	recordHeader
	entries []pb.Entry
	state   pb.State
	body    []byte

	file   *file
	offset int64  // of the body in file
	at     uint64 // 1 + position of the body in the arena, 0: it is not there
}

func (ix *index) replica(node nodeID) *replica {
	r := ix.replicas[node]
	if r == nil {
		r = &replica{node: node}
		ix.replicas[node] = r
	}
	return r
}

// put makes a record that was written part of the index. mu is held.
func (ix *index) put(rec *record) {
	if rec.typ == recordRemoved {
		if r := ix.replicas[rec.node]; r != nil {
			r.release()
			delete(ix.replicas, rec.node)
		}
		return
	}
	r := ix.replica(rec.node)
	switch rec.typ {
	case recordEntries:
		if rec.flags&flagReset != 0 {
			r.log.truncate(0)
		}
		r.log.truncate(rec.index)
		r.log.push(rec.extent())
	case recordRelocated:
		if e := rec.extent(); e.last > r.compactedTo {
			r.log.overlay(e)
		}
	case recordState:
		r.state, r.stateDirty = rec.state, false
		r.imply()
	case recordSnapshot:
		r.putSnapshot(rec)
	case recordBootstrap:
		r.bootstrap = rec.body
	case recordCompacted:
		r.compactTo(rec.index)
		r.compactDirty = r.compactedTo > rec.index
	}
	r.log.dropTo(r.compactedTo) // of an extent that reached above it, what is below may be all that is left
	switch rec.typ {
	case recordState, recordSnapshot, recordBootstrap:
		r.move(rec.typ, place{rec.file, recordHeaderBytes + int64(rec.length)})
	}
}

func (r *replica) putSnapshot(rec *record) {
	if rec.flags&flagReset != 0 {
		r.log.truncate(0)
	}
	if rec.flags&flagInstalled != 0 {
		r.log.truncate(rec.index + 1)
	}
	r.snapshot, r.snapshotAt = rec.body, rec.index
	r.imply()
}

// imply commits what the snapshot holds: Inv7. A replica without a state has not been told a term and stays without.
func (r *replica) imply() {
	if !pb.IsEmptyState(r.state) {
		r.state.Commit = max(r.state.Commit, r.snapshotAt)
	}
}

// move notes where the newest record of a type is.
func (r *replica) move(typ recordType, to place) {
	if old := r.newest[typ]; old.file != nil {
		old.file.live -= old.length
	}
	r.newest[typ] = to
	if to.file != nil {
		to.file.live += to.length
	}
}

// release gives up everything that the replica keeps alive.
func (r *replica) release() {
	r.log.truncate(0)
	for typ := range r.newest {
		r.move(recordType(typ), place{})
	}
}

// compactTo drops the entries up to index.
func (r *replica) compactTo(index uint64) {
	if index <= r.compactedTo {
		return
	}
	r.compactedTo, r.compactDirty = index, true
	r.log.dropTo(index)
}

// check finds out whether Dragonboat can start on what was recovered; its own checks are panics.
func (r *replica) check() error {
	first, last := r.log.first(), r.log.last()
	switch {
	case r.log.len() > 0 && r.snapshot != nil && first > r.snapshotAt+1:
		return fmt.Errorf("the log begins at %d, the snapshot ends at %d", first, r.snapshotAt)
	case pb.IsEmptyState(r.state):
		return nil
	case r.state.Commit > max(last, r.snapshotAt):
		return fmt.Errorf("entries up to %d are committed, the snapshot ends at %d and the log at %d",
			r.state.Commit, r.snapshotAt, last)
	}
	return nil
}

// extent is the entries of one record: of those first.. that it holds, first to last are live.
type extent struct {
	first, last uint64
	file        *file
	offset      int64 // of the body in file
	length, crc uint32
	count       uint32 // entries in the body
	at          uint64 // as record.at
}

func (rec *record) extent() extent {
	return extent{
		first: rec.index, last: rec.index + uint64(rec.count) - 1,
		file: rec.file, offset: rec.offset, length: rec.length, crc: rec.crc, count: rec.count, at: rec.at,
	}
}

func (e *extent) cost() int64 { return recordHeaderBytes + int64(e.length) }

// extents is a log: a queue of extents, of which those from head on count. In live use they are dense,
//
//	list[i].last+1 == list[i+1].first
//
// while recovery runs there may be holes where entries were relocated, until the relocated ones are found. Each
// extent counts as live in its file. A body may be needed for some of its entries only; it counts whole.
type extents struct {
	list []extent
	head int
}

func (x *extents) all() []extent { return x.list[x.head:] }
func (x *extents) len() int      { return len(x.list) - x.head }

// first and last are 0 in an empty log.
func (x *extents) first() uint64 {
	if x.len() == 0 {
		return 0
	}
	return x.list[x.head].first
}

func (x *extents) last() uint64 {
	if x.len() == 0 {
		return 0
	}
	return x.list[len(x.list)-1].last
}

// push appends e, which begins above last.
func (x *extents) push(e extent) {
	if x.head > 32 && x.head > len(x.list)/2 {
		n := copy(x.list, x.all())
		clear(x.list[n:]) // they point to files
		x.list, x.head = x.list[:n], 0
	}
	e.file.live += e.cost()
	x.list = append(x.list, e)
}

// truncate drops the entries from index on.
func (x *extents) truncate(index uint64) {
	for x.len() > 0 {
		e := &x.list[len(x.list)-1]
		if e.first < index {
			e.last = min(e.last, index-1)
			return
		}
		e.file.live -= e.cost()
		*e = extent{}
		x.list = x.list[:len(x.list)-1]
	}
	x.list, x.head = nil, 0
}

// dropTo drops whole extents whose entries are all at or below index.
func (x *extents) dropTo(index uint64) {
	for x.len() > 0 && x.list[x.head].last <= index {
		e := &x.list[x.head]
		e.file.live -= e.cost()
		*e = extent{}
		x.head++
	}
	if x.len() == 0 {
		x.list, x.head = nil, 0
	}
}

// find returns the place in all of the first extent that reaches index.
func (x *extents) find(index uint64) int {
	all := x.all()
	return sort.Search(len(all), func(i int) bool { return all[i].last >= index })
}

// overlay makes e the place of its entries. What it covers goes; below it, an extent may stay in part. Never is there
// one that reaches above it in part: extents are relocated up to their last entry. If there is, e is not theirs.
func (x *extents) overlay(e extent) {
	all := x.all()
	i := x.find(e.first)
	j := i
	for j < len(all) && all[j].first <= e.last {
		j++
	}
	if j > i && all[j-1].last > e.last {
		return
	}
	if j > i && all[i].first < e.first {
		all[i].last = e.first - 1
		i++
	}
	for k := i; k < j; k++ {
		all[k].file.live -= all[k].cost()
	}
	e.file.live += e.cost()
	if j > i {
		all[i] = e
		n := copy(all[i+1:], all[j:])
		clear(all[i+1+n:])
		x.list = x.list[:x.head+i+1+n]
		return
	}
	x.list = append(x.list, extent{})
	all = x.all()
	copy(all[i+1:], all[i:])
	all[i] = e
}

// close ends recovery: only the dense run at the end is the log. Below a hole are entries that were compacted.
func (x *extents) close() {
	all := x.all()
	for i := len(all) - 1; i > 0; i-- {
		if all[i-1].last+1 != all[i].first {
			x.dropTo(all[i-1].last)
			return
		}
	}
}
