package controller

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline/protocol"
)

const (
	// preferEvery is how often leaders look whether the preferred one could have the leadership.
	preferEvery = time.Second
	// preferParallel bounds the transfers at one time, preferTime each of them: a thousand leaderships return within seconds, and
	// at no moment do more than a few partitions wait for a leader.
	preferParallel = 4
	preferTime     = 2 * time.Second
	// preferSilence is how long publishers of a partition may wait for a hand-over that nobody has asked for. Where commits take more than
	// half of that, because brokers are far from each other, or the network became slow, leaderships stay where they are.
	preferSilence = 400 * time.Millisecond
	// preferLag is how many entries the preferred leader may lack: it gets them before the old one falls silent.
	preferLag = 1000
	// preferPause is what a partition is spared after a hand-over that failed, because its publishers waited for it; twice as long
	// after each that follows, up to preferPauseMax.
	preferPause    = 5 * time.Second
	preferPauseMax = time.Minute
)

// failures are some in a row.
type failures struct {
	n    int
	last time.Time
}

// again returns f, which may be nil, with one more.
func (f *failures) again(now time.Time) *failures {
	if f == nil {
		return &failures{1, now}
	}
	return &failures{f.n + 1, now}
}

// over reports whether the pause after them is over.
func (f *failures) over(now time.Time) bool {
	if f == nil {
		return true
	}
	return now.Sub(f.last) >= min(preferPause<<min(f.n-1, 8), preferPauseMax)
}

// prefer hands leaderships to their preferred brokers as soon as these are fit, until ctx ends. A broker that came back is not fit for a
// while (Config.Steady): it has logs to read and clients to take, and it may go again.
func (c *Controller) prefer(ctx context.Context) {
	tick := time.NewTicker(preferEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.preferOnce(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (c *Controller) preferOnce(ctx context.Context) {
	g := errgroup.Group{}
	g.SetLimit(preferParallel)
	for _, r := range c.running() {
		to, ok := c.preferred(r)
		if !ok || ctx.Err() != nil {
			continue
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, preferTime)
			defer cancel()
			if err := r.transfer(ctx, to, preferSilence); err != nil {
				r.vain.Store(r.vain.Load().again(time.Now()))
				c.log.Warn("leadership was not handed to its preferred broker", "topic", r.spec().topic,
					"partition", r.spec().tp.Partition, "to", to, "err", err)
				return nil
			}
			r.vain.Store(nil)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
}

// preferred returns who should lead a replica that is led here, if it is another broker, fit, not far behind and to stay: one whose
// replica is being taken away has just handed the leadership over to lose it. After hand-overs that failed nobody for a while.
func (c *Controller) preferred(r *replica) (to protocol.BrokerID, ok bool) {
	s := r.spec()
	to = s.replicas[0].Broker
	if !r.vain.Load().over(time.Now()) {
		return 0, false
	}
	if _, serves := r.serving(); !serves || to == c.cfg.Self || to == s.parting || !c.cfg.Steady(to) {
		return 0, false
	}
	match, known := c.host.match(s.shard, to)
	return to, known && match+preferLag >= r.applied()
}
