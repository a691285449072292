package engine

import (
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
)

// minGap is the shortest gap that is kept; shorter ones are the ordinary distance between batches.
const minGap = 5 * time.Millisecond

// pauses record, for every partition, when nothing was acknowledged although something waited for it, and when nothing was
// delivered although something acknowledged was due. Safe for concurrent use.
type pauses struct {
	publish []line   // by partition
	deliver [][]line // by subscription and partition
}

func newPauses(subscriptions, partitions int) *pauses {
	p := &pauses{publish: make([]line, partitions), deliver: make([][]line, subscriptions)}
	for s := range p.deliver {
		p.deliver[s] = make([]line, partitions)
	}
	return p
}

// line is one partition in one direction. Memory grows by one entry a gap of at least minGap.
type line struct {
	mu      sync.Mutex
	last    time.Duration // newest event, or when the line became busy
	waiting int           // negative: deliveries seen before the acknowledgement of what they deliver
	newest  int64         // offset of the newest delivery, plus one
	gaps    []gap
}

// gap is a time since the start of the run.
type gap struct{ from, to time.Duration }

func (p *pauses) sent(partition int32, now time.Duration) { p.publish[partition].expect(now) }

// answered notes the answer to a message. A refused one is no longer waited for, but ends no pause.
func (p *pauses) answered(partition int32, now time.Duration, acked bool) {
	if !acked {
		p.publish[partition].forget()
		return
	}
	p.publish[partition].event(now)
	for s := range p.deliver {
		p.deliver[s][partition].expect(now)
	}
}

// delivered notes a delivery. One that was there before is not what anybody waits for.
func (p *pauses) delivered(subscription int, partition int32, d *driver.Delivery, now time.Duration) {
	l := &p.deliver[subscription][partition]
	if d.Offset != driver.NoOffset && !l.advance(d.Offset) || d.Offset == driver.NoOffset && d.Redelivered {
		return
	}
	l.event(now)
}

func (l *line) expect(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting <= 0 {
		l.last = max(l.last, now)
	}
	l.waiting++
}

func (l *line) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
}

func (l *line) event(now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting > 0 && now-l.last >= minGap {
		l.gaps = append(l.gaps, gap{l.last, now})
	}
	l.last = max(l.last, now)
	l.waiting--
}

// advance reports whether an offset is beyond all before.
func (l *line) advance(offset int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset < l.newest {
		return false
	}
	l.newest = offset + 1
	return true
}

// during returns the gaps that overlap a time; one that has not ended ends now.
func (l *line) during(t gap, now time.Duration) []gap {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []gap
	for _, g := range l.gaps {
		if g.to > t.from && g.from < t.to {
			found = append(found, g)
		}
	}
	if open := (gap{l.last, now}); l.waiting > 0 && open.to > t.from && open.from < t.to {
		found = append(found, open)
	}
	return found
}

// publishing returns the longest publish gap of some partitions that overlaps a time, in its whole length.
func (p *pauses) publishing(partitions []int, t gap, now time.Duration) time.Duration {
	return longestGap(p.publish, partitions, t, now)
}

// delivering returns the longest delivery gap of some partitions, on any subscription, that overlaps a time.
func (p *pauses) delivering(partitions []int, t gap, now time.Duration) time.Duration {
	most := time.Duration(0)
	for _, lines := range p.deliver {
		most = max(most, longestGap(lines, partitions, t, now))
	}
	return most
}

func longestGap(lines []line, partitions []int, t gap, now time.Duration) time.Duration {
	most := time.Duration(0)
	for _, i := range partitions {
		for _, g := range lines[i].during(t, now) {
			most = max(most, g.to-g.from)
		}
	}
	return most
}

// within returns the longest part of a publish gap of any partition that lies in a time: the rest belongs to what happened before
// and after.
func (p *pauses) within(t gap, now time.Duration) time.Duration {
	most := time.Duration(0)
	for i := range p.publish {
		for _, g := range p.publish[i].during(t, now) {
			most = max(most, min(g.to, t.to)-max(g.from, t.from))
		}
	}
	return most
}
