// Package failpoint names the places in a broker where a test may make it fail, and, in builds with the tag "faults" alone, makes
// it fail there. Without the tag every function here is empty or returns a constant, so that the compiler removes the call and the
// name, and nothing can be switched on (TestNormalBuildHoldsNoFailpoint).
//
// A plan is a text that names what is to happen, all of it; the next plan replaces it and counts its passes anew. An empty one is
// no harm:
//
//	plan   = [ rule { ";" rule } ]
//	rule   = point "=" action { "," option }          each point at most once
//	action = "panic" | "delay:" DURATION              at every point but clock and bug.*
//	       | "error:EIO" | "error:ENOSPC"             at fs.* only: the operation fails; a write has written half
//	       | "offset:" DURATION                       at clock only: wall-clock time that is stamped on records and that retention uses
//	       | "on"                                     at bug.* only: the broker breaks that promise
//	option = "after=" N                               the first N passes are spared
//	       | "count=" N                               at most N passes are hit
//	       | "match=" TEXT                            at fs.* only: paths that contain TEXT; at *Step: kinds of steps
//
// For example fs.datasync=error:EIO,count=1,match=/wal-;clock=offset:-1h. A mistake is refused with a sentence that says where it
// is, and nothing changes.
//
// A plan comes from the environment variable TRUNKLINE_FAILPOINTS at the start, and over HTTP while the broker runs:
//
//	PUT /debug/failpoints   the plan is the body; 204, or 400 with the sentence
//	GET /debug/failpoints   JSON: the plan, and for each point how often it was passed since the start and how often it acted
//
// It is served to callers on the loopback interface; also to those with private addresses if the variable is set, which is how a
// harness with network namespaces says that they are its own.
//
// # Points
//
// One pass of a point is one record batch, one file operation or whatever passes that place once (see points). A panic in a
// goroutine that serves a client ends that connection only, anywhere else it ends the process: that is what the product does with
// panics, and is not changed for the test's sake. Points of planted bugs begin with "bug."; each makes one line of the product lie.
//
// # Bounds, failure and concurrency
//
// A plan has at most 4 KiB and one rule for each point; a delay lasts at most a minute, an offset is at most 1000 hours. The
// counters are one pair for each point. A delay holds the caller with whatever locks it has, as a slow disk would. Everything may be
// called from any goroutine; a plan takes effect at the next pass of each point. An unknown name at a Hit is a mistake in the
// product and panics.
package failpoint
