package verify

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Findings are what a checker has to say of one invariant.
type Findings struct {
	Checked  int64    // judgements that were made; with 0 the checker has seen nothing and shows nothing
	Broken   int64    // how often the invariant was broken
	Examples []string // the first times in words, at most maxExamples
}

// OK reports whether nothing was broken. Whether anything was looked at is up to Checked.
func (f *Findings) OK() bool { return f.Broken == 0 }

// findings collects Findings of a checker that several goroutines feed.
type findings struct {
	checked atomic.Int64

	mu       sync.Mutex
	broken   int64    // guarded by mu
	examples []string // guarded by mu
}

func (f *findings) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken++
	if len(f.examples) < maxExamples {
		f.examples = append(f.examples, fmt.Sprintf(format, args...))
	}
}

// Findings returns what was found so far.
func (f *findings) Findings() Findings {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Findings{Checked: f.checked.Load(), Broken: f.broken, Examples: append([]string(nil), f.examples...)}
}
