package verify

import (
	"sync"
	"time"
)

// Liveness checks that a system goes on: while it is healthy every partition answers enough in each window, and no request of the
// load waits for long. Safety holds in a system that does nothing at all; this is what such a one breaks.
//
//	Healthy(at) ... Harmed(at) ... Healthy(at) ...       times since the beginning of the run, ascending
//	             └─ Settle ─┤ windows, and requests that wait
//
// A system begins harmed. Harmed is called before a fault is injected, Healthy when it is taken back, so that whatever a fault
// delays is answered after the call of Harmed. Settle is how long it may take to recover; only what lies behind it counts. Rows in
// which the system must go on during the fault call neither.
//
// A request that waited for longer than Bounds.Oldest counts if so much of that time was healthy. One that is never answered is
// told by Waiting at the end of the run.
//
// Cost: constant for an answer, apart from the windows that it closes, which are judged once each. Memory: 8 bytes a partition and
// window that is not judged yet, at most maxWindows of them; 16 bytes for each healthy time. Methods may be called from any
// goroutine.
type Liveness struct {
	bounds LivenessBounds

	mu      sync.Mutex
	healthy []span  // settled times, the last one perhaps open; guarded by mu
	answers [][]int // by partition: in windows first, first+1, ...; guarded by mu
	first   int64   // the number of the oldest window that is not judged; guarded by mu
	findings
}

// LivenessBounds say what is enough.
type LivenessBounds struct {
	Settle time.Duration // after a fault, before anything is demanded
	Window time.Duration // more than 0
	Least  int           // answers of each partition in each window
	Oldest time.Duration // how long a request may wait in healthy times
}

// maxWindows bounds the windows that are not judged yet: they are judged at the latest when so many have begun after them.
const maxWindows = 64

// span is a time from begin to end; end 0: it goes on.
type span struct{ begin, end time.Duration }

// NewLiveness returns a checker for partitions that are numbered from 0.
func NewLiveness(partitions int, b LivenessBounds) *Liveness {
	return &Liveness{bounds: b, answers: make([][]int, partitions)}
}

// Healthy notes that nothing harms the system from now on.
func (l *Liveness) Healthy(at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.healthy); n == 0 || l.healthy[n-1].end != 0 {
		l.healthy = append(l.healthy, span{begin: at + l.bounds.Settle})
	}
}

// Harmed notes that something is about to harm it.
func (l *Liveness) Harmed(at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.healthy); n > 0 && l.healthy[n-1].end == 0 {
		if l.healthy[n-1].end = at; at <= l.healthy[n-1].begin {
			l.healthy = l.healthy[:n-1] // it had no time to settle
		}
	}
}

// Answered notes the answer to a request, whatever it is, right after it came.
func (l *Liveness) Answered(partition int32, asked, answered time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited(partition, asked, answered, "waited")
	l.count(partition, int64(answered/l.bounds.Window), 1)
}

// Held notes that nobody asked anything of a partition from one time until another, because the load itself held back: in these
// windows it owes no answer. It must come before maxWindows more have begun.
func (l *Liveness) Held(partition int32, from, until time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for w := int64(from / l.bounds.Window); w <= int64(until/l.bounds.Window); w++ {
		l.count(partition, w, l.bounds.Least)
	}
}

// count adds n answers to a window. l.mu is held.
func (l *Liveness) count(partition int32, window int64, n int) {
	if window < l.first {
		return // another goroutine was ahead
	}
	if window-l.first >= maxWindows {
		l.judge(window - maxWindows + 1)
	}
	counts := l.answers[partition]
	for int64(len(counts)) <= window-l.first {
		counts = append(counts, 0)
	}
	counts[window-l.first] += n
	l.answers[partition] = counts
}

// Waiting judges a request that has no answer at the end of the run.
func (l *Liveness) Waiting(partition int32, asked, end time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited(partition, asked, end, "is not answered, and has waited")
}

// End judges all windows that ended before the end of the run. Nothing may be answered after it.
func (l *Liveness) End(at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := int64(at / l.bounds.Window); last > l.first {
		l.judge(last)
	}
}

// waited judges a request's time. l.mu is held.
func (l *Liveness) waited(partition int32, asked, until time.Duration, what string) {
	l.checked.Add(1)
	if until-asked <= l.bounds.Oldest {
		return
	}
	for i := len(l.healthy) - 1; i >= 0; i-- {
		h := l.healthy[i]
		if h.end == 0 {
			h.end = until
		}
		if h.end < asked {
			return // and those before it too
		}
		if long := min(h.end, until) - max(h.begin, asked); long > l.bounds.Oldest {
			l.note("partition %d: a request of %v %s until %v, %v of it in healthy times; allowed are %v", partition, asked, what, until, long,
				l.bounds.Oldest)
			return
		}
	}
}

// judge judges the windows before a number and forgets them. l.mu is held.
func (l *Liveness) judge(before int64) {
	for w := l.first; w < before; w++ {
		begin, end := time.Duration(w)*l.bounds.Window, time.Duration(w+1)*l.bounds.Window
		if !l.covered(begin, end) {
			continue
		}
		for p, counts := range l.answers {
			l.checked.Add(1)
			n := 0
			if i := w - l.first; i < int64(len(counts)) {
				n = counts[i]
			}
			if n < l.bounds.Least {
				l.note("partition %d: %d answers from %v to %v, with nothing that harms the system; %d are the least", p, n, begin, end,
					l.bounds.Least)
			}
		}
	}
	for p, counts := range l.answers {
		l.answers[p] = append(counts[:0], counts[min(int64(len(counts)), before-l.first):]...)
	}
	l.first = before
}

// covered reports whether a window lies in a healthy time. l.mu is held.
func (l *Liveness) covered(begin, end time.Duration) bool {
	for i := len(l.healthy) - 1; i >= 0; i-- {
		h := l.healthy[i]
		if h.begin <= begin {
			return h.end == 0 || end <= h.end
		}
	}
	return false
}
