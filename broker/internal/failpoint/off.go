//go:build !faults

package failpoint

import (
	"net/http"
	"time"
)

// Enabled tells whether this build can be made to fail.
const Enabled = false

// EnvName is the environment variable with the first plan; this build has none.
const EnvName = ""

// Start puts the environment's plan into force.
func Start() error { return nil }

// Hit is a place where a plan may panic or delay.
func Hit(string) {}

// Step is a place that is passed by several kinds of steps, where a plan may panic or delay.
func Step(point, kind string) {}

// Error is a file operation that a plan may make fail, panic or wait.
func Error(point, path string) error { return nil }

// Bug tells whether a planted bug is on.
func Bug(string) bool { return false }

// Clock returns the wall clock that a plan may shift; nil: this build has only the real one.
func Clock() func() time.Time { return nil }

// Handler serves plans over HTTP; nil: this build does not.
func Handler() http.Handler { return nil }
