package engine

import (
	"math"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/trunkline/trunkline/bench/results"
)

const (
	// longest is beyond what any phase may last, a week, so that no latency is out of range.
	longest      = 8 * 24 * time.Hour
	fineDigits   = 3 // of what goes into results
	coarseDigits = 2 // of the timeline: an eighth of the memory
	// curveTicks are the points of a curve for each halving of the distance to 100 %.
	curveTicks     = 5
	curvePointsMax = 100
)

// distribution is a histogram of microseconds with its exact ends. Not safe for concurrent use. A fine one takes about
// 250 KB.
type distribution struct {
	hist     *hdr.Histogram
	min, max int64
}

func newDistribution(digits int) *distribution {
	return &distribution{hist: hdr.New(1, longest.Microseconds(), digits), min: math.MaxInt64}
}

func (d *distribution) record(t time.Duration) {
	us := min(max(t.Microseconds(), 0), longest.Microseconds())
	d.min, d.max = min(d.min, us), max(d.max, us)
	_ = d.hist.RecordValue(us) // in range, as bounded above
}

func (d *distribution) merge(from *distribution) {
	d.min, d.max = min(d.min, from.min), max(d.max, from.max)
	d.hist.Merge(from.hist)
}

func (d *distribution) reset() {
	d.hist.Reset()
	d.min, d.max = math.MaxInt64, 0
}

// at returns a percentile. The buckets of a histogram are wider than a microsecond, so its ends are the exact ones.
func (d *distribution) at(percentile float64) int64 {
	return min(d.hist.ValueAtPercentile(percentile), d.max)
}

func (d *distribution) latency() results.Latency {
	if d.hist.TotalCount() == 0 {
		return results.Latency{}
	}
	return results.Latency{
		Count: d.hist.TotalCount(), Mean: d.hist.Mean(), Min: d.min, Max: d.max,
		P50: d.at(50), P75: d.at(75), P95: d.at(95), P99: d.at(99), P999: d.at(99.9), P9999: d.at(99.99),
		Curve: d.curve(),
	}
}

// curve returns at most curvePointsMax points, ever closer to each other towards 100 %, the last of which is the maximum.
func (d *distribution) curve() [][2]float64 {
	var points [][2]float64
	for _, b := range d.hist.CumulativeDistributionWithTicks(curveTicks) {
		points = append(points, [2]float64{b.Quantile, float64(min(b.ValueAt, d.max))})
	}
	points = points[:min(len(points), curvePointsMax-1)]
	return append(points, [2]float64{100, float64(d.max)})
}
