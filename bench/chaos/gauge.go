package chaos

import (
	"context"
	"slices"
	"sync"
	"time"
)

// gauge keeps how long the messages of steady traffic took. Message k is due at a fixed time, whatever became of those before it, and
// times count from then: a sender or a receiver that is late makes them longer. It is safe for concurrent use. Memory: 16 bytes a
// message.
type gauge struct {
	begin time.Time
	every time.Duration // from one message to the next

	mu        sync.Mutex
	acked     []time.Duration // guarded by mu; by message; 0: not yet
	delivered []time.Duration // as acked
}

// tail is the slow end of the messages that were due within some seconds: P99 is the median of the 99th percentiles of each of them,
// so that it speaks of what lasts, not of the one moment in which the machine's disk stood still; Max is the slowest of all.
type tail struct{ P99, Max time.Duration }

// window is a time from which messages are looked at, by when they were due.
type window struct{ from, to time.Time }

func newGauge(rate int) *gauge {
	return &gauge{begin: time.Now(), every: time.Second / time.Duration(rate)}
}

// due is when message k shall be sent.
func (g *gauge) due(k int) time.Time { return g.begin.Add(time.Duration(k) * g.every) }

func (g *gauge) ackedNow(k int)     { g.note(&g.acked, k) }
func (g *gauge) deliveredNow(k int) { g.note(&g.delivered, k) }

func (g *gauge) note(times *[]time.Duration, k int) {
	took := max(1, time.Since(g.due(k)))
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(*times) <= k {
		*times = append(*times, 0)
	}
	if (*times)[k] == 0 {
		(*times)[k] = took
	}
}

// tails returns those of acknowledgements and of deliveries of what was due in the whole seconds of all windows together. Who has not
// come until now counts with the time until now.
func (g *gauge) tails(windows ...window) (acks, deliveries tail) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tail(g.acked, windows, now), g.tail(g.delivered, windows, now)
}

// tail is tails of one kind. mu is held.
func (g *gauge) tail(times []time.Duration, windows []window, now time.Time) tail {
	var t tail
	var p99s []time.Duration
	for _, w := range windows {
		for from := w.from; !from.Add(time.Second).After(w.to); from = from.Add(time.Second) {
			second := g.second(times, from, now)
			p99s = append(p99s, second[len(second)*99/100])
			t.Max = max(t.Max, second[len(second)-1])
		}
	}
	if len(p99s) > 0 {
		slices.Sort(p99s)
		t.P99 = p99s[len(p99s)/2]
	}
	return t
}

// second returns what the messages of one second took, sorted. mu is held.
func (g *gauge) second(times []time.Duration, from, now time.Time) []time.Duration {
	first := int(max(0, from.Sub(g.begin)) / g.every)
	var all []time.Duration
	for k := first; k < first+int(time.Second/g.every); k++ {
		took := now.Sub(g.due(k))
		if k < len(times) && times[k] > 0 {
			took = times[k]
		}
		all = append(all, took)
	}
	slices.Sort(all)
	return all
}

// run calls send for every message at its time, one after the other, until ctx ends.
func (g *gauge) run(ctx context.Context, send func(k int)) {
	for k := 0; sleep(ctx, time.Until(g.due(k))) == nil; k++ {
		send(k)
	}
}
