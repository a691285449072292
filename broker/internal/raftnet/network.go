package raftnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/protocol"
)

// Network is one broker's end of the connections between brokers.
type Network struct {
	cfg      Config
	listener net.Listener
	book     atomic.Pointer[map[protocol.BrokerID]*peer] // replaced as a whole, by SetPeers
	booking  sync.Mutex                                  // one SetPeers at a time
	port     *Port
	met      *metrics
	log      *logger
	throttle *rate.Limiter // of all outgoing snapshots
	started  time.Time     // the clock of echoes

	joins chan struct{} // a token for each inbound join

	transport atomic.Pointer[transport]
	begun     chan struct{} // closed by Start
	begin     sync.Once

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	end    sync.Once

	mu      sync.Mutex
	conns   map[net.Conn]struct{} // all sockets but the listener; guarded by mu
	running bool                  // since Start; guarded by mu
	closed  bool                  // guarded by mu
}

// New binds the listener and answers probes; everything else waits for Start.
func New(cfg Config) (*Network, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	listener := cfg.Listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", cfg.Listen); err != nil {
			return nil, fmt.Errorf("raftnet: %w", err)
		}
	}
	if cfg.Addr == "" {
		cfg.Addr = listener.Addr().String()
	}
	n := &Network{
		cfg: cfg, listener: listener, started: time.Now(),
		met: newMetrics(cfg.Registerer), log: newLogger(cfg.Log),
		throttle: rate.NewLimiter(rate.Limit(cfg.SnapshotBytesPerSecond), max(snapshotPiece, cfg.SnapshotBytesPerSecond/20)),
		begun:    make(chan struct{}), joins: make(chan struct{}, maxJoins), conns: make(map[net.Conn]struct{}),
	}
	n.port = &Port{n: n}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.book.Store(&map[protocol.BrokerID]*peer{})
	if err := n.SetPeers(cfg.Peers); err != nil { // validated above
		return nil, err
	}
	if cfg.Registerer != nil {
		cfg.Registerer.MustRegister(newLinkGauges(n))
	}
	n.wg.Go(func() { n.log.run(n.ctx) })
	n.wg.Go(n.acceptLoop)
	return n, nil
}

// Start begins to dial the peers and to serve them. It is idempotent. Dragonboat calls it too, through the Factory.
func (n *Network) Start() {
	n.begin.Do(func() {
		n.mu.Lock()
		n.running = true
		n.mu.Unlock()
		close(n.begun)
		n.launch()
	})
}

// Addr is the bound address of the listener.
func (n *Network) Addr() string { return n.listener.Addr().String() }

// Close closes all connections and waits for all goroutines. It is idempotent.
func (n *Network) Close() error {
	var err error
	n.end.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.cancel()
		err = n.listener.Close()
		for c := range n.conns {
			_ = c.Close()
		}
		n.mu.Unlock()
		n.wg.Wait()
	})
	return err
}

// track registers a socket for Close; false (and the socket is closed) if the Network is closed already.
func (n *Network) track(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = c.Close()
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

// drop closes a socket that was tracked.
func (n *Network) drop(c net.Conn) {
	_ = c.Close()
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
}
