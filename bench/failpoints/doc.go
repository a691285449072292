// Package failpoints controls the failpoints of a running broker whose build has the tag faults (make faults), over its admin HTTP.
// What a plan may say and which points there are is in the package document of broker/internal/failpoint.
//
// Each call is one request with the limit of its context, at most requestLimit. It keeps no state and may be used by any goroutine.
package failpoints
