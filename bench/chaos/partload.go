package chaos

import (
	"context"
	"fmt"
	"io"
	"time"
)

const (
	// flatOut is how long the load goes as fast as answers come until its rate counts, and then while it is measured.
	flatOut = 5 * time.Second
	// partSettle is the time from the change to a part of that rate until what counts as quiet, which lasts for quietFor.
	partSettle = 3 * time.Second
	quietFor   = 15 * time.Second
)

// PartLoad says what publishing was like at a part of the rate at which the brokers, as they were at first, took and delivered messages.
// Every message of a lane is due at a fixed time then, whatever became of those before it, and its delay counts from that.
type PartLoad struct {
	FlatOut  float64 `json:"flat_out"`  // messages a second
	Rate     float64 `json:"rate"`      // messages a second that were asked for
	Quiet    Delays  `json:"quiet_ms"`  // before the first fault
	Grown    Delays  `json:"grown_ms"`  // the same of more brokers, while a fault let them rest; see rests
	Changing Delays  `json:"faults_ms"` // while faults were in force, until the brokers were back, without the rests
}

// Times is how many times as long as quiet publishes took during faults, at the 99th percentile; 0 if there were none.
func (p *PartLoad) Times() float64 { return times(p.Changing, p.Quiet) }

// TimesGrown is Times in proportion to as many brokers as there were at most, which share the same processors and disk.
func (p *PartLoad) TimesGrown() float64 { return times(p.Changing, p.Grown) }

func times(d, of Delays) float64 {
	if of.P99 == 0 {
		return 0
	}
	return d.P99 / of.P99
}

func (p *PartLoad) print(w io.Writer) {
	fmt.Fprintf(w, "load: %.0f messages a second of %.0f flat out\n", p.Rate, p.FlatOut)
	for _, d := range []struct {
		when string
		Delays
	}{{"quiet", p.Quiet}, {"grown, quiet", p.Grown}, {"faults", p.Changing}} {
		if d.Count == 0 {
			continue
		}
		fmt.Fprintf(w, "publish delay, %s: p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, max %.0f ms of %d\n", d.when, d.P50, d.P99, d.P999, d.Max, d.Count)
	}
	fmt.Fprintf(w, "publish p99 during faults: %.2f times the quiet one\n", p.Times())
	if p.Grown.Count > 0 {
		fmt.Fprintf(w, "and %.2f times the quiet one of as many brokers\n", p.TimesGrown())
	}
}

// rests is a fault that has a state in which as many brokers as it ever has are there and nothing changes: it calls rest then.
type rests interface {
	restBy(rest func(context.Context) error)
}

// rest measures what publishing is like while nothing changes, if the load is a part of what brokers take.
func (r *run) rest(ctx context.Context) error {
	if r.res.PartLoad == nil {
		return nil
	}
	r.load.changing.on.Store(false)
	defer r.load.changing.on.Store(true)
	if err := sleep(ctx, partSettle); err != nil {
		return err
	}
	r.load.grown.on.Store(true)
	err := sleep(ctx, quietFor)
	r.load.grown.on.Store(false)
	r.say("load: grown, quiet p99 %.2f ms", r.load.grown.get().P99)
	return err
}

// slowDown measures the load's rate, lets it go at Options.Load of it, and measures what publishing is like then.
func (r *run) slowDown(ctx context.Context) error {
	if err := sleep(ctx, flatOut); err != nil {
		return err
	}
	begun, before := time.Now(), r.totalAcked()
	if err := sleep(ctx, flatOut); err != nil {
		return err
	}
	part := &PartLoad{FlatOut: float64(r.totalAcked()-before) / time.Since(begun).Seconds()}
	if part.FlatOut == 0 {
		return fmt.Errorf("nothing was acknowledged in %v: there is no part of that", flatOut)
	}
	part.Rate = part.FlatOut * r.opts.Load
	if r.opts.Rate > 0 {
		part.Rate = min(part.Rate, r.opts.Rate)
	}
	r.res.PartLoad = part
	r.load.goAt(part.Rate)
	if err := sleep(ctx, partSettle); err != nil {
		return err
	}
	r.load.quiet.on.Store(true)
	err := sleep(ctx, quietFor)
	r.load.quiet.on.Store(false)
	r.say("load: %.0f messages a second of %.0f; quiet p99 %.2f ms", part.Rate, part.FlatOut, r.load.quiet.get().P99)
	return err
}

// goAt paces the load to a rate over all lanes, messages a second.
func (l *load) goAt(rate float64) {
	lanes := float64(len(l.producers) * l.partitions)
	l.beat.Store(int64(lanes / rate * float64(time.Second)))
	l.lately.on.Store(true)
}

// turn waits until a lane may publish, and returns when the message was due: a beat after the last one, if there is a beat, and otherwise
// now. The time in which the lane waited for consumers is none in which messages are due. false: ctx ended.
func (l *load) turn(ctx context.Context, part int32, last time.Time) (due time.Time, ok bool) {
	held, ok := l.awaitConsumers(ctx, part)
	if !ok || l.pace.Wait(ctx) != nil {
		return due, false
	}
	beat := time.Duration(l.beat.Load())
	if beat == 0 {
		return time.Now(), true
	}
	due = last.Add(held + beat)
	return due, sleep(ctx, time.Until(due)) == nil
}
