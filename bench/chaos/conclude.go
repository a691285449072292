package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/verify"
)

// conclude writes the result down.
func (r *run) conclude() error {
	r.seen()
	r.res.LostTurns = r.load.lostTurns()
	if p := r.res.PartLoad; p != nil {
		p.Quiet, p.Grown, p.Changing = r.load.quiet.get(), r.load.grown.get(), r.load.changing.get()
	}
	r.res.Observed = r.watch.Report(r.begin, r.load.pauses.Longer(observedPause, observedPauses))
	r.res.Observed.Totals = observe.Since(r.res.Observed.Totals, r.before)
	r.res.Counts = r.counts()
	maps.Copy(r.res.Counts, r.res.Observed.Totals)
	r.res.count(r.load.ledger.Tally(), r.load.trail.Report(), r.drained)
	for _, n := range r.load.notes() {
		r.res.violation("%s", n)
	}
	r.res.RealTime = r.load.realTime.Findings()
	for _, e := range r.res.RealTime.Examples {
		r.res.violation("real time: %s", e)
	}
	for _, f := range r.faults {
		if j, ok := f.(judge); ok {
			r.res.Violations = append(r.res.Violations, j.Violations()...)
		}
	}
	logs, err := leftLogs(r.cluster.Dir())
	if err != nil {
		return err
	}
	for _, b := range r.cluster.Brokers() {
		logs = append(logs, r.cluster.Log(b.ID))
	}
	lines, err := readLogs(logs, r.health.hygiene)
	r.res.Log = lines
	r.load.positions.end()
	r.res.check(r.health.findings(), r.drained)
	r.res.check(map[string]verify.Findings{"turns": r.load.turns(), "positions": r.load.positions.findings()}, r.drained)
	if level := levelOf(r.res.Observed.Timeline, r.opts.Brokers); level.Checked > 0 {
		r.res.check(map[string]verify.Findings{"memory": level}, false)
	}
	if r.res.Acked == 0 {
		r.res.violation("nothing was acknowledged: the run shows nothing")
	}
	r.res.Seconds = time.Since(r.start).Seconds()
	r.res.summarise(r.opts.Slack)
	if !r.res.OK() {
		err = errors.Join(err, r.leave())
	}
	return errors.Join(err, writeJSON(r.dir, "result.json", r.res))
}

// counts returns what the faults and the load have counted.
func (r *run) counts() map[string]int64 {
	all := map[string]int64{"lost_turns": int64(r.load.lostTurns())}
	for _, f := range r.faults {
		if c, ok := f.(counter); ok {
			for name, n := range c.Counts() {
				all[name] += n
			}
		}
	}
	return all
}

// progress says how the load goes until ctx ends.
func (r *run) progress(ctx context.Context) {
	last := int64(0)
	for sleep(ctx, sayEvery) == nil {
		t := r.load.ledger.Tally()
		line := fmt.Sprintf("acked %d (%.0f/s), delivered %d, waiting %d", t.Acked, float64(t.Acked-last)/sayEvery.Seconds(), t.Delivered, t.Sent-t.Acked)
		if d := r.load.lately.take(); d.Count > 0 {
			line += fmt.Sprintf(", publish delay p50 %.0f ms, p99 %.0f ms", d.P50, d.P99)
		}
		r.say("%s", line)
		last = t.Acked
	}
}

// totals returns all counters: those of faults and load, and those of the brokers.
func (r *run) totals() map[string]int64 {
	all := r.watch.Totals()
	maps.Copy(all, r.counts())
	return all
}

// seen counts what has happened since the last fault began as that fault's.
func (r *run) seen() {
	now := r.totals()
	if n := len(r.res.Faults); n > 0 {
		r.res.see(r.res.Faults[n-1].Row, observe.Since(now, r.mark))
	}
	r.mark = now
}
