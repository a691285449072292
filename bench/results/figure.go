package results

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Better says in which direction a figure is better.
type Better int

// The directions. A figure that is neither has no ratio.
const (
	Neither Better = iota
	Higher
	Lower
)

// String is what titles say, like "higher is better".
func (b Better) String() string {
	switch b {
	case Higher:
		return "higher is better"
	case Lower:
		return "lower is better"
	default:
		return ""
	}
}

// Unit is what a figure counts in; it decides how it is written.
type Unit int

// The units.
const (
	PerSecond Unit = iota
	MBPerSecond
	Microseconds
	CPUSecondsPerMillion
	MiB
	BytesPerByte
	Share
)

// Figure is one number of a run.
type Figure struct {
	Key    string // stable, like "publish_p99"
	Name   string // for people
	Unit   Unit
	Better Better
	// Pooled: the figure of several rounds is that of all their events together (failover pauses), not the median of rounds.
	Pooled bool
	// of is the figure over some runs; false: they have no such thing. Figures that are not Pooled look at the first run only.
	of func(runs []*Run) (float64, bool)
}

// Of is the figure of one run; false if the run has no such thing.
func (f Figure) Of(r *Run) (float64, bool) { return f.of([]*Run{r}) }

// Figures are all headline figures in the order in which tables show them.
func Figures() []Figure {
	return []Figure{
		rate("publish_rate", "publish rate", PerSecond, func(r *Run) float64 { return r.PublishRate }),
		rate("publish_mbps", "publish bytes", MBPerSecond, func(r *Run) float64 { return r.PublishMBps }),
		rate("consume_rate", "consume rate", PerSecond, func(r *Run) float64 { return r.ConsumeRate }),
		rate("drain_rate", "drain rate", PerSecond, func(r *Run) float64 { return r.DrainRate }),
		latency("publish_p50", "publish p50", publish, func(l *Latency) int64 { return l.P50 }),
		latency("publish_p99", "publish p99", publish, func(l *Latency) int64 { return l.P99 }),
		latency("publish_p99_9", "publish p99.9", publish, func(l *Latency) int64 { return l.P999 }),
		latency("publish_max", "publish max", publish, func(l *Latency) int64 { return l.Max }),
		latency("sent_p50", "publish p50, from sent", sent, func(l *Latency) int64 { return l.P50 }),
		latency("sent_p99", "publish p99, from sent", sent, func(l *Latency) int64 { return l.P99 }),
		latency("sent_p99_9", "publish p99.9, from sent", sent, func(l *Latency) int64 { return l.P999 }),
		latency("sent_max", "publish max, from sent", sent, func(l *Latency) int64 { return l.Max }),
		latency("end_to_end_p50", "end-to-end p50", endToEnd, func(l *Latency) int64 { return l.P50 }),
		latency("end_to_end_p99", "end-to-end p99", endToEnd, func(l *Latency) int64 { return l.P99 }),
		pause("publish_pause_p50", "publish pause p50", PublishPauses, 0.5),
		pause("publish_pause_p99", "publish pause p99", PublishPauses, 0.99),
		pause("publish_pause_max", "publish pause max", PublishPauses, 1),
		pause("delivery_pause_p50", "delivery pause p50", DeliveryPauses, 0.5),
		pause("delivery_pause_p99", "delivery pause p99", DeliveryPauses, 0.99),
		pause("delivery_pause_max", "delivery pause max", DeliveryPauses, 1),
		one(Figure{Key: "cpu", Name: "CPU per million acked", Unit: CPUSecondsPerMillion, Better: Lower}, cpuPerMillion),
		one(Figure{Key: "rss", Name: "memory, largest node", Unit: MiB, Better: Lower}, rssMax),
		one(Figure{Key: "written", Name: "bytes written per byte", Unit: BytesPerByte, Better: Lower}, writtenPerByte),
		one(Figure{Key: "loader_lag", Name: "loader lag p99", Unit: Microseconds, Better: Neither}, loaderLag),
		one(Figure{Key: "busy", Name: "machine busy", Unit: Share, Better: Neither}, machineBusy),
		one(Figure{Key: "stolen", Name: "machine stolen by host", Unit: Share, Better: Neither}, machineStolen),
	}
}

// FigureOf finds a figure by its key.
func FigureOf(key string) (Figure, bool) {
	all := Figures()
	i := slices.IndexFunc(all, func(f Figure) bool { return f.Key == key })
	if i < 0 {
		return Figure{}, false
	}
	return all[i], true
}

func one(f Figure, of func(*Run) (float64, bool)) Figure {
	f.of = func(runs []*Run) (float64, bool) { return of(runs[0]) }
	return f
}

func rate(key, name string, unit Unit, of func(*Run) float64) Figure {
	return one(Figure{Key: key, Name: name, Unit: unit, Better: Higher}, func(r *Run) (float64, bool) {
		v := of(r)
		return v, v > 0
	})
}

func latency(key, name string, which func(*Run) *Latency, of func(*Latency) int64) Figure {
	return one(Figure{Key: key, Name: name, Unit: Microseconds, Better: Lower}, func(r *Run) (float64, bool) {
		l := which(r)
		return float64(of(l)), l.Count > 0
	})
}

func publish(r *Run) *Latency  { return &r.Publish }
func sent(r *Run) *Latency     { return &r.Sent }
func endToEnd(r *Run) *Latency { return &r.EndToEnd }

func pause(key, name string, of func(*Run) []float64, q float64) Figure {
	pooled := func(runs []*Run) (float64, bool) {
		var all []float64
		for _, r := range runs {
			all = append(all, of(r)...)
		}
		return 1000 * Quantile(all, q), len(all) > 0
	}
	return Figure{Key: key, Name: name, Unit: Microseconds, Better: Lower, Pooled: true, of: pooled}
}

// PublishPauses are the pauses of a run's faults in milliseconds. A fault on a node that led nothing interrupts nobody and is left out.
func PublishPauses(r *Run) []float64 {
	return pauses(r, func(f *Fault) float64 { return f.PublishPause })
}

// DeliveryPauses are the same without a delivery; none if the run delivered nothing.
func DeliveryPauses(r *Run) []float64 {
	if r.EndToEnd.Count == 0 {
		return nil
	}
	return pauses(r, func(f *Fault) float64 { return f.DeliveryPause })
}

func pauses(r *Run, of func(*Fault) float64) []float64 {
	var all []float64
	for i := range r.Faults {
		if r.Faults[i].Led > 0 {
			all = append(all, of(&r.Faults[i]))
		}
	}
	return all
}

func cpuPerMillion(r *Run) (float64, bool) {
	var sum float64
	for _, c := range r.Cost {
		sum += c.CPUSeconds
	}
	acked := r.PublishRate * r.Seconds
	return 1e6 * sum / max(acked, 1), len(r.Cost) > 0 && acked >= 1
}

func rssMax(r *Run) (float64, bool) {
	var most float64
	for _, c := range r.Cost {
		most = max(most, c.RSSMaxMiB)
	}
	return most, most > 0
}

func writtenPerByte(r *Run) (float64, bool) {
	var sum int64
	for _, c := range r.Cost {
		sum += c.BytesWritten
	}
	payload := r.PublishMBps * 1e6 * r.Seconds
	return float64(sum) / max(payload, 1), len(r.Cost) > 0 && payload >= 1
}

func loaderLag(r *Run) (float64, bool) { return float64(r.Loader.LagP99), r.Publish.Count > 0 }

func machineBusy(r *Run) (float64, bool) { return r.Machine.Busy, r.Machine.Busy > 0 }

func machineStolen(r *Run) (float64, bool) { return r.Machine.Stolen, r.Machine.Busy > 0 }

// Median is the middle value, or the mean of the two middle ones; 0 of none. It sorts nothing of the caller's.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Quantile is the smallest value that at least the share q (0 to 1) of all values does not exceed; 0 of none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(q*float64(len(s)))) - 1
	return s[min(max(i, 0), len(s)-1)]
}

// scale is a unit's way to write values from a size on.
type scale struct {
	from, div float64
	suffix    string
}

func (u Unit) scales() []scale {
	switch u {
	case PerSecond:
		return []scale{{1e6, 1e6, " M/s"}, {1e4, 1e3, " k/s"}, {0, 1, " /s"}}
	case MBPerSecond:
		return []scale{{0, 1, " MB/s"}}
	case Microseconds:
		return []scale{{1e6, 1e6, " s"}, {1e3, 1e3, " ms"}, {0, 1, " us"}}
	case CPUSecondsPerMillion:
		return []scale{{0, 1, " s"}}
	case MiB:
		return []scale{{0, 1, " MiB"}}
	case Share:
		return []scale{{0, 0.01, " %"}}
	default:
		return []scale{{0, 1, ""}}
	}
}

func (u Unit) scaleOf(v float64) scale {
	all := u.scales()
	for _, s := range all {
		if math.Abs(v) >= s.from {
			return s
		}
	}
	return all[len(all)-1]
}

// Format writes a value with three digits and its unit, like "12.4 ms".
func (u Unit) Format(v float64) string {
	s := u.scaleOf(v)
	return threeDigits(v/s.div) + s.suffix
}

// FormatSpread writes a value and its range in the value's unit, like "12.4 ms (11.9..13.0)"; the value alone if there is no range.
func (u Unit) FormatSpread(v, lo, hi float64) string {
	if lo == hi {
		return u.Format(v)
	}
	s := u.scaleOf(v)
	return fmt.Sprintf("%s (%s..%s)", u.Format(v), threeDigits(lo/s.div), threeDigits(hi/s.div))
}

// threeDigits writes at least three digits and never a number that rounds to nothing.
func threeDigits(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 99.95 || v == math.Trunc(v) && a < 10:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.0995:
		return fmt.Sprintf("%.2f", v)
	default:
		return strings.TrimRight(fmt.Sprintf("%.4f", v), "0")
	}
}
