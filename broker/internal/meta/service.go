package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// Node is how the service reaches the metadata shard. NewRaftNode adapts *raftnode.Node.
type Node interface {
	// Propose offers a command to the shard and waits for its result, at most until ctx ends. An error that wraps
	// ErrNotProposed means that the command is in no log and will be in none; any other error that it may be.
	Propose(ctx context.Context, cmd []byte) (data []byte, err error)
	// Leader returns who leads the shard as far as this broker knows, 0 for nobody.
	Leader() protocol.BrokerID
	// Barrier returns once everything committed before the call has been applied here.
	Barrier(ctx context.Context) error
}

// ErrNotProposed marks a failure after which the command is certainly not in the log.
var ErrNotProposed = errors.New("not proposed")

// Retry of a proposal. One that a follower forwards can be lost without a word, so each attempt is given up after
// attemptTimeout and made again; commands are idempotent. What was given up begins anew, so the next attempt of the same
// call gets twice the time, up to attemptMost: between brokers that are far from each other, or on a slow network, an
// answer may take longer than the first one had. Between attempts the service waits about retryMin, doubled up to
// retryMax.
const (
	attemptTimeout = 1500 * time.Millisecond
	attemptMost    = 6 * time.Second
	retryMin       = 10 * time.Millisecond
	retryMax       = 250 * time.Millisecond
)

// Config describes a Service.
type Config struct {
	Self       protocol.BrokerID
	Node       Node     // set later with Attach when nil
	Machine    *Machine // default: a new one
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Service reads and changes the metadata from one broker. Reads are local and never wait. Changes may be asked on
// any broker; they are retried until they are applied or their context ends, and are visible in Image when they
// return.
type Service struct {
	cfg     Config
	machine *Machine
	leaders *Leaders
	metrics *metrics

	nodeMu sync.RWMutex
	node   Node // guarded by nodeMu

	mu     sync.Mutex
	cancel context.CancelFunc // guarded by mu; nil before Start
	closed bool               // guarded by mu
	done   sync.WaitGroup
}

// New returns a service. Reads work at once; changes need the node's metadata shard.
func New(cfg Config) *Service {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Machine == nil {
		cfg.Machine = NewMachine()
	}
	s := &Service{cfg: cfg, machine: cfg.Machine, node: cfg.Node, leaders: NewLeaders()}
	s.metrics = newMetrics(cfg.Registerer, s.machine)
	return s
}

// Attach gives the service its node, for an assembly in which the node needs the machine first.
func (s *Service) Attach(n Node) {
	s.nodeMu.Lock()
	defer s.nodeMu.Unlock()
	s.node = n
}

// Start begins to follow the image: it keeps the leader table free of deleted topics. It ends with ctx or by Close.
func (s *Service) Start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.cancel != nil {
		return
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.done.Go(func() { s.follow(ctx) })
}

// Close ends what Start began and waits for it. It is idempotent.
func (s *Service) Close() {
	s.mu.Lock()
	s.closed = true
	if s.cancel != nil {
		s.cancel()
	}
	s.mu.Unlock()
	s.done.Wait()
	s.metrics.unregister()
}

func (s *Service) follow(ctx context.Context) {
	for {
		changed := s.Changed()
		s.leaders.Retain(s.Image())
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Machine returns the state machine to start the metadata shard with.
func (s *Service) Machine() *Machine { return s.machine }

// Leaders returns the table of partition leaders.
func (s *Service) Leaders() *Leaders { return s.leaders }

// Image returns the newest image this broker has applied.
func (s *Service) Image() *Image { return s.machine.Image() }

// Changed returns a channel that is closed at the next change. Take it before Image.
func (s *Service) Changed() <-chan struct{} { return s.machine.Changed() }

// Leader returns who leads the metadata shard as far as this broker knows, 0 for nobody.
func (s *Service) Leader() protocol.BrokerID {
	if n := s.attached(); n != nil {
		return n.Leader()
	}
	return 0
}

func (s *Service) attached() Node {
	s.nodeMu.RLock()
	defer s.nodeMu.RUnlock()
	return s.node
}

// Sync returns once the image holds every change that was committed anywhere before the call. It needs a metadata
// leader and retries until ctx ends.
func (s *Service) Sync(ctx context.Context) error {
	attempts := patience{attemptTimeout}
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		var err error
		if n := s.attached(); n != nil {
			if err = attempts.try(ctx, n.Barrier); err == nil {
				return nil
			}
		}
		if !sleep(ctx, pause) {
			return protocol.Errorf(protocol.CodeUnavailable, "wait for current metadata: %v", errors.Join(ctx.Err(), err))
		}
	}
}

// patience is how long the next attempt of a call may take.
type patience struct{ next time.Duration }

func (p *patience) try(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, p.next)
	defer cancel()
	err := do(limited)
	if limited.Err() != nil {
		p.next = min(2*p.next, attemptMost)
	}
	return err
}

// randomID draws the identity of a request: never 0, and unlike every other with overwhelming probability.
func randomID() uint64 {
	for {
		if id := rand.Uint64(); id != 0 {
			return id
		}
	}
}

// change proposes a command until it is answered and the answer is visible here, or ctx ends.
func (s *Service) change(ctx context.Context, c *command) (result, error) {
	started := time.Now()
	r, err := s.propose(ctx, c.encode())
	if err == nil {
		err = r.err()
	}
	if err == nil {
		err = s.visible(ctx, r.version)
	}
	s.metrics.observe(c, started, err)
	if err != nil {
		return result{}, err
	}
	return r, nil
}

func (s *Service) propose(ctx context.Context, cmd []byte) (result, error) {
	maybe := false // some attempt may be in the log
	var last error
	attempts := patience{attemptTimeout}
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		var data []byte
		err := attempts.try(ctx, func(ctx context.Context) (err error) {
			data, err = s.attempt(ctx, cmd)
			return err
		})
		if err == nil {
			return decodeResult(data)
		}
		last = err
		if !errors.Is(err, ErrNotProposed) {
			maybe = true
		}
		if !sleep(ctx, pause) {
			return result{}, s.gaveUp(maybe, last)
		}
		s.metrics.retries.Inc()
	}
}

func (s *Service) attempt(ctx context.Context, cmd []byte) ([]byte, error) {
	n := s.attached()
	if n == nil {
		return nil, fmt.Errorf("%w: the broker is starting", ErrNotProposed)
	}
	if n.Leader() == 0 {
		return nil, fmt.Errorf("%w: the metadata shard has no leader", ErrNotProposed)
	}
	return n.Propose(ctx, cmd)
}

func (s *Service) gaveUp(maybe bool, last error) error {
	if maybe && s.Leader() != 0 {
		return protocol.Errorf(protocol.CodeTimeout,
			"the metadata change was not confirmed in time and may still happen: %v", last)
	}
	if maybe {
		return protocol.Errorf(protocol.CodeUnavailable,
			"the metadata shard lost its leader (are most brokers up?); the change may still happen: %v", last)
	}
	return protocol.Errorf(protocol.CodeUnavailable,
		"the metadata shard cannot be changed now (are most brokers up?); nothing was changed: %v", last)
}

// visible waits until the local image is at least at version.
func (s *Service) visible(ctx context.Context, version uint64) error {
	for {
		changed := s.Changed()
		if s.Image().Version >= version {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return protocol.Errorf(protocol.CodeTimeout, "the metadata change is committed, but not visible on this broker yet")
		}
	}
}

// sleep waits for about d, at random so that brokers do not retry in step. It reports false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
