package engine

import (
	"context"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/results"
)

// shortPoint is the shortest last interval of a phase that is a point of the timeline.
const shortPoint = 200 * time.Millisecond

// observer looks once a second while a phase lasts.
type observer struct {
	run      *run
	phase    string
	of       time.Duration
	timeline *[]results.Point // nil: only progress
	begin    time.Duration
	end      context.CancelFunc
	wg       sync.WaitGroup

	last             time.Duration
	acked, delivered int64
	failed           int64
	publish, deliver *distribution
}

// observe starts an observer. The owner stops it, and touches the timeline only then.
func (r *run) observe(ctx context.Context, phase string, of time.Duration, timeline *[]results.Point) *observer {
	ctx, end := context.WithCancel(ctx)
	o := &observer{
		run: r, phase: phase, of: of, timeline: timeline, begin: r.now(), end: end,
		publish: newDistribution(coarseDigits), deliver: newDistribution(coarseDigits),
	}
	o.look() // forget what came before
	o.wg.Go(func() { o.watch(ctx) })
	return o
}

// stop ends the observer after a last look.
func (o *observer) stop() {
	o.end()
	o.wg.Wait()
}

func (o *observer) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			o.tell(o.look())
		case <-ctx.Done():
			if o.run.now()-o.last >= shortPoint {
				o.tell(o.look())
			}
			return
		}
	}
}

func (o *observer) tell(p results.Point) {
	if o.timeline != nil {
		*o.timeline = append(*o.timeline, p)
	}
	o.run.opts.Progress(Progress{Phase: o.phase, At: o.run.now() - o.begin, Of: o.of, Point: p})
}

// look measures what happened since the last look.
func (o *observer) look() results.Point {
	r := o.run
	published, delivered := r.meter.publish.counts(), r.meter.deliver.counts()
	r.meter.publish.takeLately(o.publish)
	r.meter.deliver.takeLately(o.deliver)
	now := r.now()
	seconds := (now - o.last).Seconds()
	p := results.Point{
		At:         (now - o.begin).Seconds(),
		Published:  float64(published.all-o.acked) / seconds,
		Consumed:   float64(delivered.all-o.delivered) / seconds,
		Failed:     float64(published.failed-o.failed) / seconds,
		Backlog:    max(published.all*int64(r.w.SubscriptionsPerTopic)-delivered.all, 0),
		Waiting:    r.waiting(),
		PublishP50: o.publish.at(50), PublishP99: o.publish.at(99), EndP99: o.deliver.at(99),
	}
	o.last, o.acked, o.delivered, o.failed = now, published.all, delivered.all, published.failed
	return p
}
