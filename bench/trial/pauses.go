package trial

import (
	"slices"
	"sync"
	"time"
)

// gap is a time without an acknowledgement on one partition while records were waiting for one.
type gap struct {
	start, end time.Time
}

// minGap is the shortest gap that is kept; shorter ones are the ordinary distance between batches.
const minGap = 5 * time.Millisecond

// pauses records per partition when nothing was acknowledged although something was outstanding. Safe for
// concurrent use. Memory grows by one entry a gap of at least minGap.
type pauses struct {
	mu          sync.Mutex
	last        map[int32]time.Time // newest acknowledgement, or when the partition became busy
	outstanding map[int32]int       // negative: answers seen before what they answer
	gaps        map[int32][]gap
}

func newPauses() *pauses {
	return &pauses{last: map[int32]time.Time{}, outstanding: map[int32]int{}, gaps: map[int32][]gap{}}
}

// sent notes that a record waits on a partition.
func (p *pauses) sent(part int32, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.outstanding[part] <= 0 {
		p.last[part] = now
	}
	p.outstanding[part]++
}

// acked notes an answer. It may come before its sent, where two observers report.
func (p *pauses) acked(part int32, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if start := p.last[part]; p.outstanding[part] > 0 && now.Sub(start) >= minGap {
		p.gaps[part] = append(p.gaps[part], gap{start, now})
	}
	p.last[part] = now
	p.outstanding[part]--
}

// around returns the longest gap of the partitions that overlaps [from, to].
func (p *pauses) around(parts []int32, from, to time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	longest := time.Duration(0)
	for _, part := range parts {
		for _, g := range p.gaps[part] {
			if g.end.After(from) && g.start.Before(to) {
				longest = max(longest, g.end.Sub(g.start))
			}
		}
	}
	return longest
}

// PauseStats are percentiles in milliseconds.
type PauseStats struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// stats uses the nearest rank: with few values p99 is the greatest.
func stats(values []time.Duration) PauseStats {
	if len(values) == 0 {
		return PauseStats{}
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	rank := func(q float64) float64 {
		i := int(q*float64(len(sorted))+0.999999) - 1
		d := sorted[min(max(i, 0), len(sorted)-1)]
		return float64(d.Microseconds()) / 1000
	}
	return PauseStats{P50: rank(0.50), P99: rank(0.99), Max: rank(1)}
}
