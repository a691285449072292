package journaltest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

var _ raftio.ILogDB = (*tee)(nil)

// Name implements raftio.ILogDB.
func (t *tee) Name() string { return t.factory.Name() }

// BinaryFormat implements raftio.ILogDB.
func (t *tee) BinaryFormat() uint32 {
	a, b := t.a.BinaryFormat(), t.b.BinaryFormat()
	if a != b {
		panic(&Disagreement{"BinaryFormat", a, b, errors.New("they are not the same")})
	}
	return a
}

// Close implements raftio.ILogDB.
func (t *tee) Close() error {
	t.compareAll("close")
	a, b := t.a.Close(), t.b.Close()
	t.errors("Close", a, b)
	return a
}

// ListNodeInfo implements raftio.ILogDB.
func (t *tee) ListNodeInfo() ([]raftio.NodeInfo, error) {
	return answer(t, "ListNodeInfo", raftio.NodeInfo{}, raftio.ILogDB.ListNodeInfo, differInfos)
}

// SaveBootstrapInfo implements raftio.ILogDB.
func (t *tee) SaveBootstrapInfo(shard, replica uint64, b pb.Bootstrap) error {
	return t.write(fmt.Sprintf("SaveBootstrapInfo(%d, %d, %+v)", shard, replica, b), listed(shard, replica),
		func(db raftio.ILogDB) error { return db.SaveBootstrapInfo(shard, replica, b) })
}

// listed is what a call touches that may change the list of replicas: the replica and the list, which is counted under
// the replica that cannot be.
func listed(shard, replica uint64) []raftio.NodeInfo {
	return []raftio.NodeInfo{raftio.GetNodeInfo(shard, replica), {}}
}

// GetBootstrapInfo implements raftio.ILogDB.
func (t *tee) GetBootstrapInfo(shard, replica uint64) (pb.Bootstrap, error) {
	return answer(t, fmt.Sprintf("GetBootstrapInfo(%d, %d)", shard, replica), raftio.GetNodeInfo(shard, replica),
		func(db raftio.ILogDB) (pb.Bootstrap, error) { return db.GetBootstrapInfo(shard, replica) }, differBootstrap)
}

// SaveRaftState implements raftio.ILogDB.
func (t *tee) SaveRaftState(updates []pb.Update, worker uint64) error {
	for _, ud := range updates {
		if !pb.IsEmptySnapshot(ud.Snapshot) {
			t.factory.count("Install")
		}
	}
	return t.write(fmt.Sprintf("SaveRaftState(%d updates, %d)", len(updates), worker), infosOf(updates),
		func(db raftio.ILogDB) error { return db.SaveRaftState(updates, worker) })
}

// IterateEntries implements raftio.ILogDB.
func (t *tee) IterateEntries(ents []pb.Entry, size, shard, replica, low, high, maxSize uint64) (
	[]pb.Entry, uint64, error) {
	call := fmt.Sprintf("IterateEntries(%d, %d, %d, [%d, %d), %d)", size, shard, replica, low, high, maxSize)
	l, err := answer(t, call, raftio.GetNodeInfo(shard, replica), func(db raftio.ILogDB) (limited, error) {
		got, n, err := db.IterateEntries(slices.Clip(ents), size, shard, replica, low, high, maxSize)
		return limited{got, n}, err
	}, func(a, b limited) error {
		err := differLimited(a, b, maxSize)
		for _, e := range b.ents[min(len(ents), len(b.ents)):] {
			clear(e.Cmd) // the caller gets A's, and may do anything with it
		}
		return err
	})
	return l.ents, l.size, err
}

// ReadRaftState implements raftio.ILogDB. It hides a tail that only A has, lest Raft reads from A what B has not.
func (t *tee) ReadRaftState(shard, replica, lastIndex uint64) (raftio.RaftState, error) {
	info := raftio.GetNodeInfo(shard, replica)
	type found struct {
		raftio.RaftState
		forgotten bool
	}
	get := func(db raftio.ILogDB) (found, error) {
		rs, err := db.ReadRaftState(shard, replica, lastIndex)
		if err != nil || rs.EntryCount == 0 {
			return found{RaftState: rs}, err
		}
		ss, err := db.GetSnapshot(shard, replica)
		return found{rs, ss.Index == lastIndex && forgotten(db, info, ss)}, err
	}
	f, err := answer(t, fmt.Sprintf("ReadRaftState(%d, %d, %d)", shard, replica, lastIndex), info, get,
		func(a, b found) error {
			switch { // see Tee
			case a.EntryCount == 0 && b.forgotten:
				b.EntryCount = 0
			case b.EntryCount == 0 && a.forgotten:
				a.EntryCount = 0
			}
			return differState(a.RaftState, b.RaftState, lastIndex)
		})
	if err == nil && f.forgotten {
		if b, err := get(t.b); err == nil && b.EntryCount == 0 {
			f.EntryCount = 0
		}
	}
	return f.RaftState, err
}

// RemoveEntriesTo implements raftio.ILogDB.
func (t *tee) RemoveEntriesTo(shard, replica, index uint64) error {
	return t.write(fmt.Sprintf("RemoveEntriesTo(%d, %d, %d)", shard, replica, index),
		[]raftio.NodeInfo{raftio.GetNodeInfo(shard, replica)},
		func(db raftio.ILogDB) error { return db.RemoveEntriesTo(shard, replica, index) })
}

// CompactEntriesTo implements raftio.ILogDB. Its channel is A's.
func (t *tee) CompactEntriesTo(shard, replica, index uint64) (<-chan struct{}, error) {
	var done <-chan struct{}
	err := t.write(fmt.Sprintf("CompactEntriesTo(%d, %d, %d)", shard, replica, index),
		[]raftio.NodeInfo{raftio.GetNodeInfo(shard, replica)},
		func(db raftio.ILogDB) error {
			ch, err := db.CompactEntriesTo(shard, replica, index)
			if done == nil {
				done = ch
			}
			return err
		})
	return done, err
}

// SaveSnapshots implements raftio.ILogDB.
func (t *tee) SaveSnapshots(updates []pb.Update) error {
	return t.write(fmt.Sprintf("SaveSnapshots(%d updates)", len(updates)), infosOf(updates),
		func(db raftio.ILogDB) error { return db.SaveSnapshots(updates) })
}

// GetSnapshot implements raftio.ILogDB.
func (t *tee) GetSnapshot(shard, replica uint64) (pb.Snapshot, error) {
	return answer(t, fmt.Sprintf("GetSnapshot(%d, %d)", shard, replica), raftio.GetNodeInfo(shard, replica),
		func(db raftio.ILogDB) (pb.Snapshot, error) { return db.GetSnapshot(shard, replica) }, differSnapshot)
}

// RemoveNodeData implements raftio.ILogDB.
func (t *tee) RemoveNodeData(shard, replica uint64) error {
	return t.write(fmt.Sprintf("RemoveNodeData(%d, %d)", shard, replica), listed(shard, replica),
		func(db raftio.ILogDB) error { return db.RemoveNodeData(shard, replica) })
}

// ImportSnapshot implements raftio.ILogDB.
func (t *tee) ImportSnapshot(ss pb.Snapshot, replica uint64) error {
	return t.write(fmt.Sprintf("ImportSnapshot(%d of shard %d, %d)", ss.Index, ss.ShardID, replica), listed(ss.ShardID, replica),
		func(db raftio.ILogDB) error { return db.ImportSnapshot(ss, replica) })
}
