package raftnode

import (
	"math"
	"sync"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// peers is what is known of the replicas of one shard: the broker that each is on, and what each told the local replica while
// that led. Replicas come from the start of the local one and from the messages of the others, whose sender raftnet vouches for.
// Nothing else is needed when the members change: a replica ID stands for one broker for ever, and the messages of a replica
// pass here before Raft sees them. A leader whose message came just before the shard was started is told again with its next.
//
// Memory: one small struct for each replica that the shard had while it ran here, until it stops here; Raft's own list of removed
// replicas grows as fast. Safe for concurrent use.
type peers struct {
	mu sync.Mutex
	of map[uint64]*peer // by replica; guarded by mu
}

// peer is one replica. Its answers are those of the newest term in which it gave one.
type peer struct {
	broker protocol.BrokerID
	term   uint64
	match  uint64    // it has the log up to here; 0: it has not said
	at     time.Time // of its last answer
}

func newPeers(replicas []Replica) *peers {
	p := &peers{of: make(map[uint64]*peer, len(replicas))}
	for _, r := range replicas {
		p.of[r.ReplicaID] = &peer{broker: r.Broker}
	}
	return p
}

// broker returns the broker that a replica is on, 0 if it is not known.
func (p *peers) broker(replica uint64) protocol.BrokerID {
	p.mu.Lock()
	defer p.mu.Unlock()
	if peer := p.of[replica]; peer != nil {
		return peer.broker
	}
	return 0
}

// all returns the broker of each replica.
func (p *peers) all() map[uint64]protocol.BrokerID {
	p.mu.Lock()
	defer p.mu.Unlock()
	brokers := make(map[uint64]protocol.BrokerID, len(p.of))
	for r, peer := range p.of {
		brokers[r] = peer.broker
	}
	return brokers
}

// replicaOn returns the newest replica on a broker: replica IDs grow.
func (p *peers) replicaOn(broker protocol.BrokerID) (replica uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, peer := range p.of {
		if peer.broker == broker && r >= replica {
			replica, ok = r, true
		}
	}
	return replica, ok
}

// other returns a replica that is not self, or self when none is known.
func (p *peers) other(self uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range p.of {
		if r != self {
			return r
		}
	}
	return self
}

// hear notes what a message says of its sender, and reports whether that is a new one. source is the target of the broker that
// sent it, empty if raftnet does not vouch for it.
func (p *peers) hear(m *pb.Message, source string, now time.Time) (learned bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.of[m.From]
	if from == nil {
		broker, ok := raftnet.ParseTarget(source)
		if !ok {
			return false
		}
		from, learned = &peer{broker: broker}, true
		p.of[m.From] = from
	}
	if m.Type != pb.ReplicateResp && m.Type != pb.HeartbeatResp || m.Term < from.term {
		return learned
	}
	if m.Term > from.term {
		from.term, from.match = m.Term, 0 // what it had before may have been cut off
	}
	from.at = now
	if m.Type == pb.ReplicateResp && !m.Reject {
		from.match = max(from.match, m.LogIndex)
	}
	return learned
}

// progress returns what a replica answered the leader of a term.
func (p *peers) progress(replica, term uint64) (match uint64, at time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	peer := p.of[replica]
	if peer == nil || peer.term != term || peer.match == 0 {
		return 0, time.Time{}, false
	}
	return peer.match, peer.at, true
}

// hear notes what a batch of incoming messages says of its senders.
func (n *Node) hear(batch *pb.MessageBatch) {
	var now time.Time
	for i := range batch.Requests {
		m := &batch.Requests[i]
		s, ok := n.shard(m.ShardID)
		if !ok || m.From == 0 {
			continue
		}
		if now.IsZero() {
			now = time.Now()
		}
		if s.peers.hear(m, batch.SourceAddress, now) {
			n.inbox.renew(m.ShardID, m.From)
		}
	}
}

// Progress returns the index up to which a replica, voter or learner, said in this term that it has the log of a shard led
// here, and when it last said anything. ok is false if it has not said, or if this replica does not lead. A replica that is
// alive answers a heartbeat within a few of Raft's ticks.
func (n *Node) Progress(id, replica uint64) (match uint64, at time.Time, ok bool) {
	s, running := n.shard(id)
	if l, _ := n.Leader(id); running && l.Self {
		return s.peers.progress(replica, l.Term)
	}
	return 0, time.Time{}, false
}

// Match is Progress of the newest replica on a broker.
func (n *Node) Match(id uint64, follower protocol.BrokerID) (index uint64, ok bool) {
	s, ok := n.shard(id)
	if !ok {
		return 0, false
	}
	replica, ok := s.peers.replicaOn(follower)
	if !ok {
		return 0, false
	}
	index, _, ok = n.Progress(id, replica)
	return index, ok
}

// LastIndex returns the index of the last entry in the log of a shard's local replica. ok is false if it does not run here.
func (n *Node) LastIndex(id uint64) (index uint64, ok bool) {
	if !n.gate.enter() {
		return 0, false
	}
	defer n.gate.leave()
	r, err := n.nh.GetLogReader(id)
	if err != nil {
		return 0, false
	}
	_, last := r.GetRange()
	return last, true
}

// ReplaysTo returns the index of the last proposal that a shard's local replica knew to be committed when it started, 0 if there
// was none: once its state machine has applied that, it has applied all of them. What else is in a log never reaches a state
// machine. It reads from the log, usually one entry; one that cannot be read counts as a proposal, since it stops Raft as well. ok is
// false if the replica does not run here.
func (n *Node) ReplaysTo(id uint64) (index uint64, ok bool) {
	if !n.gate.enter() {
		return 0, false
	}
	defer n.gate.leave()
	r, err := n.nh.GetLogReader(id)
	if err != nil {
		return 0, false
	}
	state, _ := r.NodeState() // as it was loaded
	for index = state.Commit; ; index-- {
		if s := r.Snapshot(); index <= s.Index { // what a snapshot has is looked for in it
			return s.OnDiskIndex, true
		}
		if e, err := r.Entries(index, index+1, math.MaxUint64); err != nil || len(e) == 0 || e[0].IsUpdateEntry() {
			return index, true
		}
	}
}
