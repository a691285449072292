package journal

import (
	"fmt"
	"math"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// batch is what one call has to write: groups of records, each of which must be in one round.
type batch struct {
	records []record
	groups  []int // ends of the groups in records
	sync    bool  // whether the call may not return before it is durable
}

// reset empties the batch, so that it keeps nothing of the call alive. It is empty between calls.
func (b *batch) reset() {
	clear(b.records)
	b.records, b.groups, b.sync = b.records[:0], b.groups[:0], false
}

func (b *batch) add(typ recordType, node nodeID) *record {
	b.records = append(b.records, record{recordHeader: recordHeader{typ: typ, node: node}})
	return &b.records[len(b.records)-1]
}

// close ends a group, if it has records.
func (b *batch) close() {
	begin := 0
	if n := len(b.groups); n > 0 {
		begin = b.groups[n-1]
	}
	if len(b.records) > begin {
		b.groups = append(b.groups, len(b.records))
	}
}

// addUpdate adds what of u is new. The state of a commit alone is only remembered: it is durable with the replica's
// next round, and losing it costs nothing. An empty state says nothing. The index is locked.
func (b *batch) addUpdate(ix *index, u *pb.Update) error {
	node := nodeID{u.ShardID, u.ReplicaID}
	r := ix.replicas[node]
	var known pb.State
	var snapshotAt uint64
	if r != nil {
		known, snapshotAt = r.state, r.snapshotAt
	}
	state := u.State
	if !pb.IsEmptyState(state) {
		state.Commit = max(state.Commit, snapshotAt) // Inv7
	}
	newState := !pb.IsEmptyState(state) && !pb.IsStateEqual(state, known)
	newVote := newState && (state.Term != known.Term || state.Vote != known.Vote)
	newSnapshot := !pb.IsEmptySnapshot(u.Snapshot) && u.Snapshot.Index > snapshotAt
	if !newVote && !newSnapshot && len(u.EntriesToSave) == 0 {
		if newState {
			r := ix.replica(node)
			r.state, r.stateDirty = state, true
		}
		return nil
	}
	b.sync = true
	if newState {
		b.add(recordState, node).putState(state)
	}
	last := uint64(0)
	if r != nil {
		b.addDirty(r, newState)
		last = r.log.last()
	}
	if newSnapshot {
		rec := b.add(recordSnapshot, node)
		rec.flags = flagInstalled
		if last < u.Snapshot.Index {
			rec.flags |= flagReset
			last = 0
		}
		last = min(last, u.Snapshot.Index)
		if err := rec.putSnapshot(&u.Snapshot); err != nil {
			return err
		}
	}
	return b.addEntries(node, u.EntriesToSave, last)
}

// addEntries adds entries to a log that ends at last.
func (b *batch) addEntries(node nodeID, entries []pb.Entry, last uint64) error {
	if len(entries) == 0 {
		return nil
	}
	size := entriesSize(entries)
	first, end := entries[0].Index, entries[len(entries)-1].Index
	if size > maxBodyBytes || first == 0 || end-first != uint64(len(entries)-1) {
		return fmt.Errorf("journal: shard %d replica %d: %d entries from %d to %d with %d bytes are no part of a log",
			node.shard, node.replica, len(entries), first, end, size)
	}
	rec := b.add(recordEntries, node)
	rec.index, rec.count, rec.length, rec.entries = first, uint32(len(entries)), uint32(size), entries
	if last != 0 && first > last+1 {
		rec.flags = flagReset
	}
	return nil
}

// maxBodyBytes bounds a body, so that the payload's length fits into its field.
const maxBodyBytes = math.MaxUint32 / 4

// addDirty adds what is remembered of r and in no record yet: whenever a round mentions a replica, it carries the
// newest state.
func (b *batch) addDirty(r *replica, haveState bool) {
	if r.stateDirty && !haveState {
		b.add(recordState, r.node).putState(r.state)
	}
	if r.compactDirty {
		b.add(recordCompacted, r.node).index = r.compactedTo
	}
}

func (rec *record) putState(s pb.State) { rec.state, rec.length = s, stateBytes }

func (rec *record) putBody(b []byte) { rec.body, rec.length = b, uint32(len(b)) }

func (rec *record) putSnapshot(s *pb.Snapshot) error {
	b, err := s.Marshal()
	if err != nil {
		return fmt.Errorf("journal: snapshot of shard %d: %w", rec.node.shard, err)
	}
	rec.index = s.Index
	rec.putBody(b)
	return nil
}

// payloadSize is the payload of a round with these records.
func payloadSize(records []record) int64 {
	size := int64(len(records)) * recordHeaderBytes
	for i := range records {
		size += int64(records[i].length)
	}
	return size
}

// encode writes the round to b, which has h.size bytes, and notes in the records where their bodies are: offset is
// that of the round in its file, at 1 + that in the arena, or 0.
func encode(b []byte, h *roundHeader, records []record, offset int64, at uint64) {
	pos := roundHeaderBytes + len(records)*recordHeaderBytes
	for i := range records {
		rec := &records[i]
		body := b[pos : pos+int(rec.length)]
		rec.encodeBody(body)
		rec.crc = checksum(body)
		rec.put(b[roundHeaderBytes+i*recordHeaderBytes:])
		rec.offset = offset + int64(pos)
		if at != 0 {
			rec.at = at + uint64(pos)
		}
		pos += int(rec.length)
	}
	clear(b[pos:])
	h.put(b)
}

func (rec *record) encodeBody(b []byte) {
	switch {
	case rec.entries != nil:
		putEntries(b, rec.entries)
	case rec.typ == recordState:
		putState(b, rec.state)
	default:
		copy(b, rec.body)
	}
}
