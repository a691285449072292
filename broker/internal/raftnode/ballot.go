package raftnode

import (
	"context"
	"sync"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

// ballots watches the votes that local replicas ask for, give and refuse, and has a replica offer to stand for election at once when
// its refusal shows that it must: if nobody else's vote makes whoever asked the leader, it would be given up only after
// the time of an election (package liveness). Without that, a candidate whose log is too short, or two that voted for themselves
// in the same term, cost a shard several hundred milliseconds without a leader. Whether the candidate was elected all the same the
// candidate is asked itself (petitions): a request for votes that waited for a broker to start may be older than a leader.
//
// Two replicas never both stand against each other for the same refusal:
//
//	Inv  A offers to stand against B  =>  (last term, last index, -replica) of A > that of B
//
// Raft itself refuses votes only for a longer log, or a vote given before, which are told apart by what was sent before. A vote
// from before a restart is not known: then an election may be begun for nothing, which costs time and never safety. Raft is deaf to requests of a lower term, and a leader that is known in the term ends the matter.
//
// Memory: one ballot a shard, with one entry for each of its candidates, until the shard stops here. Safe for concurrent use.
type ballots struct {
	refused func(shard, term, candidate uint64) // must not block

	mu sync.Mutex
	of map[uint64]*ballot // guarded by mu
}

// ballot is what is known of the highest term in which somebody asked for the votes of a shard.
type ballot struct {
	term    uint64
	self    logEnd            // of the local replica, if it is a candidate
	stands  bool              // the local replica is a candidate
	granted bool              // it voted for another one
	done    bool              // it offered to stand against a candidate of this term
	others  map[uint64]logEnd // of the other candidates, by replica
}

// logEnd is the last entry of a log, as a candidate names it.
type logEnd struct{ term, index uint64 }

func (e logEnd) after(o logEnd) bool { return e.term > o.term || e.term == o.term && e.index > o.index }

func newBallots(refused func(shard, term, candidate uint64)) *ballots {
	return &ballots{refused: refused, of: map[uint64]*ballot{}}
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
		b.mu.Unlock()
		if must {
			b.refused(m.ShardID, m.Term, m.To)
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

// mustStand reports, once a term, that the local replica, which refuses a candidate its vote, has to offer to stand in its place.
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

// stands reports whether the local replica of a shard is, or was, a candidate of a term.
func (b *ballots) stands(shard, term uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.of[shard]
	return t != nil && t.term == term && t.stands
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
