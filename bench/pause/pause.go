// Package pause finds out for how long something stood still while somebody waited for it.
//
// It reads no clock. A Meter is safe for concurrent use; its memory grows by one entry a gap of at least minGap.
package pause

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// gap is a time without an answer on one partition while records were waiting for one.
type gap struct {
	start, end time.Time
}

// minGap is the shortest gap that is kept; shorter ones are the ordinary distance between batches.
const minGap = 5 * time.Millisecond

// Meter records per partition when nothing was answered although something was outstanding.
type Meter struct {
	mu          sync.Mutex
	last        map[int32]time.Time // newest answer, or when the partition became busy
	outstanding map[int32]int       // negative: answers seen before what they answer
	gaps        map[int32][]gap
}

// New returns a meter that has seen nothing.
func New() *Meter {
	return &Meter{last: map[int32]time.Time{}, outstanding: map[int32]int{}, gaps: map[int32][]gap{}}
}

// Sent notes that a record waits on a partition.
func (m *Meter) Sent(part int32, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.outstanding[part] <= 0 {
		m.last[part] = now
	}
	m.outstanding[part]++
}

// Answered notes an answer. It may come before its Sent, where two observers report.
func (m *Meter) Answered(part int32, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if start := m.last[part]; m.outstanding[part] > 0 && now.Sub(start) >= minGap {
		m.gaps[part] = append(m.gaps[part], gap{start, now})
	}
	m.last[part] = now
	m.outstanding[part]--
}

// Longest returns the longest gap of the partitions that overlaps [from, to], in its whole length.
func (m *Meter) Longest(parts []int32, from, to time.Time) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	longest := time.Duration(0)
	for _, part := range parts {
		for _, g := range m.gaps[part] {
			if g.end.After(from) && g.start.Before(to) {
				longest = max(longest, g.end.Sub(g.start))
			}
		}
	}
	return longest
}

// Gap is a time without an answer on a partition with something under way.
type Gap struct {
	Partition int32
	From, To  time.Time
}

// Longer returns the gaps of at least d, the n longest of them at most, by their beginning. One that has not ended is not among them.
func (m *Meter) Longer(d time.Duration, n int) []Gap {
	m.mu.Lock()
	var all []Gap
	for part, gaps := range m.gaps {
		for _, g := range gaps {
			if g.end.Sub(g.start) >= d {
				all = append(all, Gap{part, g.start, g.end})
			}
		}
	}
	m.mu.Unlock()
	slices.SortFunc(all, func(a, b Gap) int { return cmp.Compare(b.To.Sub(b.From), a.To.Sub(a.From)) })
	all = all[:min(len(all), n)]
	slices.SortFunc(all, func(a, b Gap) int { return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Partition, b.Partition)) })
	return all
}

// Stats are percentiles in milliseconds.
type Stats struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Of uses the nearest rank: with few values p99 is the greatest.
func Of(values []time.Duration) Stats {
	if len(values) == 0 {
		return Stats{}
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	rank := func(q float64) float64 {
		i := int(q*float64(len(sorted))+0.999999) - 1
		d := sorted[min(max(i, 0), len(sorted)-1)]
		return float64(d.Microseconds()) / 1000
	}
	return Stats{P50: rank(0.50), P99: rank(0.99), Max: rank(1)}
}
