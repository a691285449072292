package raftnode

import (
	"sync"

	"github.com/lni/dragonboat/v4/raftio"

	"github.com/trunkline/trunkline/protocol"
)

// Leadership is what the local replica of a shard believes about its leader. A leader that was cut off believes in
// itself until it hears of a higher term or misses a majority for an election timeout.
//
// A callback gets each shard's values in order, from one goroutine, coalesced to the newest; it must not block.
type Leadership struct {
	Shard  uint64
	Term   uint64
	Leader protocol.BrokerID // 0: none known
	Self   bool              // the local replica leads
	Last   protocol.BrokerID // newest leader ever known here, also after it was lost
}

// Leader returns the newest leadership of a shard that runs here. It reports false when no leader is known.
func (n *Node) Leader(id uint64) (Leadership, bool) {
	s, ok := n.shard(id)
	if !ok || !n.gate.enter() {
		return Leadership{Shard: id}, false
	}
	defer n.gate.leave()
	leader, term, known, err := n.nh.GetLeaderID(id)
	if err != nil {
		return Leadership{Shard: id}, false
	}
	l := Leadership{Shard: id, Term: term, Last: s.brokers[n.inbox.lastLeader(id)]}
	if e, ok := n.inbox.newest(id); ok && e.Term > term { // the event comes a moment before GetLeaderID knows
		l.Term, leader, known = e.Term, e.LeaderID, e.LeaderID != raftio.NoLeader
	}
	if known {
		l.Leader, l.Self = s.brokers[leader], leader == s.self
		l.Last = l.Leader
	}
	return l, known
}

// dispatch calls the shards' callbacks with what arrives in the inbox, until Close.
func (n *Node) dispatch() {
	defer n.wg.Done()
	for {
		select {
		case <-n.stop:
			return
		case <-n.inbox.ready:
		}
		for _, e := range n.inbox.take() {
			n.metrics.leadership(e.LeaderID != raftio.NoLeader)
			s, ok := n.shard(e.ShardID)
			if !ok || s.onLeader == nil {
				continue
			}
			l := Leadership{Shard: e.ShardID, Term: e.Term, Last: s.brokers[n.inbox.lastLeader(e.ShardID)]}
			if e.LeaderID != raftio.NoLeader {
				l.Leader, l.Self = s.brokers[e.LeaderID], e.LeaderID == s.self
				l.Last = l.Leader
			}
			s.onLeader(l)
		}
	}
}

// inbox takes leadership events from Raft's workers without ever making them wait. It holds the newest event of each
// shard, and the order in which shards got news.
type inbox struct {
	ready chan struct{} // has a token when news is not empty

	mu     sync.Mutex
	events map[uint64]raftio.LeaderInfo // newest of each shard that ever had one; guarded by mu
	last   map[uint64]uint64            // replica that was the newest leader known of each shard; guarded by mu
	news   []uint64                     // shards whose newest was not taken yet, each once; guarded by mu
	isNews map[uint64]bool              // the same as a set; guarded by mu
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
	b.mu.Lock()
	b.events[e.ShardID] = e
	if e.LeaderID != raftio.NoLeader {
		b.last[e.ShardID] = e.LeaderID
	}
	if !b.isNews[e.ShardID] {
		b.isNews[e.ShardID] = true
		b.news = append(b.news, e.ShardID)
	}
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
