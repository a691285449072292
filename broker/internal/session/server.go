package session

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/protocol"
)

// Server serves the connections of one or more listeners.
type Server struct {
	cfg      Config
	tokens   [][sha256.Size]byte
	feed     *feed.Manager
	metrics  *metrics
	inFlight *budget // publishes of all connections
	images   *imageHub
	draining atomic.Bool
	wg       sync.WaitGroup // connections

	mu     sync.Mutex
	closed chan struct{}      // closed by Close; guarded by mu for closing
	conns  map[*conn]struct{} // guarded by mu
	live   int                // of conns, those whose hello was accepted; guarded by mu
}

// NewServer returns a server that serves nothing yet. It must be closed.
func NewServer(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		inFlight: &budget{limit: cfg.Limits.ServerInFlightBytes},
		closed:   make(chan struct{}),
		conns:    make(map[*conn]struct{}),
	}
	for _, t := range cfg.Tokens {
		s.tokens = append(s.tokens, sha256.Sum256(t))
	}
	s.metrics = newMetrics(cfg.Registerer, s.inFlight)
	fc := cfg.Feed
	fc.Partitions = func(id protocol.TopicID) int {
		t, _ := cfg.Meta.Topic(id)
		return len(t.Partitions)
	}
	fc.Log, fc.Registerer = cfg.Log, cfg.Registerer
	s.feed = feed.New(fc)
	s.images = newImageHub(cfg, s.feed.Reassign)
	return s, nil
}

// Serve accepts connections from src until ctx or the server ends. It does not close src.
func (s *Server) Serve(ctx context.Context, src transport.Source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-s.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		tc, err := src.Accept(ctx)
		switch {
		case err == nil:
			s.start(tc)
		case ctx.Err() != nil || errors.Is(err, transport.ErrClosed):
			return nil
		default:
			return fmt.Errorf("session: serve %s: %w", src.Addr(), err)
		}
	}
}

// start serves one connection in a goroutine of its own.
func (s *Server) start(tc transport.Conn) {
	c := newConn(s, tc)
	if !s.remember(c) {
		c.hangUp(errShuttingDown())
		return
	}
	go func() {
		defer s.wg.Done()
		defer s.forget(c)
		c.serve()
	}()
}

// remember adds a connection unless the server is closed.
func (s *Server) remember(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
	}
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// authorized reports whether token opens a session. The time it takes does not depend on the tokens.
func (s *Server) authorized(token []byte) bool {
	if len(s.tokens) == 0 {
		return true
	}
	sum, ok := sha256.Sum256(token), 0
	for i := range s.tokens {
		ok |= subtle.ConstantTimeCompare(sum[:], s.tokens[i][:])
	}
	return ok == 1
}

// Refresh pushes a new image to subscribed clients although the metadata did not change: somebody died or came
// back.
func (s *Server) Refresh() { s.images.refresh() }

// Drain tells all clients that this broker leaves after grace and refuses new ones.
func (s *Server) Drain(grace time.Duration) {
	s.draining.Store(true)
	for _, c := range s.all() {
		c.goAway("the broker is shutting down", grace)
	}
}

// Connections returns how many clients are connected.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// count notes that a hello was accepted (1) or its connection ended (-1).
func (s *Server) count(delta int) {
	s.mu.Lock()
	s.live += delta
	s.metrics.connections.Set(float64(s.live))
	s.mu.Unlock()
}

// Close ends all connections, each of its streams with CodeShuttingDown, and waits for their goroutines. It
// takes up to closeGrace longer if clients do not hang up by themselves.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	s.draining.Store(true)
	for _, c := range s.all() {
		c.stopPolitely(errShuttingDown())
	}
	s.wg.Wait()
	s.feed.Close()
	s.images.close()
}

func errShuttingDown() *protocol.Error {
	return protocol.Errorf(protocol.CodeShuttingDown, "the broker is shutting down")
}
