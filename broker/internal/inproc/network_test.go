package inproc

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// linkQueue bounds the batches under way on a link.
const linkQueue = 4096

var errCut = errors.New("inproc: the link is cut")

// weather is what a link does to what is sent on it. The zero value delivers at once.
type weather struct {
	cut    bool
	hold   bool    // nothing arrives until it ends; then all of it does
	loss   float64 // share of the batches
	delay  time.Duration
	jitter time.Duration // more delay, drawn for each batch; order is kept
}

// direction names a link.
type direction struct{ from, to protocol.BrokerID }

// network carries Raft messages between the brokers of one cluster.
type network struct {
	links map[direction]*link

	mu    sync.RWMutex
	ports map[string]*port // of running lives, by target; guarded by mu
	stop  chan struct{}
	wg    sync.WaitGroup
}

// link is one direction between two brokers, with a goroutine that delivers.
type link struct {
	n     *network
	to    string
	queue chan parcel

	mu      sync.Mutex
	now     weather
	changed chan struct{} // closed with each change of now
	random  *rand.Rand
	lost    int // batches
}

type parcel struct {
	due  time.Time
	body []byte
}

func newNetwork(ids []protocol.BrokerID, seed uint64) *network {
	n := &network{links: map[direction]*link{}, ports: map[string]*port{}, stop: make(chan struct{})}
	for _, from := range ids {
		for _, to := range ids {
			if from == to {
				continue
			}
			l := &link{
				n: n, to: raftnet.Target(to), queue: make(chan parcel, linkQueue), changed: make(chan struct{}),
				random: rand.New(rand.NewPCG(seed, uint64(from)<<8|uint64(to))),
			}
			n.links[direction{from, to}] = l
			n.wg.Go(l.run)
		}
	}
	return n
}

func (n *network) close() {
	close(n.stop)
	n.wg.Wait()
}

// set changes the weather of links.
func (n *network) set(w weather, links ...direction) {
	for _, d := range links {
		l := n.links[d]
		l.mu.Lock()
		l.now = w
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
	}
}

func (n *network) all() []direction {
	var out []direction
	for d := range n.links {
		out = append(out, d)
	}
	return out
}

// into and outOf are the links to and from a broker.
func (n *network) into(id protocol.BrokerID) []direction {
	return n.where(func(d direction) bool { return d.to == id })
}

func (n *network) outOf(id protocol.BrokerID) []direction {
	return n.where(func(d direction) bool { return d.from == id })
}

func (n *network) where(ok func(direction) bool) (out []direction) {
	for d := range n.links {
		if ok(d) {
			out = append(out, d)
		}
	}
	return out
}

func (n *network) lost(links []direction) (sum int) {
	for _, d := range links {
		l := n.links[d]
		l.mu.Lock()
		sum += l.lost
		l.mu.Unlock()
	}
	return sum
}

func (n *network) port(addr string) *port {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.ports[addr]
}

func (l *link) send(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := parcel{due: time.Now().Add(l.now.delay), body: body}
	if l.now.jitter > 0 {
		p.due = p.due.Add(time.Duration(l.random.Int64N(int64(l.now.jitter))))
	}
	if l.now.cut || l.random.Float64() < l.now.loss {
		l.lost++
		return
	}
	select {
	case l.queue <- p:
	default:
		l.lost++
	}
}

func (l *link) run() {
	for {
		select {
		case <-l.n.stop:
			return
		case p := <-l.queue:
			if !l.await(p.due) {
				return
			}
			if to := l.n.port(l.to); to != nil {
				to.receive(p.body)
			}
		}
	}
}

// await waits until a batch is due and nothing is held; false if the network was closed.
func (l *link) await(due time.Time) bool {
	for {
		l.mu.Lock()
		held, changed := l.now.hold, l.changed
		l.mu.Unlock()
		wait := time.Until(due)
		if !held && wait <= 0 {
			return true
		}
		if held {
			wait = time.Hour
		}
		timer := time.NewTimer(wait)
		select {
		case <-l.n.stop:
			timer.Stop()
			return false
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// port is one life's end of the network: a raftnode.Network.
type port struct {
	n    *network
	self protocol.BrokerID
	dead *atomic.Bool // nothing that is sent any more arrives
	// chunk is asked before each piece of a snapshot that is sent.
	chunk func(pb.Chunk)

	mu     sync.RWMutex // held for reading while a handler runs
	open   bool
	handle raftio.MessageHandler
	chunks raftio.ChunkHandler
}

func (p *port) Factory() config.TransportFactory { return portFactory{p} }

// Deliver hands messages to the local node.
func (p *port) Deliver(b pb.MessageBatch) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.open {
		p.handle(b)
	}
}

func (p *port) receive(body []byte) {
	var b pb.MessageBatch
	if err := b.Unmarshal(body); err != nil {
		panic(err) // it was marshalled here
	}
	if !p.dead.Load() {
		p.Deliver(b)
	}
}

type portFactory struct{ p *port }

func (f portFactory) Validate(string) bool { return true }

func (f portFactory) Create(_ config.NodeHostConfig, h raftio.MessageHandler, c raftio.ChunkHandler) raftio.ITransport {
	f.p.handle, f.p.chunks = h, c
	return transport(f)
}

// transport is what Dragonboat sees of a port.
type transport struct{ p *port }

func (t transport) Name() string { return "trunkline-inproc" }

func (t transport) Start() error {
	t.p.mu.Lock()
	t.p.open = true
	t.p.mu.Unlock()
	t.p.n.mu.Lock()
	t.p.n.ports[raftnet.Target(t.p.self)] = t.p
	t.p.n.mu.Unlock()
	return nil
}

func (t transport) Close() error {
	t.p.n.mu.Lock()
	if t.p.n.ports[raftnet.Target(t.p.self)] == t.p { // not the next life
		delete(t.p.n.ports, raftnet.Target(t.p.self))
	}
	t.p.n.mu.Unlock()
	t.p.mu.Lock()
	t.p.open = false
	t.p.mu.Unlock()
	return nil
}

func (t transport) GetConnection(_ context.Context, target string) (raftio.IConnection, error) {
	return t.to(target), nil
}

func (t transport) GetSnapshotConnection(_ context.Context, target string) (raftio.ISnapshotConnection, error) {
	return t.to(target), nil
}

func (t transport) to(target string) connection {
	for d, l := range t.p.n.links {
		if d.from == t.p.self && raftnet.Target(d.to) == target {
			return connection{t.p, l}
		}
	}
	panic("inproc: nobody is at " + target)
}

// connection sends on a link. What is lost is lost in silence, but for snapshots.
type connection struct {
	p *port
	l *link
}

func (c connection) Close() {}

func (c connection) SendMessageBatch(b pb.MessageBatch) error {
	if c.p.dead.Load() {
		return nil
	}
	body, err := b.Marshal()
	if err == nil {
		c.l.send(body)
	}
	return err
}

func (c connection) SendChunk(chunk pb.Chunk) error {
	c.p.chunk(chunk)
	to := c.l.n.port(c.l.to)
	c.l.mu.Lock()
	cut := c.l.now.cut || c.l.now.hold
	c.l.mu.Unlock()
	if to == nil || cut || c.p.dead.Load() {
		return errCut
	}
	body, err := chunk.Marshal()
	if err != nil {
		return err
	}
	var copied pb.Chunk
	if err := copied.Unmarshal(body); err != nil {
		return err
	}
	to.mu.RLock()
	defer to.mu.RUnlock()
	if to.dead.Load() || !to.open || !to.chunks(copied) {
		return errCut
	}
	return nil
}
