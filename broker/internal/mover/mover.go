package mover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// maxJobs bounds the shards that are worked on at one time; the others wait for the next look.
	maxJobs = 32
	// stepTimeout bounds a job. What it began may still happen; the next one looks.
	stepTimeout = 5 * time.Second
	// failPause is how long a shard rests after its job failed, so that what lasts does not fill the log.
	failPause = 500 * time.Millisecond
	// lookEvery is the default of Config.Every.
	lookEvery = 100 * time.Millisecond
	// partingTime is how long a move waits for another leader if this broker is about to hand its leaderships over; see Mover.parts.
	partingTime = 3 * time.Second
)

// Meta is the part of meta.Service that a mover uses.
type Meta interface {
	Image() *meta.Image
	FinishMove(ctx context.Context, move uint64) error
	UndoMove(ctx context.Context, move uint64) error
	UndoneMove(ctx context.Context, move uint64) error
}

// Raft is the part of raftnode.Node that a mover uses.
type Raft interface {
	Membership(ctx context.Context, shard uint64) (raftnode.Membership, error)
	AddLearner(ctx context.Context, shard uint64, r raftnode.Replica, change uint64) error
	Promote(ctx context.Context, shard uint64, r raftnode.Replica, change uint64) error
	RemoveReplica(ctx context.Context, shard, replica, change uint64) error
	// ForgetBeginning sees to it that a new replica of a shard led here begins with a snapshot; it costs nothing if that is so.
	ForgetBeginning(ctx context.Context, shard uint64) error
	// Progress returns how much of the log a replica of a shard led here has, LastIndex how much there is.
	Progress(shard, replica uint64) (match uint64, at time.Time, ok bool)
	LastIndex(shard uint64) (uint64, bool)
}

// Shards knows the replicas of this broker.
type Shards interface {
	// Leads returns the ID of the local replica of a shard that this broker leads; ok is false if it does not lead it.
	Leads(shard uint64) (replica uint64, ok bool)
	// HandOver hands the leadership of a shard to one of the brokers, the first that will take it.
	HandOver(ctx context.Context, shard uint64, to []protocol.BrokerID) error
	// Shows waits until the replica of a shard led here that is on another broker has shown that it has applied what this one has.
	Shows(ctx context.Context, shard uint64, on protocol.BrokerID) error
}

// Config describes a Mover. Every, Log and Registerer are optional.
type Config struct {
	Meta   Meta
	Raft   Raft
	Shards Shards
	Alive  func(protocol.BrokerID) bool // as liveness believes
	Every  time.Duration                // between two looks; default 100 ms
	Log    *slog.Logger
	// Registerer: nil means no metrics.
	Registerer prometheus.Registerer
}

// Mover makes the moves of the shards that this broker leads.
type Mover struct {
	cfg     Config
	rounds  *rounds
	notes   *notes
	metrics *metrics

	mu   sync.Mutex
	busy map[uint64]bool      // shards with a job; guarded by mu
	rest map[uint64]time.Time // shards whose job failed: until when they rest; guarded by mu

	settled atomic.Pointer[meta.Image] // for which every broker has the metadata

	wg sync.WaitGroup
}

// New returns a mover that does nothing until Run.
func New(cfg Config) *Mover {
	if cfg.Every <= 0 {
		cfg.Every = lookEvery
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Mover{
		cfg: cfg, rounds: newRounds(), notes: newNotes(), metrics: newMetrics(cfg.Registerer),
		busy: make(map[uint64]bool), rest: make(map[uint64]time.Time),
	}
}

// Run looks for work until ctx ends, and returns when the jobs have ended.
func (m *Mover) Run(ctx context.Context) {
	tick := time.NewTicker(m.cfg.Every)
	defer tick.Stop()
	for {
		m.look(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			m.wg.Wait()
			return
		}
	}
}

// look begins a job for each shard that has a move and is led here.
func (m *Mover) look(ctx context.Context) {
	m.wake(time.Now())
	im := m.cfg.Meta.Image()
	moving, moves := make(map[uint64]bool), make(map[uint64]bool)
	for _, mv := range im.Moves() {
		if self, ok := m.cfg.Shards.Leads(mv.Shard); ok {
			moving[mv.Shard], moves[mv.ID] = true, true
			m.notes.take(mv.ID, time.Now())
			m.begin(ctx, mv.Shard, func(ctx context.Context) error { return m.move(ctx, mv, self) })
		}
	}
	if _, ok := m.cfg.Shards.Leads(raftnode.MetaShard); ok && !moving[raftnode.MetaShard] {
		m.begin(ctx, raftnode.MetaShard, func(ctx context.Context) error { return m.learners(ctx, im) })
	}
	m.rounds.keep(func(shard uint64) bool { return moving[shard] })
	m.notes.keep(func(move uint64) bool { return moves[move] })
}

// wake ends the rest of shards.
func (m *Mover) wake(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.rest, func(_ uint64, until time.Time) bool { return !now.Before(until) })
}

// begin runs a job unless one works on the shard already, it rests, or maxJobs are at work.
func (m *Mover) begin(ctx context.Context, shard uint64, job func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, rests := m.rest[shard]; rests || m.busy[shard] || len(m.busy) >= maxJobs {
		return
	}
	m.busy[shard] = true
	m.wg.Go(func() {
		limited, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		err := job(limited)
		failed := err != nil && ctx.Err() == nil && !passing(err)
		if failed {
			m.metrics.failures.Inc()
			m.cfg.Log.Warn("membership change did not succeed and is tried again", "shard", shard, "err", err)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.busy, shard)
		if failed {
			m.rest[shard] = time.Now().Add(failPause)
		}
	})
}

// passing reports whether an error comes and goes with other changes and elections, and the next look is likely to do better.
func passing(err error) bool {
	return errors.Is(err, raftnode.ErrChanged) || errors.Is(err, raftnode.ErrNotLeader) || errors.Is(err, raftnode.ErrNotReady)
}

// move does the next step of a move.
func (m *Mover) move(ctx context.Context, mv meta.Moving, self uint64) error {
	is, err := m.cfg.Raft.Membership(ctx, mv.Shard)
	if err != nil {
		return fmt.Errorf("read the membership: %w", err)
	}
	s := next(is, mv.Move, facts{
		self: self, alive: m.cfg.Alive, everywhere: mv.Shard == raftnode.MetaShard,
		parts:    func() bool { return m.parts(mv, is.Voters[self], is) },
		caughtUp: func(replica uint64) bool { return m.caughtUp(mv, replica) },
	})
	m.notes.step(mv.ID, s.String())
	if mv.Shard != raftnode.MetaShard && mv.Add.Broker != 0 && (s.do == add || s.do == wait) {
		if err := m.cfg.Raft.ForgetBeginning(ctx, mv.Shard); err != nil {
			return err
		}
	}
	if s.do == wait {
		return nil
	}
	began := time.Now()
	failpoint.Step("beforeMoveStep", s.do.String())
	err = m.do(ctx, mv, is, s)
	if err == nil {
		failpoint.Step("afterMoveStep", s.do.String())
		m.metrics.steps.WithLabelValues(s.do.String()).Inc()
		m.cfg.Log.Info("move", "shard", mv.Shard, "move", mv.ID, "did", s.do.String(), "replica", s.replica.ReplicaID,
			"add", uint64(mv.Add.Broker), "remove", uint64(mv.Remove.Broker), "undo", mv.Undo, "took", time.Since(began))
	}
	return err
}

// do executes one step.
func (m *Mover) do(ctx context.Context, mv meta.Moving, is raftnode.Membership, s step) error {
	r := raftnode.Replica{Broker: s.replica.Broker, ReplicaID: s.replica.ReplicaID}
	switch s.do {
	case add:
		return m.cfg.Raft.AddLearner(ctx, mv.Shard, r, is.ConfigChangeID)
	case promote:
		if err := m.cfg.Shards.Shows(ctx, mv.Shard, r.Broker); err != nil {
			return err
		}
		return m.cfg.Raft.Promote(ctx, mv.Shard, r, is.ConfigChangeID)
	case remove, bar:
		return m.cfg.Raft.RemoveReplica(ctx, mv.Shard, r.ReplicaID, is.ConfigChangeID)
	case yield:
		return m.cfg.Shards.HandOver(ctx, mv.Shard, m.heirs(mv, is, s.replica.Broker))
	case finish:
		return m.cfg.Meta.FinishMove(ctx, mv.ID)
	case giveUp:
		m.cfg.Log.Warn("move cannot be made", "shard", mv.Shard, "move", mv.ID, "why", s.why)
		return m.cfg.Meta.UndoMove(ctx, mv.ID)
	case undone:
		return m.cfg.Meta.UndoneMove(ctx, mv.ID)
	}
	return nil
}

// parts reports whether this broker leaves or is drained and took a move up less than partingTime ago, so that it is about to hand the
// leadership of the shard over to an active voter. Later the move goes on without: it must not depend on that.
func (m *Mover) parts(mv meta.Moving, here protocol.BrokerID, is raftnode.Membership) bool {
	im := m.cfg.Meta.Image()
	active := func(b protocol.BrokerID) bool {
		known, ok := im.Broker(b)
		return !ok || known.State == meta.Active
	}
	n, taken := m.notes.get(mv.ID)
	return taken && time.Since(n.since) < partingTime && !active(here) && slices.ContainsFunc(m.heirs(mv, is, here), active)
}

// heirs returns the brokers of the other voters that are alive. First comes the preferred leader, or who takes its place: from there the
// leadership need not be handed on.
func (m *Mover) heirs(mv meta.Moving, is raftnode.Membership, leaving protocol.BrokerID) []protocol.BrokerID {
	best := mv.Add.Broker
	if p, ok := m.cfg.Meta.Image().Placement(mv.TP); ok && len(p.Replicas) > 0 && p.Replicas[0].Broker != leaving {
		best = p.Replicas[0].Broker
	}
	var to []protocol.BrokerID
	for _, b := range is.Voters {
		if b != leaving && m.cfg.Alive(b) {
			to = append(to, b)
		}
	}
	slices.Sort(to)
	if i := slices.Index(to, best); i > 0 {
		to = slices.Insert(slices.Delete(to, i, i+1), 0, best)
	}
	return to
}

// caughtUp reports whether a replica that a move adds lives and has what this leader has.
func (m *Mover) caughtUp(mv meta.Moving, replica uint64) bool {
	match, _, ok := m.cfg.Raft.Progress(mv.Shard, replica)
	last, known := m.cfg.Raft.LastIndex(mv.Shard)
	return ok && known && m.cfg.Alive(mv.Add.Broker) && m.rounds.look(replicaKey{mv.Shard, replica}, match, last, time.Now())
}
