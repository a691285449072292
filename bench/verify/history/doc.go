// Package history keeps the operations of a run, so that a failing one leaves what a person needs to see: what was asked, when,
// and what was answered, around the place where a promise broke.
//
// A Ring keeps the newest operations of each partition in memory while the run goes on; checkers of package verify judge all of
// them as they come, and need no history. At the end of a run that failed, Write appends what is kept to a file of JSON lines,
// which Read takes back and grep and jq understand:
//
//	{"trunkline_history":1,"seed":7,"kept":16384,"forgotten":120331}
//	{"worker":3,"op":"publish","partition":5,"producer":19,"seq":4711,"invoke_ns":12,"return_ns":40,"class":"ok","offset":70123}
//	...
//
// The first line is the Header; each other line is an Op, in the order of Op.Invoke. Fields that are zero are left out, offset -1
// where there is none. The format only grows: a reader takes fields that it does not know for nothing, and refuses a version that
// it does not know.
//
// Find looks for the first operation that contradicts those before it, and returns it among its neighbours. It sees what is kept
// and nothing else, so it explains a violation that a checker has found; it does not replace the checker.
//
// # Failures and bounds
//
//	a line that is no Op, or longer than maxLine     *FormatError with the line's number; what was read before it is returned too
//	a file that was cut off in the middle of a line  the same, so that a run which was killed still shows what there was
//	more than maxOps lines                           the same
//
// Memory: about 128 bytes an operation; a Ring holds at most its size for each partition, and forgets the oldest. A Ring's
// methods may be called from any goroutine. Nothing here reads a clock.
package history
