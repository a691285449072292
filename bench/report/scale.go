package report

import (
	"math"

	"gonum.org/v1/plot"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

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
func ninesTicks(end float64) drawing.Ticks {
	all := drawing.Ticks{
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
