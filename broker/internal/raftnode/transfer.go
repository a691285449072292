package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// transferMatch bounds how long a transfer waits for its target to show that it has the whole log, the second time.
	transferMatch = time.Second
	// transferEvery is how often the target is told to stand for election, transferWindow for how long: it ignores that
	// while it has not applied all it knows to be committed. That is what brokers need that are near each other; two round trips
	// come on top of it. transferLook is how often the outcome is looked at.
	transferEvery  = 20 * time.Millisecond
	transferWindow = 500 * time.Millisecond
	transferLook   = 2 * time.Millisecond
	// heirLimit bounds how long the new leader is awaited.
	heirLimit = 5 * time.Second
)

// Errors of Transfer, which change nothing.
var (
	ErrNotLeader = errors.New("this replica does not lead")
	ErrLearner   = errors.New("that replica has no vote")
)

// Handover is the part of its caller in a transfer.
type Handover struct {
	// Barrier proposes a command without effect, waits for it and returns its index in the log, or a higher one that was
	// applied.
	Barrier func(context.Context) (index uint64, err error)
	// Silence returns when nothing is outstanding and nothing will be proposed, but for the barrier. The caller ends the
	// silence when Transfer returns.
	Silence func(context.Context) error
	// Silent is how long the silence may last until the target is told; 0: as long as the context. It does not begin while a
	// barrier takes more than half of that: those who publish would wait for several.
	Silent time.Duration
}

// Transfer hands the leadership of a shard led here to the replica on another broker and returns when the term is
// over and somebody leads, or ctx ends. With an empty Handover it only asks Dragonboat to transfer, and returns at once.
//
// Dragonboat's own transfer makes the leader refuse all proposals for an election timeout, and tells the target once; a
// target that has not applied the last entry yet ignores it, so that a hand-over costs two seconds of writes every now
// and then. So we do it ourselves: the target's answer to a barrier shows that it has the log; then the caller falls
// silent, a second barrier shows that the target has all of it, and it gets the TimeoutNow of a transfer until it
// stands for election. Failing before that costs nothing: this replica leads on. A target that lacked entries would lose
// the election and cost everybody their leader; that is why it is waited for, and at first without silence. Once the
// target is told it cannot be told otherwise, so the outcome is awaited even if ctx ends, for as long as the way takes.
func (n *Node) Transfer(ctx context.Context, id uint64, to protocol.BrokerID, h Handover) error {
	s, ok := n.shard(id)
	if !ok || !n.gate.enter() {
		return ErrStopped
	}
	n.gate.leave() // not held while waiting
	replica, ok := s.peers.replicaOn(to)
	l, _ := n.Leader(id)
	switch {
	case !ok:
		return fmt.Errorf("raftnode: transfer shard %d to broker %d: %w", id, to, ErrUnknown)
	case !l.Self:
		return fmt.Errorf("raftnode: transfer shard %d: %w", id, ErrNotLeader)
	case replica == s.self:
		return nil
	case !n.votes(id, replica):
		return fmt.Errorf("raftnode: transfer shard %d to broker %d: %w", id, to, ErrLearner)
	case h.Barrier == nil:
		return n.requestTransfer(id, replica)
	}
	waiting, done := n.gate.bound(ctx)
	defer done()
	way, err := n.follow(waiting, watched{id, replica}, h)
	if err == nil {
		told, done := n.gate.bound(context.WithoutCancel(ctx))
		defer done()
		m := pb.Message{Type: pb.TimeoutNow, ShardID: id, From: s.self, To: replica, Term: l.Term}
		if err = n.press(told, m, to, transferWindow+2*way); err == nil {
			n.awaitHeir(told, id, l.Term)
			return nil
		}
	}
	return fmt.Errorf("raftnode: transfer shard %d to broker %d: %w", id, to, err)
}

// awaitHeir returns when somebody leads after a term, after heirLimit, or when ctx ends. A target that dies while it stands has cost this
// leader its term, and nobody died who led: package liveness lets who has led last stand again.
func (n *Node) awaitHeir(ctx context.Context, id, term uint64) {
	ctx, cancel := context.WithTimeout(ctx, heirLimit)
	defer cancel()
	look := time.NewTicker(transferLook)
	defer look.Stop()
	for {
		if l, known := n.Leader(id); known && l.Term > term {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// follow returns when the caller is silent and the target has everything, and how long the target took to show that: a round trip to it
// and what the brokers have to do besides.
func (n *Node) follow(ctx context.Context, target watched, h Handover) (way time.Duration, err error) {
	w := n.tap.watch(target)
	defer n.tap.unwatch(w)
	show := func(ctx context.Context) error {
		begun := time.Now()
		index, err := h.Barrier(ctx)
		if err != nil {
			return fmt.Errorf("barrier: %w", err)
		}
		err = w.await(ctx, index)
		way = time.Since(begun)
		return err
	}
	for {
		if err := show(ctx); err != nil {
			return way, err
		}
		if h.Silent == 0 || way <= h.Silent/2 {
			break
		}
	}
	silent := ctx
	if h.Silent > 0 {
		var cancel context.CancelFunc
		silent, cancel = context.WithTimeout(ctx, h.Silent)
		defer cancel()
	}
	if err := h.Silence(silent); err != nil {
		return way, fmt.Errorf("silence: %w", err)
	}
	silent, cancel := context.WithTimeout(silent, transferMatch)
	defer cancel()
	err = show(silent)
	return way, err
}

func (n *Node) requestTransfer(id, replica uint64) error {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	if err := n.nh.RequestLeaderTransfer(id, replica); err != nil {
		return fmt.Errorf("raftnode: transfer shard %d: %w", id, refusal(err))
	}
	return nil
}

// press sends m until the term it bears is over, at most for the window.
func (n *Node) press(ctx context.Context, m pb.Message, to protocol.BrokerID, window time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	look := time.NewTicker(transferLook)
	defer look.Stop()
	for i := 0; ; i++ {
		if i%int(transferEvery/transferLook) == 0 {
			if err := n.send(ctx, m, to); err != nil {
				return err
			}
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fmt.Errorf("it did not stand for election: %w", ctx.Err())
		}
		if l, known := n.Leader(m.ShardID); l.Term != m.Term || known && !l.Self {
			return nil
		}
	}
}

// send gives one message to the transport, which does not block.
func (n *Node) send(ctx context.Context, m pb.Message, to protocol.BrokerID) error {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	conn, err := n.tap.transport.GetConnection(ctx, raftnet.Target(to))
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.SendMessageBatch(pb.MessageBatch{
		Requests: []pb.Message{m}, DeploymentId: n.cfg.ClusterID, SourceAddress: raftnet.Target(n.cfg.Self),
		BinVer: raftio.TransportBinVersion,
	})
}

// tap sees the messages that arrive for the NodeHost, and holds the transport to send one. While nothing is watched it
// costs one atomic load per batch of messages.
type tap struct {
	transport raftio.ITransport // set before NewNodeHost returns
	active    atomic.Int32      // len(watches)

	mu      sync.Mutex
	watches map[watched]*watch // guarded by mu
}

// watched is a follower of a shard led here.
type watched struct{ shard, replica uint64 }

// watch knows how much of the log a follower has, from what it answered since the watch began.
type watch struct {
	of    watched
	news  chan struct{} // has a token after match grew
	match atomic.Uint64
}

// tapFactory puts a tap between the network and the NodeHost, and those who look at all messages.
type tapFactory struct {
	config.TransportFactory
	node *Node
}

// Create implements config.TransportFactory.
func (f tapFactory) Create(cfg config.NodeHostConfig, h raftio.MessageHandler,
	c raftio.ChunkHandler) raftio.ITransport {
	handler := func(batch pb.MessageBatch) {
		f.node.hear(&batch)
		f.node.ballots.received(&batch)
		if f.node.tap.active.Load() > 0 {
			f.node.tap.see(batch)
		}
		due := f.node.petitions.received(&batch)
		h(batch)
		f.node.answer(&batch)
		for _, g := range due {
			if own := f.node.ownBatch(f.node.standing(g.shard, g.term)); len(own.Requests) > 0 {
				h(own)
			}
		}
	}
	f.node.tap.transport = votingTransport{f.TransportFactory.Create(cfg, handler, c), f.node.ballots}
	return f.node.tap.transport
}

func (t *tap) see(batch pb.MessageBatch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range batch.Requests {
		m := &batch.Requests[i]
		if m.Type != pb.ReplicateResp || m.Reject {
			continue
		}
		if w := t.watches[watched{m.ShardID, m.From}]; w != nil && m.LogIndex > w.match.Load() {
			w.match.Store(m.LogIndex)
			select {
			case w.news <- struct{}{}:
			default:
			}
		}
	}
}

// watch begins to watch a follower. Of two watches of the same one the later counts.
func (t *tap) watch(of watched) *watch {
	w := &watch{of: of, news: make(chan struct{}, 1)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watches[of] = w
	t.active.Store(int32(len(t.watches)))
	return w
}

func (t *tap) unwatch(w *watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.watches[w.of] == w {
		delete(t.watches, w.of)
	}
	t.active.Store(int32(len(t.watches)))
}

// await waits until the follower is known to have everything up to index.
func (w *watch) await(ctx context.Context, index uint64) error {
	for w.match.Load() < index {
		select {
		case <-w.news:
		case <-ctx.Done():
			return fmt.Errorf("it lags, has %d of %d: %w", w.match.Load(), index, ctx.Err())
		}
	}
	return nil
}
