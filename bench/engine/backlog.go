package engine

import (
	"context"
	"errors"
	"math"
	"time"
)

// backlogMax bounds the building of a backlog and, again, its drain.
const backlogMax = 10 * time.Minute

// rates are deliveries over a time.
type rates struct {
	messages int64
	took     time.Duration
}

func (r rates) perSecond() float64 {
	if r.took <= 0 {
		return 0
	}
	return float64(r.messages) / r.took.Seconds()
}

// buildAndDrain publishes without consumers until the backlog is there, then opens them and waits until it is drained. The measured
// part is the publishing: it ends with the backlog, or with the drain where producers go on. The drain is measured from the
// opening of the first consumer.
func (r *run) buildAndDrain(ctx context.Context) error {
	begin := r.now() + lead
	need := int64(math.Ceil(r.w.ConsumerBacklogSizeGB * 1e9 / float64(r.w.MessageSize)))
	r.opts.Log("build a backlog of %d messages", need)
	r.meter.window.set(begin, forever)
	r.costs.begin()
	ph := r.publish(ctx, plan{begin: begin, until: forever, rate: r.offered})
	watch := r.observe(ctx, "backlog", 0, &r.timeline)
	there := func() bool { return r.meter.publish.counts().all >= need }
	complete := r.await(ctx, patience{backlogMax, drainMax}, there, r.moved)
	if !complete {
		r.notes.fail("the backlog of %d messages was not there in time: %d were acknowledged", need, r.meter.publish.counts().all)
	}
	var err error
	if r.w.StopProducers || !complete {
		ph.cancel()
		r.meter.window.set(begin, r.now())
		err = r.finish(ctx, ph)
		r.await(ctx, patience{between, between}, func() bool { return r.waiting() == 0 }, r.moved)
	}
	if complete {
		err = errors.Join(err, r.catchUp(ctx, begin))
	}
	if !r.w.StopProducers && complete {
		ph.cancel()
		r.meter.window.set(begin, r.now())
		err = errors.Join(err, r.finish(ctx, ph))
	}
	r.costs.end()
	watch.stop()
	return err
}

// catchUp opens the consumers and measures until they have caught up with producers that began a while ago. While those go on
// there is always something under way: what a step of the search would tolerate is none of the backlog.
func (r *run) catchUp(ctx context.Context, begin time.Duration) error {
	left := int64(float64(r.backlog()) * (1 - r.w.BacklogDrainRatio))
	if !r.w.StopProducers {
		rate := rates{r.backlog(), r.now() - begin}.perSecond()
		left = max(left, int64(max(queueAlways, queueSpan*rate)))
	}
	opening, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	began := r.now()
	if err := r.openConsumers(opening); err != nil {
		return err
	}
	r.opts.Log("drain the backlog")
	delivered := func() int64 { return r.meter.deliver.counts().all }
	drained := r.await(ctx, patience{backlogMax, drainMax}, func() bool { return r.backlog() <= left }, delivered)
	r.drained = rates{delivered(), r.now() - began}
	if !drained {
		r.notes.fail("the backlog was not drained in time: %d deliveries are left", r.backlog())
	}
	return nil
}
