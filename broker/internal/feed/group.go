package feed

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	// activateTimeout bounds one CursorActivate; retryAfter is the pause after one that failed.
	activateTimeout = 5 * time.Second
	retryAfter      = 100 * time.Millisecond
	// settleMost is how many times Settle can be begun again.
	settleMost = 5
)

type groupKey struct {
	tp           protocol.TopicPartition
	subscription string
}

// group is one subscription on one partition under one leadership. Streams mark what happened; the group's own
// goroutine (run) compares that with what should be and takes one step after the other.
//
//	no active --settled, an owner exists--> CursorActivate --committed--> active
//	active --another owner--> revoked --released, grace over or gone--> acks proposed --> no active
type group struct {
	m    *Manager
	p    Partition
	key  groupKey
	lost <-chan struct{} // of the leadership; one leadership, one channel
	wake chan struct{}   // capacity 1

	mu       sync.Mutex // before Consumer.mu, after Manager.mu; guards everything below
	members  map[string]*Consumer
	changed  bool   // members or the number of partitions changed since owner was decided
	owner    string // who should be active
	settle   time.Time
	settleBy time.Time
	retryAt  time.Time
	ended    bool // no longer in the manager's table

	active     *Consumer // holder of activation, nil between activations
	activation protocol.Activation
	gone       bool      // its stream is over
	released   bool      // it let go
	revokeBy   time.Time // when it must have, zero while it need not
	acked      ackState
}

// ackState is the progress of the current activation: committed <= proposed <= wanted, and hurried <= wanted.
type ackState struct {
	wanted    protocol.Offset // acknowledged by the consumer
	hurried   protocol.Offset // somebody waits for the commit of this; what is above may wait for company
	proposed  protocol.Offset
	committed protocol.Offset
	inFlight  bool
	last      time.Time // of the last proposal
}

// step is what run does next, outside of the lock.
type step struct {
	kind   stepKind
	names  []string  // stepAssign: the candidates, in order
	to     *Consumer // stepActivate, stepAck
	ack    wire.Ack  // stepAck
	wakeAt time.Time // stepWait: zero for no timer
}

type stepKind uint8

const (
	stepWait stepKind = iota
	stepAssign
	stepActivate
	stepAck
	stepEnd
)

// run owns every decision of the group until the last member or the leadership is gone.
func (g *group) run() {
	for {
		s := g.next(time.Now())
		switch s.kind {
		case stepEnd:
			return
		case stepAssign:
			g.decide(s.names)
		case stepActivate:
			g.activate(s.to)
		case stepAck:
			g.propose(s.to, s.ack)
		case stepWait:
			g.wait(s.wakeAt)
		}
	}
}

func (g *group) wait(until time.Time) {
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-g.wake:
	case <-g.lost:
	case <-timer:
	}
}

func (g *group) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// next decides the next step.
func (g *group) next(now time.Time) step {
	if isClosed(g.lost) {
		g.endAll(errNotLeading())
	}
	g.mu.Lock()
	if len(g.members) == 0 && g.active == nil {
		g.mu.Unlock()
		if g.m.retire(g) {
			return step{kind: stepEnd}
		}
		g.mu.Lock()
	}
	defer g.mu.Unlock()
	if g.changed {
		g.changed = false
		if names := g.candidates(); len(names) > 0 {
			return step{kind: stepAssign, names: names}
		}
		g.owner = ""
	}
	if g.active != nil {
		return g.watchActive(now)
	}
	to := g.members[g.owner]
	if to == nil {
		return step{}
	}
	if at := later(g.settle, g.retryAt); now.Before(at) {
		return step{wakeAt: at}
	}
	return step{kind: stepActivate, to: to}
}

// watchActive decides the next step while a consumer is active; g.mu is held.
func (g *group) watchActive(now time.Time) step {
	over := g.gone || g.released || !g.revokeBy.IsZero() && !now.Before(g.revokeBy)
	if over {
		if g.acked.wanted > g.acked.proposed {
			return g.nextAck(now)
		}
		g.deactivate()
		return step{wakeAt: now}
	}
	if g.owner != g.active.name && g.owner != "" && g.revokeBy.IsZero() {
		g.revoke(now)
	}
	wakeAt := g.revokeBy
	if g.acked.wanted > g.acked.proposed && !g.acked.inFlight {
		due := g.acked.last.Add(g.m.cfg.AckInterval)
		if !now.Before(due) || g.acked.hurried > g.acked.proposed {
			return g.nextAck(now)
		}
		wakeAt = sooner(wakeAt, due)
	}
	return step{wakeAt: wakeAt}
}

func (g *group) nextAck(now time.Time) step {
	g.acked.proposed, g.acked.inFlight, g.acked.last = g.acked.wanted, true, now
	g.active.ackProposed()
	return step{kind: stepAck, to: g.active, ack: wire.Ack{Activation: g.activation, Offset: g.acked.wanted}}
}

// revoke asks the active consumer to let go; g.mu is held.
func (g *group) revoke(now time.Time) {
	g.revokeBy = now.Add(g.active.grace)
	g.m.metrics.revoked.Inc()
	g.active.send(protocol.KindRevoke, &wire.Revoke{
		Activation: g.activation, GraceMillis: uint32(g.active.grace.Milliseconds()),
	})
}

// deactivate ends the activation and tells the consumer; g.mu is held.
func (g *group) deactivate() {
	g.active.stop(g.activation, g.gone)
	g.vacate()
}

// vacate leaves the partition without an active consumer; g.mu is held.
func (g *group) vacate() {
	g.active, g.gone, g.released, g.revokeBy = nil, false, false, time.Time{}
	g.m.metrics.active.Dec()
}

// endAll ends all streams with err. The active consumer is not told that its turn is over, because it is not: it goes on
// with what it has when it comes back, here or to the next leader, and only what others were given meanwhile ends it.
func (g *group) endAll(err *protocol.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.members {
		c.End(err)
	}
	clear(g.members)
	if g.active != nil {
		g.active.End(err)
		g.vacate()
	}
}

// candidates returns the names of those who may be active, in order; g.mu is held.
func (g *group) candidates() []string {
	names := make([]string, 0, len(g.members))
	for n := range g.members {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// decide computes who should be active. It may take long for large groups, so it holds no lock of the group.
func (g *group) decide(names []string) {
	owner := g.m.cache.owner(g.key.tp, g.key.subscription, g.m.cfg.Partitions(g.key.tp.Topic), names)
	g.mu.Lock()
	g.owner = owner
	g.mu.Unlock()
}

// activate begins an activation for c. The state machine has counted it when this returns: if c left meanwhile,
// the activation stays without a consumer and the next step begins another.
func (g *group) activate(c *Consumer) {
	ctx, cancel := context.WithTimeout(g.m.ctx, activateTimeout)
	cur, err := g.p.CursorActivate(ctx, g.key.subscription)
	cancel()
	if err != nil {
		g.activateFailed(err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.m.metrics.activations.Inc()
	if g.members[c.name] != c {
		return
	}
	g.active, g.activation = c, cur.Activation
	g.acked = ackState{wanted: cur.Offset, proposed: cur.Offset, committed: cur.Offset}
	g.m.metrics.active.Inc()
	c.begin(cur)
}

func (g *group) activateFailed(err error) {
	var pe *protocol.Error
	if errors.As(err, &pe) && !pe.Code.Retryable() {
		g.endAll(pe)
		return
	}
	g.m.cfg.Log.Debug("activation failed, trying again",
		"partition", g.key.tp, "subscription", g.key.subscription, "err", err)
	g.mu.Lock()
	g.retryAt = time.Now().Add(retryAfter)
	g.mu.Unlock()
}

// propose proposes an acknowledgement.
func (g *group) propose(c *Consumer, a wire.Ack) {
	g.m.metrics.acks.Inc()
	g.p.CursorAck(g.key.subscription, a.Activation, a.Offset, func(committed protocol.Offset, err error) {
		g.ackDone(c, a, committed, err)
	})
}

// ackDone is called by the partition when an acknowledgement is committed or failed.
func (g *group) ackDone(c *Consumer, a wire.Ack, committed protocol.Offset, err error) {
	defer g.signal()
	g.mu.Lock()
	defer g.mu.Unlock()
	current := g.active == c && g.activation == a.Activation
	if current {
		g.acked.inFlight = false
	}
	var pe *protocol.Error
	switch {
	case err == nil:
		if current {
			g.acked.committed = max(g.acked.committed, committed)
		}
		c.ackDone(&wire.AckOK{Activation: a.Activation, Offset: committed})
		return
	case current && (!errors.As(err, &pe) || pe.Code.Retryable()):
		// It may or may not have happened: acknowledging is idempotent, so propose it again, after AckInterval also if
		// somebody waits: what failed at once would fail at once again.
		g.acked.proposed, g.acked.hurried = g.acked.committed, 0
	case pe != nil:
		c.End(pe)
	}
	c.ackDone(nil)
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sooner returns the earlier of two times of which zero means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
