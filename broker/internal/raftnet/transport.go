package raftnet

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/protocol"
)

// noPeer stands for the peer and its lane in the count of what was dropped because its target is not in the book.
const noPeer = "none"

// Factory is for config.NodeHostConfig.Expert.TransportFactory.
func (n *Network) Factory() config.TransportFactory { return factory{n} }

type factory struct{ n *Network }

func (f factory) Create(nh config.NodeHostConfig, h raftio.MessageHandler, c raftio.ChunkHandler) raftio.ITransport {
	return &transport{n: f.n, deployment: nh.GetDeploymentID(), handler: h, chunks: c}
}

// Validate accepts the names of brokers, see Target, and nothing else.
func (f factory) Validate(target string) bool {
	_, ok := ParseTarget(target)
	return ok
}

// transport is the Network as one NodeHost sees it. It gets messages between its Start and its Close.
type transport struct {
	n          *Network
	deployment uint64
	handler    raftio.MessageHandler
	chunks     raftio.ChunkHandler

	mu   sync.RWMutex // held for reading while a handler runs
	open bool
}

var _ raftio.ITransport = (*transport)(nil)

func (t *transport) Name() string { return "trunkline-raftnet" }

// Start begins the hand-over of messages. It is only now that Dragonboat's handlers are ready.
func (t *transport) Start() error {
	t.mu.Lock()
	t.open = true
	t.mu.Unlock()
	if !t.n.transport.CompareAndSwap(nil, t) {
		return errors.New("raftnet: another NodeHost uses this Network")
	}
	t.n.Start()
	return nil
}

// Close ends the hand-over. The Network itself goes on.
func (t *transport) Close() error {
	t.mu.Lock()
	t.open = false
	t.mu.Unlock()
	t.n.transport.CompareAndSwap(t, nil)
	return nil
}

func (t *transport) messages(batch pb.MessageBatch) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.open && len(batch.Requests) > 0 {
		t.handler(batch)
	}
}

// messages hands a batch to the NodeHost, if there is one.
func (n *Network) messages(batch pb.MessageBatch) {
	if t := n.transport.Load(); t != nil {
		t.messages(batch)
	}
}

func (n *Network) chunkIn(chunk pb.Chunk) bool {
	t := n.transport.Load()
	if t == nil {
		return false
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.open && t.chunks(chunk)
}

// Deliver hands messages to the local NodeHost as if a peer had sent them, and drops them if there is none.
// DeploymentId and BinVer are filled in if they are 0.
func (n *Network) Deliver(batch pb.MessageBatch) {
	t := n.transport.Load()
	if t == nil {
		return
	}
	if batch.DeploymentId == 0 {
		batch.DeploymentId = t.deployment
	}
	if batch.BinVer == 0 {
		batch.BinVer = raftio.TransportBinVersion
	}
	t.messages(batch)
}

// GetConnection returns at once: the links to a peer are there whether it is reachable or not. The connection outlives
// its target's place in the book: what is sent while the target is no peer is dropped.
func (t *transport) GetConnection(_ context.Context, target string) (raftio.IConnection, error) {
	id, _ := ParseTarget(target)
	c := &connection{n: t.n, to: id}
	c.notices = newHolder(t.n.cfg.HoldFrom, func(b pb.MessageBatch) {
		if p := c.n.peer(c.to); p != nil {
			c.send(p.links[laneBulk], b.Requests, b)
		}
	})
	return c, nil
}

// connection is what Dragonboat sends batches through. One goroutine uses it.
type connection struct {
	n       *Network
	to      protocol.BrokerID
	notices *holder
	urgent  []pb.Message
	bulk    []pb.Message
}

// Close drops the commit notices that are held. The links stay.
func (c *connection) Close() { c.notices.close() }

// SendMessageBatch queues the batch, heartbeats, votes and answers apart from entries; commit notices may be held back
// for a moment. It never blocks and never fails (Inv1).
func (c *connection) SendMessageBatch(batch pb.MessageBatch) error {
	p := c.n.peer(c.to)
	if p == nil {
		c.n.log.warnOnce(Target(c.to), "messages to a broker that is no peer are dropped", "peer", uint64(c.to))
		c.dropped(nil, batch)
		return nil
	}
	c.urgent, c.bulk = c.urgent[:0], c.bulk[:0]
	for i := range batch.Requests {
		switch m := &batch.Requests[i]; {
		case c.notices.hold(m, &batch):
		case m.Type == pb.Replicate || m.Type == pb.Propose:
			c.bulk = append(c.bulk, *m)
		default:
			c.urgent = append(c.urgent, *m)
		}
	}
	c.send(p.links[laneUrgent], c.urgent, batch)
	c.send(p.links[laneBulk], c.bulk, batch)
	clear(c.urgent) // entries are not kept alive
	clear(c.bulk)
	return nil
}

func (c *connection) send(l *link, msgs []pb.Message, batch pb.MessageBatch) {
	if len(msgs) == 0 {
		return
	}
	batch.Requests = msgs
	if !l.queue.accepts() {
		c.dropped(l, batch)
		return
	}
	size := batch.Size()
	if size > maxRaftFrame {
		c.n.log.warn("message batch is too long, dropped", "peer", uint64(c.to), "bytes", size)
		c.dropped(l, batch)
		return
	}
	b := getBuffer(frameHeader + size)
	k, err := batch.MarshalTo(b[frameHeader:])
	if err != nil {
		c.n.log.warn("message batch cannot be encoded, dropped", "peer", uint64(c.to), "err", err.Error())
		putBuffer(b)
		c.dropped(l, batch)
		return
	}
	putHeader(b, frameMessages, k)
	if !l.queue.put(b[:frameHeader+k], idle(msgs)) {
		c.dropped(l, batch)
	}
}

// idle reports whether the messages are heartbeats that nobody waits for. One with a hint confirms a read.
func idle(msgs []pb.Message) bool {
	for i := range msgs {
		m := &msgs[i]
		if m.Type != pb.Heartbeat && m.Type != pb.HeartbeatResp || m.Hint != 0 {
			return false
		}
	}
	return true
}

// dropped counts, and tells the leaders among the senders that their follower was unreachable: without that they
// would go on streaming entries to it, each to be dropped again. l is nil if the target is no peer.
func (c *connection) dropped(l *link, batch pb.MessageBatch) {
	peer, lane := noPeer, noPeer
	if l != nil {
		peer, lane = label(c.to), l.lane.String()
	}
	c.n.met.dropped.WithLabelValues(peer, lane).Add(float64(len(batch.Requests)))
	told := make(map[[2]uint64]bool)
	var tell []pb.Message
	for _, m := range batch.Requests {
		if key := [2]uint64{m.ShardID, m.To}; m.Type == pb.Replicate && !told[key] {
			told[key] = true
			tell = append(tell, pb.Message{Type: pb.Unreachable, ShardID: m.ShardID, From: m.To, To: m.From})
		}
	}
	if len(tell) > 0 {
		c.n.messages(pb.MessageBatch{Requests: tell, DeploymentId: batch.DeploymentId, BinVer: batch.BinVer})
	}
}

// GetSnapshotConnection dials a connection for one stream of chunks. Errors are honest here: a stream that cannot
// go on must end.
func (t *transport) GetSnapshotConnection(ctx context.Context, target string) (raftio.ISnapshotConnection, error) {
	id, _ := ParseTarget(target)
	p := t.n.peer(id)
	if p == nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownPeer, target)
	}
	return t.n.dialSnapshot(ctx, p)
}
