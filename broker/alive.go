package broker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Bounds of what counts as alive. They are long after everything that the brokers do about a slow broker among themselves, because a
// supervisor has one answer only: to end the process.
const (
	// pingsLate is how long ago the newest ping may have been sent. The goroutine that sends them waits for nothing but locks.
	pingsLate = 10 * time.Second
	// diskHangs is how long one write to the Raft log may take. The leaderships are gone after stalledDisk; this long means that
	// nothing will come of it, or that the journal has a defect.
	diskHangs = time.Minute
)

// Alive returns nil if every part of the broker that must never stop answers. Otherwise it says which part does not, and only a new
// process helps; ctx bounds how long it waits for an answer. It is what a watchdog wants to know, as Ready is what a load balancer does: a
// broker that cannot serve because the others are down, or because its disk is full or slow, is alive. What it does not see is a
// network that no packet gets through: a new process would not mend that.
//
// It may be called from any goroutine, and from many: they share one round of questions. A round that hangs outlives ctx and Close.
func (b *Broker) Alive(ctx context.Context) error { return b.pulse.feel(ctx) }

// vitalParts lists what is asked. Each question takes the locks that the part's work takes.
func (b *Broker) vitalParts() []vitalPart {
	return []vitalPart{
		{"liveness", func() error { return notOlder("ping", b.detector.SincePing(), pingsLate) }},
		{"the metadata", func() error { b.meta.Image(); b.meta.Leader(); return nil }},
		{"the controller", func() error { b.controller.Health(); return nil }}, // asks Raft about each replica
		{"the sessions", func() error { b.server.Connections(); return nil }},
		{"the Raft log", func() error { return notOlder("unfinished write", b.node.StalledFor(), diskHangs) }},
	}
}

func notOlder(what string, age, limit time.Duration) error {
	if age <= limit {
		return nil
	}
	return fmt.Errorf("its %s is %v old, and %v is the limit", what, age.Round(time.Second), limit)
}

// vitalPart is one part that must answer. ask may hang.
type vitalPart struct {
	name string
	ask  func() error
}

// pulse asks the parts one after the other. At most one goroutine does, however many feel it and however long a part hangs.
type pulse struct {
	parts  []vitalPart
	rounds singleflight.Group
	asked  atomic.Pointer[question] // the newest one
}

type question struct {
	part string
	at   time.Time
}

func (p *pulse) feel(ctx context.Context) error {
	select {
	case res := <-p.rounds.DoChan("", p.round):
		return res.Err
	case <-ctx.Done():
		q := p.asked.Load()
		if q == nil {
			return fmt.Errorf("nothing was asked yet: %w", ctx.Err())
		}
		return fmt.Errorf("%s has not answered for %v", q.part, time.Since(q.at).Round(time.Millisecond))
	}
}

func (p *pulse) round() (any, error) {
	for _, part := range p.parts {
		p.asked.Store(&question{part.name, time.Now()})
		if err := part.ask(); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil, nil
}
