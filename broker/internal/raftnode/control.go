package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
)

const (
	// campaignEvery is how often a campaign that Dragonboat skipped is tried again, campaignWindow how long.
	// package liveness calls Campaign again about every 100 ms for as long as it wants one.
	campaignEvery  = 10 * time.Millisecond
	campaignWindow = 95 * time.Millisecond
	// campaignPatience is how long the local replica may ignore a campaign before it is taken for a candidate that lost.
	campaignPatience = 30 * time.Millisecond
	// firstTerm is the term of a shard that was bootstrapped: nobody was a candidate in it.
	firstTerm = 1
	// compactTimeout bounds one snapshot.
	compactTimeout = 2 * time.Minute
)

// ErrNothingToCompact is returned by Compact when a snapshot holds what is to be dropped and nothing was applied since.
var ErrNothingToCompact = errors.New("nothing to compact")

// Campaign makes the local replica of a shard stand for election now, without a pre-vote and disregarding the vote
// lease: call it only when it is agreed that the leader is gone. It returns at once; see the package comment. On a learner it
// does nothing.
func (n *Node) Campaign(id uint64) {
	l, known := n.Leader(id)
	if known && l.Self || n.isLearner(id) {
		return
	}
	if n.campaigns.begin(id, l.Term, time.Now()) {
		n.metrics.campaigns.Inc()
		n.deliver([]pb.Message{n.timeoutNow(id, l.Term)})
	}
}

// campaign repeats the open campaigns until Close.
func (n *Node) campaign() {
	defer n.wg.Done()
	tick := time.NewTicker(campaignEvery)
	tick.Stop()
	for {
		select {
		case <-n.stop:
			return
		case <-n.campaigns.ready:
			tick.Reset(campaignEvery)
		case now := <-tick.C:
			msgs := n.repeats(now)
			n.deliver(msgs)
			if n.campaigns.empty() {
				tick.Stop()
			}
		}
	}
}

// repeats ends the campaigns that are decided or over and returns messages for the others.
func (n *Node) repeats(now time.Time) []pb.Message {
	var msgs []pb.Message
	for id, c := range n.campaigns.copy() {
		l, known := n.Leader(id)
		if known && l.Self || l.Term != c.term || now.After(c.until) {
			n.campaigns.end(id)
			continue
		}
		if l.Leader == 0 && l.Term > firstTerm && now.Sub(c.begun) > campaignPatience {
			msgs = append(msgs, n.stepDown(id, c.term+1), n.timeoutNow(id, c.term+1))
			continue
		}
		msgs = append(msgs, n.timeoutNow(id, c.term))
	}
	return msgs
}

// stepDown is the message that makes a candidate of the term before a follower again. A candidate is deaf to
// TimeoutNow: after a split vote with the third replica dead, both others would wait for an election timeout, which is
// seconds. To Raft it is a message of somebody who was a candidate of that term; terms may be skipped.
func (n *Node) stepDown(id, term uint64) pb.Message {
	m := n.timeoutNow(id, term)
	m.Type = pb.NoOP
	return m
}

// timeoutNow is the message that the leader of term would send to the local replica. It bears the name of another
// member: should the term be over, the replica answers with its own term to the sender, which must not be itself.
func (n *Node) timeoutNow(id, term uint64) pb.Message {
	s, ok := n.shard(id)
	if !ok {
		return pb.Message{}
	}
	m := pb.Message{Type: pb.TimeoutNow, ShardID: id, To: s.self, From: s.peers.other(s.self), Term: term}
	if e, ok := n.inbox.newest(id); ok && e.LeaderID != raftio.NoLeader && e.LeaderID != s.self {
		m.From = e.LeaderID
	}
	return m
}

// ownBatch is a batch of messages for the local NodeHost, without those to no replica. SourceAddress stays empty: with one, Dragonboat
// would learn it as the address of the sender.
func (n *Node) ownBatch(msgs []pb.Message) pb.MessageBatch {
	batch := pb.MessageBatch{DeploymentId: n.cfg.ClusterID, BinVer: raftio.TransportBinVersion}
	for _, m := range msgs {
		if m.To != 0 {
			batch.Requests = append(batch.Requests, m)
		}
	}
	return batch
}

// deliver feeds messages to the local NodeHost.
func (n *Node) deliver(msgs []pb.Message) {
	batch := n.ownBatch(msgs)
	if len(batch.Requests) == 0 || !n.gate.enter() {
		return
	}
	defer n.gate.leave()
	n.cfg.Net.Deliver(batch)
}

// Compact syncs the local state machine of a shard and drops its log entries below keepFrom. At most
// Config.CompactWorkers run at a time, the others wait. It fails with ErrBusy while a snapshot that was asked for before, and not
// waited for to the end, is under way.
func (n *Node) Compact(ctx context.Context, id, keepFrom uint64) error {
	ctx, done := n.gate.bound(ctx)
	defer done()
	select {
	case n.compact <- struct{}{}:
		defer func() { <-n.compact }()
	case <-ctx.Done():
		return fmt.Errorf("raftnode: compact shard %d: %w", id, ctx.Err())
	}
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	keepFrom = max(keepFrom, 2)
	// CompactionIndex is the last entry dropped; 0 would mean all of them.
	opt := dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionIndex: keepFrom - 1}
	rs, err := n.nh.RequestSnapshot(id, opt, compactTimeout)
	if err != nil {
		return fmt.Errorf("raftnode: compact shard %d: %w", id, refusal(err))
	}
	begun := time.Now()
	select {
	case r := <-rs.AppliedC():
		switch {
		case r.Completed():
			n.metrics.compacted(time.Since(begun))
			return nil
		case r.Rejected():
			return fmt.Errorf("raftnode: compact shard %d: %w", id, n.ignored(id, keepFrom))
		}
		return fmt.Errorf("raftnode: compact shard %d: snapshot did not complete", id)
	case <-ctx.Done():
		return fmt.Errorf("raftnode: compact shard %d: %w", id, ctx.Err())
	}
}

// ignored returns why Dragonboat ignored the request for a snapshot with which the entries below keepFrom were to be dropped. It
// ignores one when nothing was applied since the last request, done or not, and one while another is under way.
func (n *Node) ignored(id, keepFrom uint64) error {
	log, err := n.nh.GetLogReader(id)
	if err != nil {
		return refusal(err)
	}
	if log.Snapshot().Index < keepFrom {
		return fmt.Errorf("an earlier snapshot is under way or failed: %w", ErrBusy)
	}
	return ErrNothingToCompact
}

// ForgetBeginning drops the first entry of the log of a shard's local replica, if it is still there, and nothing else. A replica that begins
// with nothing is then sent a snapshot, whose speed is bounded (Net), and only what comes after it from the log, whose speed is not:
// what others write does not wait behind it. It takes a sync of the state machine, the first time.
func (n *Node) ForgetBeginning(ctx context.Context, id uint64) error {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	log, err := n.nh.GetLogReader(id)
	if err != nil {
		return fmt.Errorf("raftnode: log of shard %d: %w", id, refusal(err))
	}
	if first, _ := log.GetRange(); first > 1 {
		return nil
	}
	err = n.Compact(ctx, id, 2)
	if errors.Is(err, ErrNothingToCompact) {
		return nil
	}
	return err
}

// open is one campaign.
type open struct {
	term  uint64 // the term it wants to end
	begun time.Time
	until time.Time
}

// campaigns holds the open campaigns, one per shard at most.
type campaigns struct {
	ready chan struct{} // has a token after a campaign began

	mu   sync.Mutex
	open map[uint64]open // guarded by mu
}

func newCampaigns() *campaigns {
	return &campaigns{ready: make(chan struct{}, 1), open: map[uint64]open{}}
}

// begin opens a campaign and reports whether its first message is due: one that is open goes on.
func (c *campaigns) begin(id, term uint64, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.open[id]
	begun := now
	if ok && old.term == term {
		begun = old.begun
	}
	c.open[id] = open{term: term, begun: begun, until: now.Add(campaignWindow)}
	select {
	case c.ready <- struct{}{}:
	default:
	}
	return !ok || old.term != term
}

func (c *campaigns) end(id uint64) {
	c.mu.Lock()
	delete(c.open, id)
	c.mu.Unlock()
}

func (c *campaigns) empty() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open) == 0
}

func (c *campaigns) copy() map[uint64]open {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[uint64]open, len(c.open))
	for id, o := range c.open {
		out[id] = o
	}
	return out
}
