package raftnode

import (
	"sync"
	"sync/atomic"

	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/protocol"
)

// progress remembers how much of the log each follower of a shard led here said it has. One entry for each follower
// that ever answered, until the shard stops here. Safe for concurrent use.
type progress struct {
	matches sync.Map // watched -> *atomic.Uint64
}

// see notes what a batch of incoming messages says.
func (p *progress) see(batch *pb.MessageBatch) {
	for i := range batch.Requests {
		m := &batch.Requests[i]
		if m.Type != pb.ReplicateResp || m.Reject {
			continue
		}
		key := watched{m.ShardID, m.From}
		v, ok := p.matches.Load(key)
		if !ok {
			v, _ = p.matches.LoadOrStore(key, new(atomic.Uint64))
		}
		v.(*atomic.Uint64).Store(m.LogIndex)
	}
}

// forget drops the followers of a shard.
func (p *progress) forget(s *shard) {
	for replica := range s.brokers {
		p.matches.Delete(watched{s.id, replica})
	}
}

// Match returns the index up to which a follower said that it has the log of a shard led here. ok is false if it has not
// answered yet.
func (n *Node) Match(id uint64, follower protocol.BrokerID) (index uint64, ok bool) {
	s, ok := n.shard(id)
	if !ok {
		return 0, false
	}
	replica, _ := s.replicaOf(follower)
	v, ok := n.progress.matches.Load(watched{id, replica})
	if !ok {
		return 0, false
	}
	return v.(*atomic.Uint64).Load(), true
}
