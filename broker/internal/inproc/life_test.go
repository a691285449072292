package inproc

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/journal"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// Where a broker's files are on its disk.
const (
	journalDir = "/raft"
	dataDir    = "/data"
)

// ending makes of a disk what a life leaves of it.
type ending func(*storefs.Mem) *storefs.Mem

func killed(m *storefs.Mem) *storefs.Mem { return m.Clone() }

// powerCut keeps of what was not synced what the seed says.
func powerCut(seed uint64) ending {
	return func(m *storefs.Mem) *storefs.Mem { return m.CrashClone(rand.New(rand.NewPCG(seed, 5))) }
}

// remains are what the next life of a broker begins with.
type remains struct {
	disk *storefs.Mem
	dir  string // on the real disk: Dragonboat's own files
}

// life is a broker from one start to its end.
type life struct {
	id   protocol.BrokerID
	has  remains
	node *raftnode.Node
	m    *fsm.Machine
	p    *partition.Partition
	port *port

	spy  atomic.Pointer[spy]
	held gate // writes of the Raft log wait while it is closed

	dead  atomic.Bool // nothing that it says or did after this counts
	once  sync.Once
	ended chan struct{}
	left  remains // after ended
	cause error   // after ended; nil if the test ended it
	onEnd ending  // by a failure
	next  string  // directory for left.dir
}

// spy is told each point that a life passes, and may fail a file operation or end the life there.
type spy struct {
	point func(l *life, name string)
	file  func(l *life, op storefs.Op, name string) error
}

func (l *life) pass(name string) {
	if s := l.spy.Load(); s != nil && s.point != nil && !l.dead.Load() {
		s.point(l, name)
	}
}

func (l *life) onFile(op storefs.Op, name string) error {
	if s := l.spy.Load(); s != nil && s.file != nil && !l.dead.Load() {
		return s.file(l, op, name)
	}
	return nil
}

// end ends the life at this moment, whatever it is doing, and keeps what it leaves.
func (l *life) end(how ending, cause error) {
	l.once.Do(func() {
		l.dead.Store(true)
		l.cause = cause
		l.left.dir = l.next
		// Snapshots are noted in the Raft log after their file is there and removed after a newer one is noted. So the files of
		// before and after together hold what the Raft log names.
		err := copyTree(l.has.dir, l.left.dir)
		l.left.disk = how(l.has.disk)
		if err := errors.Join(err, copyTree(l.has.dir, l.left.dir)); err != nil {
			panic(err)
		}
		close(l.ended)
		l.held.open()
	})
}

// survive ends the life if a write failed, as Dragonboat would end the process, and hides the error from it.
func (l *life) survive(err error) error {
	if err != nil {
		l.end(l.onEnd, err)
	}
	return nil
}

// close waits for the goroutines of an ended life.
func (l *life) close() error {
	l.p.Close()
	return l.node.Close()
}

// compact syncs the partition and compacts the Raft log again and again until the life ends of it.
func (l *life) compact() {
	for end := time.Now().Add(soon); !l.dead.Load() && time.Now().Before(end); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = l.node.Compact(ctx, shard, l.m.Applied()/2) // there may be nothing to compact yet
		cancel()
		time.Sleep(poll)
	}
}

// copyTree copies what is below a directory as far as it stays there meanwhile. Locks and links are made anew by the node.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case !d.Type().IsRegular() || d.Name() == "LOCK":
			return nil
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(target, b, 0o600)
	})
}

// storage makes the life's Raft log: a journal on its disk.
type storage struct {
	journal.Factory
	l *life
}

func (s storage) Create(cfg config.NodeHostConfig, cb config.LogDBCallback, _, _ []string) (raftio.ILogDB, error) {
	db, err := s.Factory.Create(cfg, cb, []string{journalDir}, nil)
	return raftLog{db, s.l}, err
}

// raftLog is a journal whose failed writes end the life.
type raftLog struct {
	raftio.ILogDB
	l *life
}

func (r raftLog) SaveRaftState(u []pb.Update, worker uint64) error {
	r.l.held.pass()
	r.l.pass("beforeRaftLog")
	err := r.l.survive(r.ILogDB.SaveRaftState(u, worker))
	r.l.pass("afterRaftLog")
	return err
}

func (r raftLog) SaveSnapshots(u []pb.Update) error { return r.l.survive(r.ILogDB.SaveSnapshots(u)) }

func (r raftLog) RemoveEntriesTo(shard, replica, index uint64) error {
	return r.l.survive(r.ILogDB.RemoveEntriesTo(shard, replica, index))
}

func (r raftLog) SaveBootstrapInfo(shard, replica uint64, b pb.Bootstrap) error {
	return r.l.survive(r.ILogDB.SaveBootstrapInfo(shard, replica, b))
}

func (r raftLog) Close() error { return r.l.survive(r.ILogDB.Close()) }

// machine is a state machine whose failed writes end the life.
type machine struct {
	*fsm.Machine
	l *life
}

func (s machine) Update(entries []sm.Entry) ([]sm.Entry, error) {
	s.l.pass("beforeApply")
	_, err := s.Machine.Update(entries)
	s.l.pass("afterApply")
	return entries, s.l.survive(err)
}

func (s machine) Sync() error {
	s.l.pass("beforeSync")
	err := s.l.survive(s.Machine.Sync())
	s.l.pass("afterSync")
	return err
}

func (s machine) PrepareSnapshot() (any, error) {
	v, err := s.Machine.PrepareSnapshot()
	if err != nil && s.l.dead.Load() {
		err = sm.ErrSnapshotStopped
	}
	return v, err
}

func (s machine) SaveSnapshot(v any, w io.Writer, stop <-chan struct{}) error {
	err := s.Machine.SaveSnapshot(v, w, stop)
	if err != nil && s.l.dead.Load() {
		err = sm.ErrSnapshotStopped
	}
	return err
}

func (s machine) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) error {
	s.l.pass("beforeInstall")
	err := s.Machine.RecoverFromSnapshot(r, stop)
	if errors.Is(err, sm.ErrSnapshotStopped) {
		return err
	}
	err = s.l.survive(err)
	s.l.pass("afterInstall")
	return err
}

// proposer is a node whose proposals are points.
type proposer struct {
	*raftnode.Node
	l *life
}

func (p proposer) Propose(shard uint64, cmd []byte) (*raftnode.Proposal, error) {
	p.l.pass("beforePropose")
	proposal, err := p.Node.Propose(shard, cmd)
	p.l.pass("afterPropose")
	return proposal, err
}

// gate lets everybody through unless it is shut.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil: open; guarded by mu
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut == nil {
		g.shut = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		close(g.shut)
		g.shut = nil
	}
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// clock is a broker's wall clock, which may be off.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.off.Load())) }
