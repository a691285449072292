package verify

import (
	"slices"
	"sync"
	"time"
)

// Recovery checks that after each fault the system is whole again in time: Healed when the fault is taken back, Whole when all
// replicas have caught up and every partition answers. A fault that comes before that calls Healed again, and only the last one
// counts.
//
// Cost: constant. Memory: 8 bytes a recovery. Methods may be called from any goroutine.
type Recovery struct {
	limit time.Duration

	mu    sync.Mutex
	since time.Duration   // guarded by mu; -1: it is whole
	times []time.Duration // guarded by mu
	findings
}

// NewRecovery returns a checker for a system that is whole. limit is how long a recovery may take.
func NewRecovery(limit time.Duration) *Recovery { return &Recovery{limit: limit, since: -1} }

// Healed notes that a fault was taken back, at a time since the beginning of the run.
func (r *Recovery) Healed(at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = at
}

// Whole judges the recovery that it ends, if there is one.
func (r *Recovery) Whole(at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since < 0 {
		return
	}
	r.checked.Add(1)
	took := at - r.since
	if took > r.limit {
		r.note("healed at %v, whole %v after that; the limit is %v", r.since, took, r.limit)
	}
	r.times, r.since = append(r.times, took), -1
}

// End judges a recovery that has not ended when the run does.
func (r *Recovery) End(at time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since >= 0 {
		r.checked.Add(1)
		r.note("healed at %v, not whole at %v, when the run ended", r.since, at)
	}
}

// Times returns how long the recoveries took, in their order.
func (r *Recovery) Times() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.times)
}
