package engine

import (
	"fmt"
	"slices"
	"sync"

	"github.com/trunkline/trunkline/bench/results"
)

// reasonsMax bounds what a verdict says.
const reasonsMax = 10

// notes collect why a run is not ok. Safe for concurrent use.
type notes struct {
	mu     sync.Mutex
	failed []string // a promise was broken or the work did not end
	doubts []string // the figures do not count
	first  error    // of the publishes that failed
}

func (n *notes) fail(format string, args ...any) { n.add(&n.failed, fmt.Sprintf(format, args...)) }

func (n *notes) doubt(format string, args ...any) { n.add(&n.doubts, fmt.Sprintf(format, args...)) }

func (n *notes) add(to *[]string, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(*to) < reasonsMax && !slices.Contains(*to, reason) {
		*to = append(*to, reason)
	}
}

func (n *notes) firstError(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.first == nil {
		n.first = err
	}
}

// verdict returns the worst, with all reasons.
func (n *notes) verdict() (results.Verdict, []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	reasons := slices.Concat(n.failed, n.doubts)
	switch {
	case len(n.failed) > 0:
		return results.Failed, reasons
	case len(n.doubts) > 0:
		return results.Inconclusive, reasons
	default:
		return results.OK, nil
	}
}
