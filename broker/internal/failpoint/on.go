//go:build faults

package failpoint

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Enabled tells whether this build can be made to fail.
const Enabled = true

// EnvName is the environment variable with the first plan.
const EnvName = "TRUNKLINE_FAILPOINTS"

// inForce is the plan that counts now.
var inForce atomic.Pointer[plan]

func init() { inForce.Store(&plan{}) }

// Start puts the environment's plan into force.
func Start() error {
	if err := set(os.Getenv(EnvName)); err != nil {
		return fmt.Errorf("%s: %w", EnvName, err)
	}
	return nil
}

func set(text string) error {
	p, err := parse(text)
	if err == nil {
		inForce.Store(p)
	}
	return err
}

// Hit is a place where a plan may panic or delay.
func Hit(point string) { _ = pass(point, "") } // error actions are for fs.* alone

// Step is a place that is passed by several kinds of steps, where a plan may panic or delay; a rule may match the kind.
func Step(point, kind string) { _ = pass(point, kind) } // error actions are for fs.* alone

// Error is a file operation that a plan may make fail, panic or wait.
func Error(point, path string) error { return pass(point, path) }

// Bug tells whether a planted bug is on.
func Bug(point string) bool {
	c := counterOf(point)
	c.passed.Add(1)
	r := inForce.Load().rules[point]
	if r == nil || !r.due() {
		return false
	}
	c.acted.Add(1)
	return true
}

// Clock returns the wall clock that a plan may shift.
func Clock() func() time.Time { return now }

func now() time.Time {
	c := counterOf(clockPoint)
	c.passed.Add(1)
	r := inForce.Load().rules[clockPoint]
	if r == nil {
		return time.Now()
	}
	c.acted.Add(1)
	return time.Now().Add(r.delay)
}

// pass does what the plan says about one pass of a point.
func pass(point, path string) error {
	c := counterOf(point)
	c.passed.Add(1)
	r := inForce.Load().rules[point]
	if r == nil || !r.meets(path) || !r.due() {
		return nil
	}
	c.acted.Add(1)
	switch {
	case r.panics:
		panic(fmt.Sprintf("failpoint %s: panic", point))
	case r.errno != 0:
		return &injected{point: point, path: path, errno: r.errno}
	}
	time.Sleep(r.delay)
	return nil
}

// injected is the error of a file operation that a plan made fail.
type injected struct {
	point, path string
	errno       error
}

func (e *injected) Error() string {
	return fmt.Sprintf("failpoint %s: %s: %v", e.point, e.path, e.errno)
}

func (e *injected) Unwrap() error { return e.errno }

// counter counts the passes of one point since the process started.
type counter struct{ passed, acted atomic.Int64 }

// counters has one counter for each point; it does not change.
var counters = func() map[string]*counter {
	m := make(map[string]*counter, len(points))
	for _, p := range points {
		m[p] = &counter{}
	}
	return m
}()

func counterOf(point string) *counter {
	c := counters[point]
	if c == nil {
		panic("failpoint: " + point + " is not in the table of points")
	}
	return c
}
