package journaltest

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// Model is a LogDB in memory, obviously right and slow. It accepts only what Dragonboat's engine may ask: an entry
// that does not join the log is a fault of the test, and panics. Its zero value is empty and ready; it forgets nothing
// when closed.
type Model struct {
	mu       sync.Mutex
	replicas map[raftio.NodeInfo]*Replica // guarded by mu
}

// Replica is what a LogDB knows of one replica. Nil and the zero value mean that it knows nothing.
type Replica struct {
	Bootstrap *pb.Bootstrap
	State     pb.State
	Snapshot  pb.Snapshot
	Entries   []pb.Entry // Entries[i].Index == Entries[0].Index + i
	RemovedTo uint64     // RemovedTo < Entries[0].Index
}

// last is the index of the last entry, or of what stands for it: the snapshot.
func (r *Replica) last() uint64 {
	if n := len(r.Entries); n > 0 {
		return r.Entries[n-1].Index
	}
	return max(r.Snapshot.Index, r.RemovedTo)
}

// save does what SaveRaftState does for one update.
func (r *Replica) save(ud pb.Update) {
	if !pb.IsEmptyState(ud.State) {
		r.State = ud.State
	}
	if ud.Snapshot.Index > r.Snapshot.Index {
		// Raft restores a snapshot only when its log does not lead to it, and forgets the log.
		r.Snapshot, r.Entries = ud.Snapshot, nil
	}
	if len(ud.EntriesToSave) == 0 {
		return
	}
	first := ud.EntriesToSave[0].Index
	keep := len(r.Entries)
	if keep > 0 {
		if first > r.last()+1 || first <= r.RemovedTo {
			panic(fmt.Sprintf("journaltest: illegal history: entry %d after a log of (%d, %d]", first, r.RemovedTo, r.last()))
		}
		keep = int(max(first, r.Entries[0].Index) - r.Entries[0].Index)
	}
	r.Entries = r.Entries[:keep:keep] // an older version of this replica may share what is behind
	for _, e := range ud.EntriesToSave {
		e.Cmd = slices.Clone(e.Cmd)
		r.Entries = append(r.Entries, e)
	}
}

func (r *Replica) removeTo(index uint64) {
	r.RemovedTo = max(r.RemovedTo, index)
	for len(r.Entries) > 0 && r.Entries[0].Index <= r.RemovedTo {
		r.Entries = r.Entries[1:]
	}
}

// between returns the entries of [low, high) until their size is more than maxSize.
func (r *Replica) between(low, high, maxSize uint64) (found []pb.Entry, size uint64) {
	if len(r.Entries) == 0 || low < r.Entries[0].Index || low > r.last() {
		return nil, 0
	}
	for _, e := range r.Entries[low-r.Entries[0].Index:] {
		if e.Index >= high {
			break
		}
		found, size = append(found, e), size+uint64(e.SizeUpperLimit())
		if size > maxSize {
			break
		}
	}
	return found, size
}

// started is what a replica has once Dragonboat started it again: entries up to the snapshot are out of its sight.
func (r *Replica) started() *Replica {
	s := &Replica{Bootstrap: r.Bootstrap, State: r.State, Snapshot: r.Snapshot}
	s.Entries, _ = r.between(max(r.Snapshot.Index+1, r.first()), math.MaxUint64, math.MaxUint64)
	return s
}

func (r *Replica) first() uint64 {
	if len(r.Entries) == 0 {
		return 0
	}
	return r.Entries[0].Index
}

// clone returns a version that later calls leave alone.
func (r *Replica) clone() *Replica {
	c := *r
	return &c
}

// at returns the replica, made when it is not there. mu is held.
func (m *Model) at(shard, replica uint64) *Replica {
	info := raftio.GetNodeInfo(shard, replica)
	if m.replicas == nil {
		m.replicas = map[raftio.NodeInfo]*Replica{}
	}
	if m.replicas[info] == nil {
		m.replicas[info] = &Replica{}
	}
	return m.replicas[info]
}

// Version returns a copy of what is known of a replica now.
func (m *Model) Version(info raftio.NodeInfo) *Replica {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at(info.ShardID, info.ReplicaID).clone()
}

// Name implements raftio.ILogDB.
func (m *Model) Name() string { return "journaltest-model" }

// Close implements raftio.ILogDB.
func (m *Model) Close() error { return nil }

// BinaryFormat implements raftio.ILogDB.
func (m *Model) BinaryFormat() uint32 { return raftio.PlainLogDBBinVersion }

// ListNodeInfo implements raftio.ILogDB.
func (m *Model) ListNodeInfo() ([]raftio.NodeInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var infos []raftio.NodeInfo
	for info, r := range m.replicas {
		if r.Bootstrap != nil {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

// SaveBootstrapInfo implements raftio.ILogDB.
func (m *Model) SaveBootstrapInfo(shard, replica uint64, b pb.Bootstrap) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at(shard, replica).Bootstrap = &b
	return nil
}

// GetBootstrapInfo implements raftio.ILogDB.
func (m *Model) GetBootstrapInfo(shard, replica uint64) (pb.Bootstrap, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b := m.at(shard, replica).Bootstrap; b != nil {
		return *b, nil
	}
	return pb.Bootstrap{}, raftio.ErrNoBootstrapInfo
}

// SaveRaftState implements raftio.ILogDB.
func (m *Model) SaveRaftState(updates []pb.Update, _ uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ud := range updates {
		m.at(ud.ShardID, ud.ReplicaID).save(ud)
	}
	return nil
}

// IterateEntries implements raftio.ILogDB.
func (m *Model) IterateEntries(ents []pb.Entry, size, shard, replica, low, high, maxSize uint64) (
	[]pb.Entry, uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, n := m.at(shard, replica).between(low, high, maxSize-min(size, maxSize))
	for i := range found {
		found[i].Cmd = slices.Clone(found[i].Cmd)
	}
	return append(ents, found...), size + n, nil
}

// ReadRaftState implements raftio.ILogDB.
func (m *Model) ReadRaftState(shard, replica, lastIndex uint64) (raftio.RaftState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.at(shard, replica)
	if pb.IsEmptyState(r.State) {
		return raftio.RaftState{}, raftio.ErrNoSavedLog
	}
	rs := raftio.RaftState{State: r.State}
	if found, _ := r.between(lastIndex+1, math.MaxUint64, math.MaxUint64); len(found) > 0 {
		rs.FirstIndex, rs.EntryCount = lastIndex+1, uint64(len(found))
	}
	return rs, nil
}

// RemoveEntriesTo implements raftio.ILogDB.
func (m *Model) RemoveEntriesTo(shard, replica, index uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at(shard, replica).removeTo(index)
	return nil
}

// CompactEntriesTo implements raftio.ILogDB.
func (m *Model) CompactEntriesTo(uint64, uint64, uint64) (<-chan struct{}, error) {
	done := make(chan struct{})
	close(done)
	return done, nil
}

// SaveSnapshots implements raftio.ILogDB.
func (m *Model) SaveSnapshots(updates []pb.Update) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ud := range updates {
		if r := m.at(ud.ShardID, ud.ReplicaID); ud.Snapshot.Index > r.Snapshot.Index {
			r.Snapshot = ud.Snapshot
		}
	}
	return nil
}

// GetSnapshot implements raftio.ILogDB.
func (m *Model) GetSnapshot(shard, replica uint64) (pb.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at(shard, replica).Snapshot, nil
}

// RemoveNodeData implements raftio.ILogDB.
func (m *Model) RemoveNodeData(shard, replica uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.replicas, raftio.GetNodeInfo(shard, replica))
	return nil
}

// ImportSnapshot implements raftio.ILogDB.
func (m *Model) ImportSnapshot(ss pb.Snapshot, replica uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	*m.at(ss.ShardID, replica) = Replica{
		Bootstrap: &pb.Bootstrap{Join: true, Type: ss.Type},
		State:     pb.State{Term: ss.Term, Commit: ss.Index},
		Snapshot:  ss,
	}
	return nil
}
