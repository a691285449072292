package journaltest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// look reads a replica as Dragonboat does when it starts one (node.replayLog and the LogReader): the newest snapshot
// first, then what follows it. An error is one of the LogDB, or says what would have made Dragonboat stop.
func look(db raftio.ILogDB, info raftio.NodeInfo) (*Replica, error) {
	r := &Replica{}
	switch b, err := db.GetBootstrapInfo(info.ShardID, info.ReplicaID); {
	case err == nil:
		r.Bootstrap = &b
	case !errors.Is(err, raftio.ErrNoBootstrapInfo):
		return nil, fmt.Errorf("bootstrap info: %w", err)
	}
	ss, err := db.GetSnapshot(info.ShardID, info.ReplicaID)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	r.Snapshot = ss
	rs, err := db.ReadRaftState(info.ShardID, info.ReplicaID, ss.Index)
	switch {
	case errors.Is(err, raftio.ErrNoSavedLog) && rs != raftio.RaftState{}:
		return nil, fmt.Errorf("no saved log, and yet %+v", rs)
	case errors.Is(err, raftio.ErrNoSavedLog):
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("raft state after %d: %w", ss.Index, err)
	case pb.IsEmptyState(rs.State):
		return nil, errors.New("a raft state without a state")
	}
	r.State = rs.State
	if rs.EntryCount == 0 {
		return r, nil
	}
	last := rs.FirstIndex + rs.EntryCount - 1
	if rs.FirstIndex > ss.Index+1 {
		return nil, fmt.Errorf("hole in the log: snapshot %d, entries %d to %d", ss.Index, rs.FirstIndex, last)
	}
	if last <= ss.Index {
		return r, nil
	}
	r.Entries, err = read(db, info, ss.Index+1, last+1)
	return r, err
}

// read returns the entries of [low, high), all of which are there.
func read(db raftio.ILogDB, info raftio.NodeInfo, low, high uint64) ([]pb.Entry, error) {
	ents, size, err := db.IterateEntries(nil, 0, info.ShardID, info.ReplicaID, low, high, math.MaxUint64)
	if err != nil {
		return nil, fmt.Errorf("entries [%d, %d): %w", low, high, err)
	}
	if err := dense(ents, low); err != nil {
		return nil, fmt.Errorf("entries [%d, %d): %w", low, high, err)
	}
	if uint64(len(ents)) != high-low || size != sizeOf(ents) {
		return nil, fmt.Errorf("entries [%d, %d): %d entries of %d bytes, told %d bytes", low, high, len(ents), sizeOf(ents), size)
	}
	return ents, nil
}

func dense(ents []pb.Entry, low uint64) error {
	for i := range ents {
		if ents[i].Index != low+uint64(i) {
			return fmt.Errorf("entry %d where %d should be", ents[i].Index, low+uint64(i))
		}
	}
	return nil
}

// sizeOf counts as every LogDB must: Dragonboat adds up its own messages in the same way.
func sizeOf(ents []pb.Entry) (n uint64) {
	for i := range ents {
		n += uint64(ents[i].SizeUpperLimit())
	}
	return n
}

// startable checks what Dragonboat panics about when it starts a replica: raft.loadState.
func (r *Replica) startable() error {
	if r.State.Commit < r.Snapshot.Index || r.State.Commit > r.last() {
		return fmt.Errorf("commit index %d out of range: snapshot %d, last entry %d", r.State.Commit, r.Snapshot.Index, r.last())
	}
	return nil
}

// differ says where two replicas, as look returns them, are not the same.
func differ(a, b *Replica) error {
	var e error
	switch {
	case (a.Bootstrap == nil) != (b.Bootstrap == nil):
		e = fmt.Errorf("bootstrap info %+v and %+v", a.Bootstrap, b.Bootstrap)
	case a.Bootstrap != nil && differBootstrap(*a.Bootstrap, *b.Bootstrap) != nil:
		e = differBootstrap(*a.Bootstrap, *b.Bootstrap)
	case differSnapshot(a.Snapshot, b.Snapshot) != nil:
		e = differSnapshot(a.Snapshot, b.Snapshot)
	case a.State != b.State:
		e = fmt.Errorf("state %+v and %+v", a.State, b.State)
	default:
		e = differEntries(a.Entries, b.Entries)
	}
	return e
}

func differEntries(a, b []pb.Entry) error {
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		same := bytes.Equal(x.Cmd, y.Cmd) // nil and empty are the same: the codec does not tell them apart
		x.Cmd, y.Cmd = nil, nil
		if !same || !reflect.DeepEqual(x, y) {
			return fmt.Errorf("entry %s and %s", describe(a[i:i+1]), describe(b[i:i+1]))
		}
	}
	if len(a) != len(b) {
		return fmt.Errorf("entries %s and %s", describe(a), describe(b))
	}
	return nil
}

// describe shows entries, without their commands when they are many.
func describe(ents []pb.Entry) string {
	switch len(ents) {
	case 0:
		return "none"
	case 1:
		e := ents[0]
		e.Cmd = e.Cmd[:min(len(e.Cmd), 32)]
		return fmt.Sprintf("%+v (%d bytes)", e, len(ents[0].Cmd))
	}
	first, last := ents[0], ents[len(ents)-1]
	return fmt.Sprintf("%d of term %d to %d of term %d", first.Index, first.Term, last.Index, last.Term)
}

// codec is what both pb.Snapshot and pb.Bootstrap have.
type codec interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// normal brings a value into the form in which it comes back from a disk: no nil where a map is empty, and nothing of
// what is never written.
func normal(from, to codec) {
	b, err := from.Marshal()
	if err == nil {
		err = to.Unmarshal(b)
	}
	if err != nil {
		panic(fmt.Sprintf("journaltest: a record of the test does not survive its own codec: %v", err))
	}
}

func differSnapshot(a, b pb.Snapshot) error {
	var x, y pb.Snapshot
	normal(&a, &x)
	normal(&b, &y)
	if !reflect.DeepEqual(x, y) {
		return fmt.Errorf("snapshot %+v and %+v", x, y)
	}
	return nil
}

func differBootstrap(a, b pb.Bootstrap) error {
	var x, y pb.Bootstrap
	normal(&a, &x)
	normal(&b, &y)
	if !reflect.DeepEqual(x, y) {
		return fmt.Errorf("bootstrap info %+v and %+v", x, y)
	}
	return nil
}

// differState compares two answers of ReadRaftState for the same lastIndex. How many entries at or below lastIndex they
// count is not compared: tan counts none, pebble one, and Dragonboat (LogReader.SetRange) skips them.
func differState(a, b raftio.RaftState, lastIndex uint64) error {
	end := func(rs raftio.RaftState) uint64 {
		if rs.EntryCount == 0 {
			return lastIndex
		}
		return rs.FirstIndex + rs.EntryCount - 1
	}
	for _, rs := range []raftio.RaftState{a, b} {
		if rs.EntryCount > 0 && rs.FirstIndex > lastIndex+1 {
			return fmt.Errorf("raft state %+v leaves a hole after %d", rs, lastIndex)
		}
	}
	if a.State != b.State || end(a) != end(b) {
		return fmt.Errorf("raft state after %d: %+v and %+v", lastIndex, a, b)
	}
	return nil
}

// differInfos compares two answers of ListNodeInfo, whose order means nothing.
func differInfos(a, b []raftio.NodeInfo) error {
	order := func(x, y raftio.NodeInfo) int {
		if x.ShardID != y.ShardID {
			return int(x.ShardID) - int(y.ShardID)
		}
		return int(x.ReplicaID) - int(y.ReplicaID)
	}
	a, b = slices.Clone(a), slices.Clone(b)
	slices.SortFunc(a, order)
	slices.SortFunc(b, order)
	if !slices.Equal(a, b) {
		return fmt.Errorf("node infos %v and %v", a, b)
	}
	return nil
}
