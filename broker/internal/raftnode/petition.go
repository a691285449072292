package raftnode

import (
	"sync"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/protocol"
)

// petitionWindow is how long the answers to a petition count: one that takes longer tells of the past.
const petitionWindow = time.Second

// petitions are the elections that local replicas want to begin and ask others for first. An election that nobody needs costs a leader
// its term, and everybody the time until there is the next one, so whoever cannot know that there is no leader sends a pre-vote of
// Raft: a leader answers it with a heartbeat (Node.answer), others that know one not at all, and one whose log is longer refuses it.
// Raft's own pre-votes come with its own timers only.
//
//	idle ──Petition, refused──▶ open ──enough grants──▶ the replica stands (Node.standing)
//	                             └────petitionWindow, a newer petition, the replica's stop──▶ idle
//
// A request or an answer that is lost costs nothing: whoever wanted the election asks again, or Raft's timers do.
//
// Memory: one petition a shard, with one entry for each replica that grants it. Safe for concurrent use.
type petitions struct {
	mu   sync.Mutex
	open map[uint64]*petition // by shard; guarded by mu
}

// petition asks for an election in the term after term.
type petition struct {
	term   uint64
	need   int             // grants of others
	grants map[uint64]bool // by replica
	until  time.Time
}

func newPetitions() *petitions { return &petitions{open: map[uint64]*petition{}} }

// begin opens a petition in place of an older one of its shard.
func (p *petitions) begin(shard, term uint64, need int, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[shard] = &petition{term: term, need: need, grants: map[uint64]bool{}, until: now.Add(petitionWindow)}
}

// granted is a petition that enough others agreed to.
type granted struct{ shard, term uint64 }

// received counts the grants among the messages of a batch and returns the petitions that have enough now.
func (p *petitions) received(batch *pb.MessageBatch) (due []granted) {
	for i := range batch.Requests {
		m := &batch.Requests[i]
		if m.Type == pb.RequestPreVoteResp && !m.Reject && p.count(m, time.Now()) {
			due = append(due, granted{m.ShardID, m.Term - 1})
		}
	}
	return due
}

// count takes a grant and reports whether it is the last one that was needed.
func (p *petitions) count(m *pb.Message, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.open[m.ShardID]
	if o == nil || m.Term != o.term+1 || now.After(o.until) {
		return false
	}
	o.grants[m.From] = true
	if len(o.grants) < o.need {
		return false
	}
	delete(p.open, m.ShardID)
	return true
}

func (p *petitions) forget(shard uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, shard)
}

// Petition makes the local replica of a shard stand for election if a majority of the voters, which are on these brokers, knows no leader and
// lacks nothing that it has. It returns at once and promises nothing: whoever still wants an election later asks again. With a leader
// known here, and on a learner, it does nothing.
func (n *Node) Petition(id uint64, voters []protocol.BrokerID) {
	s, ok := n.shard(id)
	if !ok {
		return
	}
	l, known := n.Leader(id)
	if known || l.Term <= firstTerm {
		return
	}
	var others []uint64
	for _, b := range voters {
		if r, ok := s.peers.replicaOn(b); ok && r != s.self {
			others = append(others, r)
		}
	}
	n.petition(s, l.Term, others, len(voters)/2)
}

// refused asks the candidate that the local replica refused its vote in a term whether it could stand in its place. A candidate that was
// elected without that vote does not answer: its request had waited on the way, or for this replica to start.
func (n *Node) refused(id, term, candidate uint64) {
	if s, ok := n.shard(id); ok {
		n.petition(s, term, []uint64{candidate}, 1)
	}
}

// petition asks the replicas for an election in the term after term, which needs so many of them.
func (n *Node) petition(s *shard, term uint64, of []uint64, need int) {
	end, ok := n.logEnd(s.id)
	if !ok || s.learner.Load() || len(of) < need {
		return
	}
	n.metrics.petitions.Inc()
	n.petitions.begin(s.id, term, need, time.Now())
	for _, r := range of {
		m := pb.Message{
			Type: pb.RequestPreVote, ShardID: s.id, From: s.self, To: r, Term: term + 1, LogIndex: end.index, LogTerm: end.term,
		}
		if b := s.peers.broker(r); b != 0 {
			_ = n.send(n.gate.ctx, m, b) // as good as lost
		}
	}
}

// standing returns the messages that make the local replica a candidate of the term after term. They are none if somebody leads by now, or
// the term is over. It must not be called inside the gate.
func (n *Node) standing(id, term uint64) []pb.Message {
	if l, known := n.Leader(id); known || l.Term != term || n.isLearner(id) {
		return nil
	}
	n.metrics.granted.Inc()
	if !n.ballots.stands(id, term) {
		n.campaigns.begin(id, term, time.Now())
		return []pb.Message{n.timeoutNow(id, term)}
	}
	n.campaigns.begin(id, term+1, time.Now())
	return []pb.Message{n.stepDown(id, term+1), n.timeoutNow(id, term+1)}
}

// logEnd returns the last entry of the log of a shard's local replica.
func (n *Node) logEnd(id uint64) (end logEnd, ok bool) {
	if !n.gate.enter() {
		return logEnd{}, false
	}
	defer n.gate.leave()
	log, err := n.nh.GetLogReader(id)
	if err != nil {
		return logEnd{}, false
	}
	_, end.index = log.GetRange()
	end.term, err = log.Term(end.index)
	return end, err == nil
}
