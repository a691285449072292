package raftnode

import (
	"context"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// ballots watches the votes that local replicas ask for, give and refuse, and has a replica stand for election at once when
// its refusal shows that it must: whoever asked cannot win while this replica refuses it, and would be given up only after
// the time of an election (package liveness). Without that, a candidate whose log is too short, or two that voted for themselves
// in the same term, cost a shard several hundred milliseconds without a leader.
//
// Two replicas never both stand against each other for the same refusal:
//
//	Inv  A stands against B  =>  (last term, last index, -replica) of A > that of B
//
// Raft itself refuses votes only for a longer log, or a vote given before, which are told apart by what was sent before. A vote
// from before a restart is not known: then an election may be begun for nothing, which costs time and never safety. Raft is deaf to requests of a lower term, and a leader that is known in the term ends the matter.
//
// Memory: one ballot a shard, with one entry for each of its candidates, until the shard stops here. Safe for concurrent use.
type ballots struct {
	stand func(shard, term uint64, candidate bool) // must not block

	mu sync.Mutex
	of map[uint64]*ballot // guarded by mu
}

// ballot is what is known of the highest term in which somebody asked for the votes of a shard.
type ballot struct {
	term    uint64
	self    logEnd            // of the local replica, if it is a candidate
	stands  bool              // the local replica is a candidate
	granted bool              // it voted for another one
	done    bool              // it was told to stand against a candidate of this term
	others  map[uint64]logEnd // of the other candidates, by replica
}

// logEnd is the last entry of a log, as a candidate names it.
type logEnd struct{ term, index uint64 }

func (e logEnd) after(o logEnd) bool { return e.term > o.term || e.term == o.term && e.index > o.index }

func newBallots(stand func(shard, term uint64, candidate bool)) *ballots {
	return &ballots{stand: stand, of: map[uint64]*ballot{}}
}

// received notes the requests for votes among the messages of a batch.
func (b *ballots) received(batch *pb.MessageBatch) {
	for i := range batch.Requests {
		if m := &batch.Requests[i]; m.Type == pb.RequestVote {
			b.mu.Lock()
			if t := b.at(m); t != nil {
				t.others[m.From] = logEnd{m.LogTerm, m.LogIndex}
			}
			b.mu.Unlock()
		}
	}
}

// sent notes the requests for votes and the votes among the messages of a batch.
func (b *ballots) sent(batch *pb.MessageBatch) {
	for i := range batch.Requests {
		m := &batch.Requests[i]
		if m.Type != pb.RequestVote && m.Type != pb.RequestVoteResp {
			continue
		}
		b.mu.Lock()
		t := b.at(m)
		switch {
		case t == nil:
		case m.Type == pb.RequestVote:
			t.stands, t.self = true, logEnd{m.LogTerm, m.LogIndex}
		case !m.Reject:
			t.granted = true
		}
		must := t != nil && m.Type == pb.RequestVoteResp && m.Reject && t.mustStand(m.From, m.To)
		candidate := must && t.stands
		b.mu.Unlock()
		if must {
			b.stand(m.ShardID, m.Term, candidate)
		}
	}
}

// at returns the ballot of a message's term, nil if a higher one is known. Called with mu held.
func (b *ballots) at(m *pb.Message) *ballot {
	t := b.of[m.ShardID]
	if t == nil || t.term < m.Term {
		t = &ballot{term: m.Term, others: map[uint64]logEnd{}}
		b.of[m.ShardID] = t
	}
	if t.term > m.Term {
		return nil
	}
	return t
}

// mustStand reports, once a term, that the refusal of a candidate's request makes the local replica stand.
func (t *ballot) mustStand(self, candidate uint64) bool {
	if t.granted || t.done {
		return false
	}
	if other, known := t.others[candidate]; t.stands {
		t.done = known && (t.self.after(other) || t.self == other && self < candidate)
	} else {
		t.done = known // its log is shorter, as no vote was given before
	}
	return t.done
}

func (b *ballots) forget(shard uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, shard)
}

// stand makes the local replica a candidate of the next term because it refused somebody its vote in this one.
func (n *Node) stand(id, term uint64, candidate bool) {
	if l, known := n.Leader(id); known || l.Term != term || n.isLearner(id) {
		return
	}
	n.metrics.stood.Inc()
	if !candidate {
		n.campaigns.begin(id, term, time.Now())
		n.deliver([]pb.Message{n.timeoutNow(id, term)})
		return
	}
	n.campaigns.begin(id, term+1, time.Now())
	n.deliver([]pb.Message{n.stepDown(id, term+1), n.timeoutNow(id, term+1)})
}

// votingTransport shows ballots what is sent.
type votingTransport struct {
	raftio.ITransport
	ballots *ballots
}

// GetConnection implements raftio.ITransport.
func (t votingTransport) GetConnection(ctx context.Context, target string) (raftio.IConnection, error) {
	c, err := t.ITransport.GetConnection(ctx, target)
	if err != nil {
		return nil, err
	}
	return votingConnection{c, t.ballots}, nil
}

type votingConnection struct {
	raftio.IConnection
	ballots *ballots
}

// SendMessageBatch implements raftio.IConnection.
func (c votingConnection) SendMessageBatch(batch pb.MessageBatch) error {
	c.ballots.sent(&batch)
	return c.IConnection.SendMessageBatch(batch)
}
