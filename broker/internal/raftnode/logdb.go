package raftnode

import (
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// timedFactory makes a log storage whose writes are timed, and keeps it for the node. The name stays that of the storage
// itself: it is pinned in the data directory.
type timedFactory struct {
	config.LogDBFactory
	node *Node
}

func (f timedFactory) Create(cfg config.NodeHostConfig, cb config.LogDBCallback, dirs, wals []string) (
	raftio.ILogDB, error) {
	db, err := f.LogDBFactory.Create(cfg, cb, dirs, wals)
	if err != nil {
		return nil, err
	}
	f.node.logs = &timedLogDB{ILogDB: db, saves: f.node.saves, metrics: f.node.metrics}
	return f.node.logs, nil
}

// timedLogDB measures how long Raft's workers wait for the disk.
type timedLogDB struct {
	raftio.ILogDB
	saves   *saveTimes
	metrics *metrics
}

// SaveRaftState is called by worker 1 to execShards, never twice at once by the same.
func (t *timedLogDB) SaveRaftState(updates []pb.Update, worker uint64) error {
	begun := t.saves.begin(worker)
	err := t.ILogDB.SaveRaftState(updates, worker)
	took := t.saves.end(worker, begun)
	if bytes, ok := synced(updates); ok {
		t.metrics.saved(took, bytes)
	}
	return err
}

// synced reports whether a save has to reach the disk before it returns, and how many command bytes it carries.
func synced(updates []pb.Update) (bytes int, ok bool) {
	for i := range updates {
		for j := range updates[i].EntriesToSave {
			bytes += len(updates[i].EntriesToSave[j].Cmd)
		}
		ok = ok || len(updates[i].EntriesToSave) > 0 || !pb.IsEmptySnapshot(updates[i].Snapshot)
	}
	return bytes, ok
}

// saveTimes knows since when each worker is inside a save.
type saveTimes struct {
	zero  time.Time
	since []atomic.Int64 // [worker]: nanoseconds after zero at which its save began, 0 when it is in none
}

func newSaveTimes(workers int) *saveTimes {
	return &saveTimes{zero: time.Now().Add(-1), since: make([]atomic.Int64, workers+1)}
}

func (s *saveTimes) begin(worker uint64) time.Duration {
	now := time.Since(s.zero)
	s.since[worker%uint64(len(s.since))].Store(int64(now))
	return now
}

func (s *saveTimes) end(worker uint64, begun time.Duration) time.Duration {
	s.since[worker%uint64(len(s.since))].Store(0)
	return time.Since(s.zero) - begun
}

func (s *saveTimes) oldest() time.Duration {
	now, longest := time.Since(s.zero), time.Duration(0)
	for i := range s.since {
		if t := time.Duration(s.since[i].Load()); t != 0 {
			longest = max(longest, now-t)
		}
	}
	return longest
}
