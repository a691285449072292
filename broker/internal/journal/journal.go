package journal

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// Name is the type name of the storage, which Dragonboat notes in the data directory. Never change it.
const Name = "trunkline-journal"

// Journal stores the Raft logs of many replicas. Make one with Open or Factory.
type Journal struct {
	dir     string
	opts    Options
	log     *slog.Logger
	id      journalID
	wals    []*wal // of worker i+1, shards with shardID % len(wals) == i
	metrics *metrics

	maxPayload int64 // of a round that several updates share

	closed atomic.Bool
	failed atomic.Pointer[error] // the first failed write or sync; final

	stopCleaning, stopPreparing chan struct{}
	cleaners, preparers         sync.WaitGroup
	closing                     sync.Once
	closeErr                    error
}

var _ raftio.ILogDB = (*Journal)(nil)

// fail makes err final: Inv6.
func (j *Journal) fail(op string, err error) error {
	err = fmt.Errorf("journal: %s: %w", op, err)
	if j.failed.CompareAndSwap(nil, &err) {
		j.log.Error("the Raft journal cannot be written any more", "error", err)
	}
	return *j.failed.Load()
}

// broken returns why nothing can be written, nil if it can.
func (j *Journal) broken() error {
	if err := j.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (j *Journal) usable() error {
	if j.closed.Load() {
		return ErrClosed
	}
	return j.broken()
}

func (j *Journal) wal(shard uint64) *wal { return j.wals[shard%uint64(len(j.wals))] }

// Name implements raftio.ILogDB.
func (j *Journal) Name() string { return Name }

// BinaryFormat implements raftio.ILogDB.
func (j *Journal) BinaryFormat() uint32 { return raftio.PlainLogDBBinVersion }

// Close writes what is only remembered and closes the files. It is idempotent.
func (j *Journal) Close() error {
	j.closing.Do(func() {
		j.closed.Store(true)
		close(j.stopCleaning)
		j.cleaners.Wait()
		errs := make([]error, len(j.wals))
		for i, w := range j.wals {
			errs[i] = w.finish()
		}
		close(j.stopPreparing) // not before: the last round may need a file
		j.preparers.Wait()
		for _, w := range j.wals {
			w.discard()
		}
		j.metrics.unregister()
		j.closeErr = errors.Join(errs...)
	})
	return j.closeErr
}

// SaveRaftState implements raftio.ILogDB. All updates are of one worker, so they are one round and one fsync.
func (j *Journal) SaveRaftState(updates []pb.Update, _ uint64) error {
	if err := j.usable(); err != nil {
		return err
	}
	j.metrics.saves.Inc()
	for len(updates) > 0 {
		n, err := j.wal(updates[0].ShardID).save(updates)
		if err != nil {
			return err
		}
		updates = updates[n:]
	}
	return nil
}

// save saves the updates that can be planned together: those of this WAL before a replica comes again. Dragonboat
// gives each replica once, and all of one worker: then it is all of them.
func (w *wal) save(updates []pb.Update) (n int, err error) {
	err = w.change(func(b *batch) error {
		clear(w.seen)
		for n < len(updates) {
			u := &updates[n]
			node := nodeID{u.ShardID, u.ReplicaID}
			if _, again := w.seen[node]; again || w.j.wal(node.shard) != w {
				return nil
			}
			if err := b.addUpdate(&w.index, u); err != nil {
				return err
			}
			b.close()
			w.seen[node] = struct{}{}
			n++
		}
		return nil
	})
	return n, err
}

// change writes the records that plan adds, if any. plan runs with the index locked.
func (w *wal) change(plan func(*batch) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.j.usable(); err != nil {
		return err
	}
	defer w.batch.reset()
	w.index.mu.Lock()
	err := plan(&w.batch)
	w.index.mu.Unlock()
	w.batch.close()
	if err != nil || len(w.batch.records) == 0 {
		return err
	}
	return w.commit()
}

// SaveSnapshots implements raftio.ILogDB.
func (j *Journal) SaveSnapshots(updates []pb.Update) error {
	for i := range updates {
		u := &updates[i]
		w, node := j.wal(u.ShardID), nodeID{u.ShardID, u.ReplicaID}
		err := w.change(func(b *batch) error {
			r := w.index.replicas[node]
			if pb.IsEmptySnapshot(u.Snapshot) || r != nil && u.Snapshot.Index <= r.snapshotAt {
				return nil
			}
			b.sync = true
			if r != nil {
				b.addDirty(r, false)
			}
			return b.add(recordSnapshot, node).putSnapshot(&u.Snapshot)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// SaveBootstrapInfo implements raftio.ILogDB.
func (j *Journal) SaveBootstrapInfo(shard, replicaID uint64, info pb.Bootstrap) error {
	w := j.wal(shard)
	return w.change(func(b *batch) error {
		b.sync = true
		if r := w.index.replicas[nodeID{shard, replicaID}]; r != nil {
			b.addDirty(r, false)
		}
		return b.add(recordBootstrap, nodeID{shard, replicaID}).putBootstrap(&info)
	})
}

// RemoveEntriesTo implements raftio.ILogDB. It costs no I/O: the replica's next round says it, and if a crash comes
// first, the entries are there again and nobody asks for them.
func (j *Journal) RemoveEntriesTo(shard, replicaID, index uint64) error {
	if err := j.usable(); err != nil {
		return err
	}
	w := j.wal(shard)
	w.index.mu.Lock()
	if r := w.index.replicas[nodeID{shard, replicaID}]; r != nil {
		r.compactTo(index)
	}
	w.index.mu.Unlock()
	w.tidy()
	return nil
}

// CompactEntriesTo implements raftio.ILogDB. Space is reclaimed without being asked for it.
func (j *Journal) CompactEntriesTo(uint64, uint64, uint64) (<-chan struct{}, error) {
	done := make(chan struct{})
	close(done)
	return done, nil
}

// RemoveNodeData implements raftio.ILogDB.
func (j *Journal) RemoveNodeData(shard, replicaID uint64) error {
	w, node := j.wal(shard), nodeID{shard, replicaID}
	err := w.change(func(b *batch) error {
		if w.index.replicas[node] != nil {
			b.sync = true
			b.add(recordRemoved, node)
		}
		return nil
	})
	w.tidy()
	return err
}

// ImportSnapshot implements raftio.ILogDB: the replica begins anew with the snapshot, in one round.
func (j *Journal) ImportSnapshot(s pb.Snapshot, replicaID uint64) error {
	if pb.IsEmptySnapshot(s) {
		return fmt.Errorf("journal: import of shard %d: the snapshot is empty", s.ShardID)
	}
	node := nodeID{s.ShardID, replicaID}
	return j.wal(s.ShardID).change(func(b *batch) error {
		b.sync = true
		b.add(recordRemoved, node)
		b.add(recordState, node).putState(pb.State{Term: s.Term, Commit: s.Index})
		if err := b.add(recordBootstrap, node).putBootstrap(&pb.Bootstrap{Join: true, Type: s.Type}); err != nil {
			return err
		}
		return b.add(recordSnapshot, node).putSnapshot(&s)
	})
}

func (rec *record) putBootstrap(info *pb.Bootstrap) error {
	b, err := info.Marshal()
	if err != nil {
		return fmt.Errorf("journal: bootstrap of shard %d: %w", rec.node.shard, err)
	}
	rec.putBody(b)
	return nil
}

// ListNodeInfo implements raftio.ILogDB.
func (j *Journal) ListNodeInfo() ([]raftio.NodeInfo, error) {
	if j.closed.Load() {
		return nil, ErrClosed
	}
	infos := []raftio.NodeInfo{}
	for _, w := range j.wals {
		w.index.mu.RLock()
		for node, r := range w.index.replicas {
			if r.bootstrap != nil {
				infos = append(infos, raftio.NodeInfo{ShardID: node.shard, ReplicaID: node.replica})
			}
		}
		w.index.mu.RUnlock()
	}
	slices.SortFunc(infos, func(a, b raftio.NodeInfo) int {
		if a.ShardID != b.ShardID {
			return cmp.Compare(a.ShardID, b.ShardID)
		}
		return cmp.Compare(a.ReplicaID, b.ReplicaID)
	})
	return infos, nil
}
