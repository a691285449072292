package verify

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Point is a value at a time since some origin.
type Point struct {
	At    time.Duration
	Value float64
}

// LevelBounds say what still is a level.
type LevelBounds struct {
	Warm   float64       // share of the series at its beginning that says nothing: caches fill
	Span   time.Duration // what follows is judged if it covers at least so much
	Growth float64       // allowed from the end of Warm to the end of the series, as a share of the median
	Floor  float64       // and beside that, in the unit of the values
}

// levelBuckets is how many medians a series is reduced to.
const levelBuckets = 200

// Level judges that a series of ascending times does not grow: the trend over all that follows the warm-up is within the bounds. The
// trend is the median of the slopes between any two of levelBuckets medians (Theil and Sen), so that a third of the series may be
// outliers, such as processes that were just started or a moment of pressure, and change nothing. A series that is too short is
// not judged: Checked is 0.
//
// Cost: O(n log n), and levelBuckets squared. Pure.
func Level(what string, points []Point, b LevelBounds) Findings {
	var f findings
	points = points[int(b.Warm*float64(len(points))):]
	if len(points) < 2 || points[len(points)-1].At-points[0].At < b.Span {
		return f.Findings()
	}
	f.checked.Add(1)
	medians := reduce(points)
	var slopes []float64
	for i, p := range medians {
		for _, q := range medians[i+1:] {
			if dt := (q.At - p.At).Seconds(); dt > 0 {
				slopes = append(slopes, (q.Value-p.Value)/dt)
			}
		}
	}
	span := points[len(points)-1].At - points[0].At
	grown, level := median(slopes)*span.Seconds(), median(values(medians))
	if most := b.Growth*level + b.Floor; grown > most {
		f.note("%s grows: by %s in %v at a level of %s; at most %s are allowed", what, short(grown), span.Round(time.Second), short(level), short(most))
	}
	return f.Findings()
}

// reduce returns medians of at most levelBuckets parts of a series.
func reduce(points []Point) []Point {
	n := min(levelBuckets, len(points))
	out := make([]Point, n)
	for i := range out {
		part := points[i*len(points)/n : (i+1)*len(points)/n]
		out[i] = Point{part[len(part)/2].At, median(values(part))}
	}
	return out
}

func values(points []Point) []float64 {
	out := make([]float64, len(points))
	for i, p := range points {
		out[i] = p.Value
	}
	return out
}

// median returns the middle of the values, 0 of none.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Clone(v)
	slices.SortFunc(v, cmp.Compare[float64])
	return v[len(v)/2]
}

// short is a number of bytes, or of anything, for people.
func short(v float64) string {
	if v >= 1<<20 {
		return fmt.Sprintf("%.0f Mi", v/(1<<20))
	}
	return fmt.Sprintf("%.0f", v)
}
