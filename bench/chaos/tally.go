package chaos

import (
	"fmt"
	"maps"
	"sync"
)

// tally keeps what a fault counts, and the promises that it found broken. Safe for concurrent use.
type tally struct {
	name string

	mu     sync.Mutex
	counts map[string]int64 // guarded by mu
	broken []string         // guarded by mu; at most maxTrouble
}

func newTally(name string) tally {
	return tally{name: name, counts: map[string]int64{}}
}

// Counts says what happened, over all injections: each name behind that of the fault.
func (t *tally) Counts() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := map[string]int64{}
	for name, n := range t.counts {
		out[t.name+"_"+name] = n
	}
	return out
}

// Violations says which promises were broken.
func (t *tally) Violations() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.broken...)
}

func (t *tally) count(name string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[name] += n
}

// most keeps the greatest of what it is given.
func (t *tally) most(name string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[name] = max(t.counts[name], n)
}

func (t *tally) counted() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

func (t *tally) violation(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts["broken"]++
	if len(t.broken) < maxTrouble {
		t.broken = append(t.broken, t.name+": "+fmt.Sprintf(format, args...))
	}
}
