package raftnode

import pb "github.com/lni/dragonboat/v4/raftpb"

// A replica that starts, or was cut off for long, knows no leader, and a leader that once got no answer from it sends it nothing any more but
// heartbeats: for up to a second the shard is a replica short, and should another broker die in that time, without a majority.
// So the one asks and the other answers:
//
//	replica that starts                     others
//	        │──greeting: pre-vote, empty log──▶│   refused, or dropped, by Raft: nobody stands for election with it
//	        │                                  │   whoever leads, of any pre-vote, whoever sent it:
//	        │◀──heartbeat of the leader's term─│
//	        │──its answer──▶ the leader sends what is missing
//
// The heartbeat is one that the leader's Raft may send at any time: it tells of a term that this replica was elected in, and of no commit.
// Either message may be lost, late or repeated: then the next heartbeat of Raft does it.

// greet asks the other replicas of a shard, as far as they are known, for their leader. It must not be called inside the gate.
func (n *Node) greet(id uint64) {
	s, ok := n.shard(id)
	l, known := n.Leader(id)
	if !ok || known {
		return
	}
	for replica, on := range s.peers.all() {
		if replica != s.self {
			m := pb.Message{Type: pb.RequestPreVote, ShardID: s.id, From: s.self, To: replica, Term: l.Term + 1}
			_ = n.send(n.gate.ctx, m, on) // as good as lost
		}
	}
}

// answer sends a heartbeat of the shards led here to whoever asks in a batch who leads. It must not be called inside the gate.
func (n *Node) answer(batch *pb.MessageBatch) {
	for i := range batch.Requests {
		m := &batch.Requests[i]
		if m.Type != pb.RequestPreVote {
			continue
		}
		s, ok := n.shard(m.ShardID)
		if !ok {
			continue
		}
		if l, _ := n.Leader(s.id); l.Self {
			beat := pb.Message{Type: pb.Heartbeat, ShardID: s.id, From: s.self, To: m.From, Term: l.Term}
			if on := s.peers.broker(m.From); on != 0 {
				n.metrics.greeted.Inc()
				_ = n.send(n.gate.ctx, beat, on) // as good as lost
			}
		}
	}
}
