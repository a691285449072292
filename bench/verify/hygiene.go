package verify

import (
	"regexp"
	"sync"
)

// Hygiene checks that a process which was harmed is as good as before: it holds no more memory, goroutines and descriptors, it
// ended only where that was expected, and its log says nothing that must never be there.
//
// Cost: constant for Baseline, After and Exited; one or two regular expressions for a log line. Memory: one Vitals a process.
// Methods may be called from any goroutine.
type Hygiene struct {
	bounds HygieneBounds

	mu       sync.Mutex
	baseline map[string]Vitals // by process; guarded by mu
	findings
}

// Vitals are what a process holds at one moment.
type Vitals struct {
	RSS        int64 // bytes
	Goroutines int64
	FDs        int64
}

// HygieneBounds say how much more than before is the same.
type HygieneBounds struct {
	Factor float64        // for example 1.1
	Floor  Vitals         // differences up to these count for nothing: a tenth of few is less than one
	Alarm  *regexp.Regexp // log lines that must not be there; nil: DefaultAlarm
	Expect *regexp.Regexp // of them, those that the row's fault explains; nil: none
}

// DefaultAlarm matches what no log may say without a fault that explains it.
var DefaultAlarm = regexp.MustCompile(`(?i)panic|fatal error|DATA RACE|corrupt|segment damaged`)

// NewHygiene returns a checker that has seen nothing.
func NewHygiene(b HygieneBounds) *Hygiene {
	if b.Alarm == nil {
		b.Alarm = DefaultAlarm
	}
	return &Hygiene{bounds: b, baseline: map[string]Vitals{}}
}

// Baseline notes what a process held under the same load before the first fault. Called again it takes the higher values, so
// that the ordinary swing of garbage collection counts for nothing.
func (h *Hygiene) Baseline(process string, v Vitals) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.baseline[process]
	h.baseline[process] = Vitals{max(b.RSS, v.RSS), max(b.Goroutines, v.Goroutines), max(b.FDs, v.FDs)}
}

// After judges what it holds some time after the last fault, under the same load.
func (h *Hygiene) After(process string, v Vitals) {
	h.mu.Lock()
	b, ok := h.baseline[process]
	h.mu.Unlock()
	if !ok {
		h.note("%s: nobody took down what it held before the faults", process)
		return
	}
	for _, s := range []struct {
		what             string
		was, is, atLeast int64
	}{
		{"bytes of memory", b.RSS, v.RSS, h.bounds.Floor.RSS},
		{"goroutines", b.Goroutines, v.Goroutines, h.bounds.Floor.Goroutines},
		{"descriptors", b.FDs, v.FDs, h.bounds.Floor.FDs},
	} {
		h.checked.Add(1)
		if more := s.is - s.was; more > s.atLeast && float64(s.is) > float64(s.was)*h.bounds.Factor {
			h.note("%s holds %d %s, and held %d before the faults", process, s.is, s.what, s.was)
		}
	}
}

// Exited judges the end of a process: wanted says whether a fault or an order explains it, how is what the system says of it.
func (h *Hygiene) Exited(process string, wanted bool, how string) {
	h.checked.Add(1)
	if !wanted {
		h.note("%s ended by itself: %s", process, how)
	}
}

// Line judges a line of a process's log.
func (h *Hygiene) Line(process, line string) {
	h.checked.Add(1)
	if h.bounds.Alarm.MatchString(line) && (h.bounds.Expect == nil || !h.bounds.Expect.MatchString(line)) {
		h.note("%s said: %s", process, line)
	}
}
