package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/broker/internal/fsm"
)

// scrubber reads all sealed segments of this broker, again and again, to find damage before a consumer does; machines
// repair what it finds. The first pass begins a tenth of Config.ScrubEvery after the start, each other one ScrubEvery after
// the one before it began, or when that has ended; it reads Config.ScrubRate at most. One goroutine; memory for one segment's buffer.
type scrubber struct {
	c     *Controller
	limit *rate.Limiter

	passes   prometheus.Counter
	bytes    prometheus.Counter
	progress prometheus.Gauge
}

// scrubBurst is what is read without a pause.
const scrubBurst = 1 << 20

func newScrubber(c *Controller) *scrubber {
	name := func(n string) string { return "trunkline_scrub_" + n }
	return &scrubber{
		c: c, limit: rate.NewLimiter(rate.Limit(c.cfg.ScrubRate), scrubBurst),
		passes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: name("passes_total"), Help: "Times that all sealed segments of this broker were read and checked.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: name("bytes_total"), Help: "Bytes of sealed segments that were read and checked.",
		}),
		progress: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("progress_ratio"), Help: "How much of the present pass is done, 0 to 1, by replicas.",
		}),
	}
}

func (s *scrubber) collectors() []prometheus.Collector {
	return []prometheus.Collector{s.passes, s.bytes, s.progress}
}

// run scrubs until ctx ends.
func (s *scrubber) run(ctx context.Context) {
	next := time.NewTimer(s.c.cfg.ScrubEvery / 10)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			next.Reset(s.c.cfg.ScrubEvery)
		}
		s.pass(ctx)
	}
}

// pass scrubs what runs here now.
func (s *scrubber) pass(ctx context.Context) {
	all := s.c.All()
	for i, p := range all {
		s.progress.Set(float64(i) / float64(len(all)))
		err := p.FSM().Scrub(ctx, func(bytes int) error {
			s.bytes.Add(float64(bytes))
			for ; bytes > 0; bytes -= scrubBurst {
				if err := s.limit.WaitN(ctx, min(bytes, scrubBurst)); err != nil {
					return fmt.Errorf("scrub: %w", err)
				}
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !errors.Is(err, fsm.ErrClosed):
			s.c.log.Warn("scrub of a replica ended early", "err", err)
		}
	}
	s.progress.Set(1)
	s.passes.Inc()
}

// Damage returns what is damaged on this broker and not repaired yet.
func (c *Controller) Damage() []error {
	var all []error
	for _, p := range c.All() {
		for _, err := range p.FSM().Damage() {
			all = append(all, fmt.Errorf("partition %s: %w", p.TP(), err))
		}
	}
	return all
}
