package raftnode

import (
	"sync"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftio"
)

// inbox takes events from Raft's workers without ever making them wait: they hold locks of the NodeHost meanwhile. It holds the
// newest leadership of each shard, the order in which shards got news, and what the dispatch goroutine has to do besides.
type inbox struct {
	unheard
	ready chan struct{} // has a token when there is news

	mu      sync.Mutex
	events  map[uint64]raftio.LeaderInfo // newest of each shard that ever had one; guarded by mu
	last    map[uint64]uint64            // replica that was the newest leader known of each shard; guarded by mu
	news    []uint64                     // shards whose newest was not taken yet, each once; guarded by mu
	isNews  map[uint64]bool              // the same as a set; guarded by mu
	removed []raftio.NodeInfo            // replicas that Raft removed from their shard, each once; guarded by mu
	changed bool                         // the members of some shard are others; guarded by mu
}

func newInbox() *inbox {
	return &inbox{
		ready:  make(chan struct{}, 1),
		events: map[uint64]raftio.LeaderInfo{},
		last:   map[uint64]uint64{},
		isNews: map[uint64]bool{},
	}
}

// LeaderUpdated implements raftio.IRaftEventListener.
func (b *inbox) LeaderUpdated(e raftio.LeaderInfo) {
	b.put(func() {
		b.events[e.ShardID] = e
		if e.LeaderID != raftio.NoLeader {
			b.last[e.ShardID] = e.LeaderID
		}
		b.announce(e.ShardID)
	})
}

// renew makes news of a shard's leadership again if replica leads: what is known of it is new.
func (b *inbox) renew(id, replica uint64) {
	b.put(func() {
		if e, ok := b.events[id]; ok && e.LeaderID == replica {
			b.announce(id)
		}
	})
}

// announce makes a shard's newest leadership news. Called with mu held.
func (b *inbox) announce(id uint64) {
	if !b.isNews[id] {
		b.isNews[id] = true
		b.news = append(b.news, id)
	}
}

// NodeDeleted implements raftio.ISystemEventListener: the local replica applied its own removal.
func (b *inbox) NodeDeleted(r raftio.NodeInfo) { b.put(func() { b.removed = append(b.removed, r) }) }

// MembershipChanged implements raftio.ISystemEventListener.
func (b *inbox) MembershipChanged(raftio.NodeInfo) { b.put(func() { b.changed = true }) }

func (b *inbox) put(store func()) {
	b.mu.Lock()
	store()
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (b *inbox) take() []raftio.LeaderInfo {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]raftio.LeaderInfo, 0, len(b.news))
	for _, id := range b.news {
		if e, ok := b.events[id]; ok && b.isNews[id] {
			out = append(out, e)
		}
		delete(b.isNews, id)
	}
	b.news = b.news[:0]
	return out
}

// takeMembers returns which replicas were removed, and whether members changed, since it was last called.
func (b *inbox) takeMembers() (removed []raftio.NodeInfo, changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	removed, changed = b.removed, b.changed
	b.removed, b.changed = nil, false
	return removed, changed
}

func (b *inbox) newest(id uint64) (raftio.LeaderInfo, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.events[id]
	return e, ok
}

// lastLeader returns the newest leader that a shard ever had, 0 if none was known.
func (b *inbox) lastLeader(id uint64) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[id]
}

// forget drops what is known of a stopped shard.
func (b *inbox) forget(id uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.events, id)
	delete(b.last, id)
	delete(b.isNews, id)
}

// unheard are the events of a NodeHost that nobody here listens to.
type unheard struct{}

var _ raftio.ISystemEventListener = (*inbox)(nil)

func (unheard) NodeHostShuttingDown()                       {}
func (unheard) NodeUnloaded(raftio.NodeInfo)                {}
func (unheard) NodeReady(raftio.NodeInfo)                   {}
func (unheard) ConnectionEstablished(raftio.ConnectionInfo) {}
func (unheard) ConnectionFailed(raftio.ConnectionInfo)      {}
func (unheard) SendSnapshotStarted(raftio.SnapshotInfo)     {}
func (unheard) SendSnapshotCompleted(raftio.SnapshotInfo)   {}
func (unheard) SendSnapshotAborted(raftio.SnapshotInfo)     {}
func (unheard) SnapshotReceived(raftio.SnapshotInfo)        {}
func (unheard) SnapshotRecovered(raftio.SnapshotInfo)       {}
func (unheard) SnapshotCreated(raftio.SnapshotInfo)         {}
func (unheard) SnapshotCompacted(raftio.SnapshotInfo)       {}
func (unheard) LogCompacted(raftio.EntryInfo)               {}
func (unheard) LogDBCompacted(raftio.EntryInfo)             {}

// dispatch calls the shards' callbacks with what arrives in the inbox, until Close.
func (n *Node) dispatch() {
	defer n.wg.Done()
	for {
		select {
		case <-n.stop:
			return
		case <-n.inbox.ready:
		}
		n.members()
		for _, e := range n.inbox.take() {
			n.metrics.leadership(e.LeaderID != raftio.NoLeader)
			s, ok := n.shard(e.ShardID)
			if !ok || s.onLeader == nil {
				continue
			}
			l := Leadership{Shard: e.ShardID, Term: e.Term, Last: s.peers.broker(n.inbox.lastLeader(e.ShardID))}
			if e.LeaderID != raftio.NoLeader {
				l.Leader, l.Self = s.peers.broker(e.LeaderID), e.LeaderID == s.self
				l.Last = l.Leader
			}
			s.onLeader(l)
		}
	}
}

// members tells who was removed, and notes which local learners are voters now.
func (n *Node) members() {
	removed, changed := n.inbox.takeMembers()
	for _, r := range removed {
		if s, ok := n.shard(r.ShardID); ok && s.self == r.ReplicaID && s.onRemoved != nil {
			s.onRemoved()
		}
	}
	if !changed || n.learners.Load() == 0 || !n.gate.enter() {
		return
	}
	defer n.gate.leave()
	for _, info := range n.shardInfo() {
		s, ok := n.shard(info.ShardID)
		if _, votes := info.Replicas[info.ReplicaID]; ok && votes && s.self == info.ReplicaID && s.learner.CompareAndSwap(true, false) {
			n.learners.Add(-1)
		}
	}
}

// shardInfo returns what the local replicas know of their shards, among it their voters. Dragonboat has it only for all of
// them at once. To be called inside the gate.
func (n *Node) shardInfo() []dragonboat.ShardInfo {
	return n.nh.GetNodeHostInfo(dragonboat.NodeHostInfoOption{SkipLogInfo: true}).ShardInfoList
}

// votes reports whether a replica is a voter of a shard, as far as the local replica knows.
func (n *Node) votes(id, replica uint64) bool {
	if !n.gate.enter() {
		return false
	}
	defer n.gate.leave()
	for _, info := range n.shardInfo() {
		if info.ShardID == id {
			_, ok := info.Replicas[replica]
			return ok
		}
	}
	return false
}
