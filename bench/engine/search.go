package engine

import (
	"context"
	"errors"
	"time"
)

// The search for the maximum.
const (
	between     = 10 * time.Second // at most, for what is under way between two steps
	firstStep   = 0.95             // of the ceiling
	lastStep    = 0.55
	stepDown    = 0.10
	reached     = 0.99   // of what was offered must be acknowledged
	queueSpan   = 0.5    // seconds of messages that may wait at the end of a step
	queueAlways = 1000.0 // messages that may wait at any rate
)

// tempo is how long the parts of a search take.
type tempo struct {
	saturate time.Duration // a closed loop, to find a ceiling
	step     time.Duration
	settle   time.Duration // at the beginning of each of them, not counted
}

// search finds the maximum: the highest rate in an open loop at which acknowledgements and deliveries keep up. A closed loop gives
// a ceiling; steps below it follow until one lasts, and the middle to the one above is tried too. At most six steps. The
// measured part is offered a fraction of the maximum.
func (r *run) search(ctx context.Context) error {
	r.opts.Log("search the maximum")
	ceiling, err := r.saturate(ctx)
	if err != nil || ceiling == 0 {
		return err
	}
	best := 0.0
	for fraction := firstStep; best == 0 && fraction > lastStep-stepDown/2; fraction -= stepDown {
		lasts, err := r.step(ctx, fraction*ceiling)
		if err != nil {
			return err
		}
		if lasts {
			best = fraction
		}
	}
	switch {
	case best == 0:
		best = lastStep
		r.notes.doubt("no rate of the search lasted, down to %.0f messages a second", best*ceiling)
	case best < firstStep:
		lasts, err := r.step(ctx, (best+stepDown/2)*ceiling)
		if err != nil {
			return err
		}
		if lasts {
			best += stepDown / 2
		}
	}
	r.maximum = best * ceiling
	r.offered = r.maximum * r.w.RateFraction
	return nil
}

// saturate returns the rate of acknowledgements in a closed loop, messages a second.
func (r *run) saturate(ctx context.Context) (float64, error) {
	acked, _, err := r.try(ctx, "saturate", 0, r.tempo.saturate)
	r.opts.Log("saturated at %.0f/s", acked)
	return acked, err
}

// step reports whether a rate lasts.
func (r *run) step(ctx context.Context, rate float64) (bool, error) {
	acked, queued, err := r.try(ctx, "search", rate, r.tempo.step)
	lasts := acked >= reached*rate && queued <= max(queueAlways, queueSpan*rate)
	r.opts.Log("offered %.0f/s, acknowledged %.0f/s, %.0f waiting: lasts %t", rate, acked, queued, lasts)
	return lasts, err
}

// mark is how many messages had been acknowledged at a time.
type mark struct {
	at    time.Duration
	acked int64
}

func (r *run) ackedBy() mark { return mark{r.now(), r.meter.publish.counts().all} }

// since is the rate between two marks, messages a second.
func (m mark) since(before mark) float64 {
	return rates{m.acked - before.acked, m.at - before.at}.perSecond()
}

// try publishes at a rate for a while. It returns the rate of acknowledgements once settled or, in an open loop, over the whole
// time if that is more, and how many messages waited at the end, for an acknowledgement or for a delivery to one subscription,
// whatever is more.
func (r *run) try(ctx context.Context, phase string, rate float64, length time.Duration) (acked, queued float64, err error) {
	watch := r.observe(ctx, phase, length, nil)
	defer watch.stop()
	begin := r.now() + lead
	first := mark{begin, r.meter.publish.counts().all}
	ph := r.publish(ctx, plan{begin: begin, until: begin + length, rate: rate})
	r.sleepUntil(ctx, begin+r.tempo.settle)
	settled := r.ackedBy()
	r.sleepUntil(ctx, begin+length)
	end := r.ackedBy()
	acked = end.since(settled)
	if rate > 0 { // a hiccup just before settling makes the rest look slow
		acked = max(acked, end.since(first))
	}
	queued = max(float64(r.waiting()), float64(r.backlog())/float64(max(r.w.SubscriptionsPerTopic, 1)))
	if err := errors.Join(r.finish(ctx, ph), ctx.Err()); err != nil {
		return 0, 0, err
	}
	if !r.await(ctx, patience{between, between}, r.settled, r.moved) {
		r.opts.Log("still busy %v after a step of the search", between)
	}
	return acked, queued, ctx.Err()
}
