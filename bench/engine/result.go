package engine

import (
	"time"

	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/workload"
)

// lagMax is how late the loader may be, at the 99th percentile, before its figures do not count.
const lagMax = 10 * time.Millisecond

// results puts together what was measured, after the clients were closed.
func (r *run) results() *results.Run {
	published, delivered := r.meter.publish.counts(), r.meter.deliver.counts()
	seconds := r.meter.window.length().Seconds()
	out := &results.Run{
		System: r.opts.System, Workload: r.w.Name, Round: r.opts.Round, About: r.sys.About(), Spec: r.w,
		Start: r.began, Seconds: seconds, Offered: r.offered, Maximum: r.maximum, Failures: published.failed,
		DrainRate: r.drained.perSecond(), Timeline: r.timeline, Cost: r.costs.list(),
	}
	if seconds > 0 {
		out.PublishRate = float64(published.inside) / seconds
		out.ConsumeRate = float64(delivered.inside) / seconds
	}
	out.PublishMBps = out.PublishRate * float64(r.w.MessageSize) / 1e6
	out.DrainMBps = out.DrainRate * float64(r.w.MessageSize) / 1e6
	if r.notes.first != nil {
		out.FirstError = r.notes.first.Error()
	}
	for _, p := range r.timeline {
		out.BacklogPeak = max(out.BacklogPeak, p.Backlog)
	}
	r.addLatencies(out)
	r.addLoader(out)
	out.Checked = r.checked()
	if r.faulty() {
		out.Faults = r.measured()
	}
	r.judge(out)
	out.Verdict, out.Reasons = r.notes.verdict()
	return out
}

func (r *run) addLatencies(out *results.Run) {
	intended, sent := r.meter.publish.latencies()
	out.Publish, out.Sent = intended.latency(), sent.latency()
	intended, sent = r.meter.deliver.latencies()
	out.EndToEnd, out.Delivery = intended.latency(), sent.latency()
}

func (r *run) addLoader(out *results.Run) {
	lag := newDistribution(fineDigits)
	for _, p := range r.producers {
		lag.merge(p.lag)
	}
	out.Loader = results.Loader{CPUSeconds: r.costs.loader.Seconds(), LagP99: lag.at(99), LagMax: lag.max}
	out.Machine = results.Machine{Busy: r.costs.busy, Stolen: r.costs.stolen}
}

// checked returns what became of the messages. What was not checked was still counted.
func (r *run) checked() results.Checked {
	if r.ledger == nil {
		acked := r.meter.publish.counts().all
		return results.Checked{
			Sent: r.sent(), Acked: acked, Delivered: r.meter.deliver.counts().all,
			Unanswered: r.sent() - acked - r.meter.publish.counts().failed,
		}
	}
	t := r.ledger.Tally()
	return results.Checked{
		Done: true, Sent: t.Sent, Acked: t.Acked, Delivered: t.Delivered, Lost: t.Lost, Duplicated: t.Duplicated,
		Redelivered: t.Redelivered, Reordered: t.Reordered, Phantom: t.Phantom, Unanswered: t.Unanswered, Examples: t.Examples,
	}
}

// judge notes everything that is wrong with the figures or with what the system did.
func (r *run) judge(out *results.Run) {
	r.judgePromises(out)
	if r.faulty() {
		if acked, sent := r.meter.publish.counts().all, r.sent(); acked != sent {
			r.notes.fail("%d of %d messages were never acknowledged, although their producers tried until the end", sent-acked, sent)
		}
	} else {
		if out.Failures > 0 {
			r.notes.fail("%d publishes failed, the first with: %s", out.Failures, out.FirstError)
		}
		r.judgeRate(out)
	}
	switch {
	case out.Checked.Acked == 0:
		r.notes.fail("nothing was acknowledged")
	case out.PublishRate == 0 && out.DrainRate == 0:
		r.notes.doubt("nothing was acknowledged within the %.0f s that count: measure for longer", out.Seconds)
	case out.Publish.Count == 0:
		r.notes.doubt("nothing was sent within the %.0f s that count, as all that may be under way was: measure for longer", out.Seconds)
	}
	if lag := time.Duration(out.Loader.LagP99) * time.Microsecond; lag > lagMax {
		r.notes.doubt("the loader was late: by %v at the 99th percentile, allowed are %v; the machine's processors were busy for %.0f %%"+
			" of the time, %.0f %% were taken by its host", lag, lagMax, 100*out.Machine.Busy, 100*out.Machine.Stolen)
	}
}

func (r *run) judgePromises(out *results.Run) {
	c := out.Checked
	if c.Lost > 0 {
		r.notes.fail("%d acknowledged messages were lost", c.Lost)
	}
	if c.Phantom > 0 {
		r.notes.fail("%d messages were delivered that nobody sent, that were damaged, or that were answered as not appended", c.Phantom)
	}
	if c.Duplicated > 0 && out.About.NoDuplicates {
		r.notes.fail("%d messages were stored twice, which the system promises not to do", c.Duplicated)
	}
	if c.Reordered > 0 && out.About.Ordered {
		r.notes.fail("%d messages were delivered out of order, which the system promises not to do", c.Reordered)
	}
}

// judgeRate compares what was offered in an open loop with what was acknowledged.
func (r *run) judgeRate(out *results.Run) {
	if r.w.Loop == workload.Closed {
		return
	}
	if out.PublishRate < reached*out.Offered {
		r.notes.doubt("offered %.0f messages a second, but only %.0f were acknowledged (%.1f %%; %.0f %% are needed)",
			out.Offered, out.PublishRate, 100*out.PublishRate/out.Offered, 100*reached)
	}
	late := int64(0)
	for _, p := range r.producers {
		late += p.late
	}
	if late > 0 {
		r.notes.doubt("%d messages of the schedule could not even be sent within %v after its end", late, catchUpMax)
	}
}
