package report

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"

	"github.com/trunkline/trunkline/bench/results"
)

// ticks is a fixed list.
type ticks []plot.Tick

// Ticks returns the list.
func (t ticks) Ticks(_, _ float64) []plot.Tick { return t }

// logRange is a range of decimal logarithms that holds some values, with room at both ends. Values below floor count as floor:
// a logarithmic scale has no zero.
type logRange struct {
	floor  float64
	lo, hi float64
	some   bool
}

func (r *logRange) hold(v float64) {
	v = r.at(v)
	if !r.some {
		r.lo, r.hi, r.some = v, v, true
	}
	r.lo, r.hi = min(r.lo, v), max(r.hi, v)
}

// at is where a value stands on the axis.
func (r *logRange) at(v float64) float64 { return math.Log10(max(v, r.floor)) }

// widen makes room so that the range ends beside round numbers (1, 2, 5 times a power of ten).
func (r *logRange) widen() {
	steps := []float64{0, math.Log10(2), math.Log10(5), 1}
	decade, rest := math.Floor(r.lo-0.02), 0.0
	for _, s := range steps {
		if decade+s <= r.lo-0.02 {
			rest = s
		}
	}
	r.lo = decade + rest
	decade = math.Floor(r.hi + 0.02)
	for _, s := range steps {
		if decade+s >= r.hi+0.02 {
			r.hi = decade + s
			break
		}
	}
	if r.hi-r.lo < 0.5 {
		r.hi = r.lo + 0.5
	}
}

// ticks are the powers of ten, with the steps between as thin lines; they are labelled too where there are few decades.
func (r *logRange) ticks(format func(v float64) string) ticks {
	var all ticks
	for decade := math.Floor(r.lo); decade <= r.hi; decade++ {
		for k := 1.0; k < 10; k++ {
			at := decade + math.Log10(k)
			if at < r.lo-1e-9 || at > r.hi+1e-9 {
				continue
			}
			label := ""
			if k == 1 || (k == 2 || k == 5) && r.hi-r.lo < 2.5 {
				label = format(math.Pow(10, decade) * k)
			}
			all = append(all, plot.Tick{Value: min(max(at, r.lo), r.hi), Label: label})
		}
	}
	return all
}

// fromZero are about n round steps from 0 to at least top, and where the axis ends.
func fromZero(top float64, n int, format func(v float64) string) (ticks, float64) {
	if top <= 0 {
		top = 1
	}
	raw := top / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, k := range []float64{1, 2, 5, 10} {
		if k*step >= raw*0.999 {
			step *= k
			break
		}
	}
	var all ticks
	end := math.Ceil(top/step-1e-9) * step
	for v := 0.0; v <= end+step/2; v += step {
		all = append(all, plot.Tick{Value: v, Label: format(v)})
	}
	return all, end
}

// shortTime writes microseconds for an axis, like "5 ms".
func shortTime(us float64) string {
	switch {
	case us >= 0.999e6:
		return fmt.Sprintf("%.3g s", us/1e6)
	case us >= 0.999e3:
		return fmt.Sprintf("%.3g ms", us/1e3)
	default:
		return fmt.Sprintf("%.3g us", us)
	}
}

// shortCount writes a rate for an axis, like "200 k".
func shortCount(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3g k", v/1e3)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// nines is where a percentile (0 to 100) stands on the scale on which 90, 99 and 99.9 are equally far apart. The 100th stands
// where the last of count events does.
func nines(percentile float64, count int64) float64 {
	last := math.Log10(float64(max(count, 10)))
	if percentile >= 100 {
		return last
	}
	return min(-math.Log10(1-max(percentile, 0)/100), last)
}

// ninesTicks are the percentiles up to the end of an axis.
func ninesTicks(end float64) ticks {
	all := ticks{
		{Value: nines(0, math.MaxInt64), Label: "0"}, {Value: nines(50, math.MaxInt64), Label: "50"},
		{Value: nines(75, math.MaxInt64)}, {Value: 1, Label: "90"},
	}
	label := "99"
	for v := 2.0; v <= end+1e-9; v++ {
		all = append(all, plot.Tick{Value: v, Label: label})
		if label == "99" {
			label += "."
		}
		label += "9"
	}
	return all
}

// middle is the run whose figure is the median of all runs that have it; nil if none has.
func middle(runs []*results.Run, of func(*results.Run) (float64, bool)) *results.Run {
	var best *results.Run
	var values []float64
	for _, r := range runs {
		if v, ok := of(r); ok {
			values = append(values, v)
		}
	}
	want := results.Quantile(values, 0.5)
	for _, r := range runs {
		if v, ok := of(r); ok && v == want {
			best = r
		}
	}
	return best
}

// counting are the runs of a column that are OK.
func counting(c *results.Column) []*results.Run {
	var good []*results.Run
	for _, r := range c.Runs {
		if r.Verdict == results.OK {
			good = append(good, r)
		}
	}
	return good
}
