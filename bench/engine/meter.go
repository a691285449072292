package engine

import (
	"sync"
	"sync/atomic"
	"time"
)

// shardsMax bounds the histograms of one side. More goroutines than that share.
const shardsMax = 16

// meter counts and times answers and deliveries. Safe for concurrent use.
type meter struct {
	window  window
	publish side // acknowledgements
	deliver side // deliveries to the workload's subscriptions
}

func newMeter(producers, consumers int) *meter {
	return &meter{publish: newSide(producers), deliver: newSide(consumers)}
}

// window is the measured part: of the messages intended in it the latency counts, and the rates are what happened in it.
type window struct{ from, to atomic.Int64 }

func (w *window) set(from, to time.Duration) {
	w.to.Store(0) // between the two stores nothing is inside
	w.from.Store(int64(from))
	w.to.Store(int64(to))
}

func (w *window) has(t time.Duration) bool {
	return int64(t) >= w.from.Load() && int64(t) < w.to.Load()
}

func (w *window) length() time.Duration { return time.Duration(w.to.Load() - w.from.Load()) }

// side is one direction, in shards so that no lock is hot.
type side []*shard

func newSide(users int) side {
	s := make(side, min(max(users, 1), shardsMax))
	for i := range s {
		s[i] = &shard{
			intended: newDistribution(fineDigits), sent: newDistribution(fineDigits), lately: newDistribution(coarseDigits),
		}
	}
	return s
}

// of returns the shard of a producer or consumer.
func (s side) of(user int) *shard { return s[user%len(s)] }

// shard is what a few goroutines count together.
type shard struct {
	mu       sync.Mutex
	counts   counts
	intended *distribution // from the intended time, of messages of the window
	sent     *distribution // from the actual time, of the same
	lately   *distribution // from the intended time, of what came since the last look
}

// counts are totals since the run began.
type counts struct {
	all    int64 // acknowledged or delivered
	inside int64 // the same, within the window
	failed int64
}

// record counts a message that was acknowledged or delivered now.
func (s *shard) record(w *window, now, intended, sent time.Duration) {
	measured, inside := w.has(intended), w.has(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.all++
	if inside {
		s.counts.inside++
	}
	s.lately.record(now - intended)
	if measured {
		s.intended.record(now - intended)
		s.sent.record(now - sent)
	}
}

func (s *shard) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.failed++
}

func (s side) counts() counts {
	var sum counts
	for _, sh := range s {
		sh.mu.Lock()
		sum.all += sh.counts.all
		sum.inside += sh.counts.inside
		sum.failed += sh.counts.failed
		sh.mu.Unlock()
	}
	return sum
}

// takeLately moves what came since the last call into a distribution, which is emptied first.
func (s side) takeLately(into *distribution) {
	into.reset()
	for _, sh := range s {
		sh.mu.Lock()
		into.merge(sh.lately)
		sh.lately.reset()
		sh.mu.Unlock()
	}
}

// latencies returns the distributions of the window, from the intended and from the actual time.
func (s side) latencies() (intended, sent *distribution) {
	intended, sent = newDistribution(fineDigits), newDistribution(fineDigits)
	for _, sh := range s {
		sh.mu.Lock()
		intended.merge(sh.intended)
		sent.merge(sh.sent)
		sh.mu.Unlock()
	}
	return intended, sent
}
