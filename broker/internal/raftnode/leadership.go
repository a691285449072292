package raftnode

import (
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
	l := Leadership{Shard: id, Term: term, Last: s.peers.broker(n.inbox.lastLeader(id))}
	if e, ok := n.inbox.newest(id); ok && e.Term > term { // the event comes a moment before GetLeaderID knows
		l.Term, leader, known = e.Term, e.LeaderID, e.LeaderID != raftio.NoLeader
	}
	if known {
		l.Leader, l.Self = s.peers.broker(leader), leader == s.self
		l.Last = l.Leader
	}
	return l, known
}
