package engine

import (
	"context"
	"time"
)

// primeMax is how long new topics may take until every partition acknowledges.
const primeMax = 90 * time.Second

// prime has a message acknowledged on each partition before anything is measured. A topic may have leaders whose replicas do not
// follow yet: with hundreds of partitions some systems take half a minute, and a warm-up that ended before would have put
// their start into the figures.
func (r *run) prime(ctx context.Context) {
	began := r.now()
	for _, p := range r.producers {
		if p.first() {
			for partition := range r.w.PartitionsPerTopic {
				if !p.acquire(ctx) {
					return
				}
				now := r.now()
				p.send(now, now, int32(partition))
			}
		}
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for r.waiting() > 0 {
		if r.now()-began > primeMax {
			r.notes.doubt("%d partitions acknowledged nothing within %v", r.waiting(), primeMax)
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
	r.opts.Log("every partition acknowledges after %v", (r.now() - began).Round(time.Millisecond))
}

// first reports whether a producer is the first one of its topic.
func (p *producer) first() bool { return p.number%p.run.w.ProducersPerTopic == 0 }

// acquire waits, in a closed loop with a bound, until another message may be sent; false if ctx ended first.
func (p *producer) acquire(ctx context.Context) bool {
	if p.slots == nil {
		return ctx.Err() == nil
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}
