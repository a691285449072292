// Package worker runs clients of a cluster as processes of their own, so that a client can be killed like a broker and what it did
// until then is still known.
//
//	harness                            client process (Main)
//	Crew.Start ── Task on its stdin ──►  publishes or consumes
//	Crew's goroutine ◄── Report, a line ──  before it does something, and after it has been told something
//
// # What is known of a client that is killed
//
// A client writes its Report with one write of at most lineLimit bytes to one pipe that all clients of a Crew share, and goes on when
// the kernel has taken it. So nothing that was written is lost with its writer, no line is torn, and the order of the lines of all
// clients is the order in which they were written:
//
//	Sent       before the message is given to the SDK        Got        before the message can be acknowledged
//	Acked ...  when the SDK has told the outcome             Committed  when the SDK has told that it is
//	Gone       by the harness itself, behind all that the client has written
//
// What a client was told and had not written when it was killed is not known; nobody else can have been told of it.
//
// # States of a client, and failure
//
//	started -> Kill, Leave, or it ends by itself -> Gone, with the reason in Report.Text
//	it cannot do its task            Failed with the reason, then Gone
//	the harness ends, in any way     its clients die with it
//	the harness does not read        clients wait in their writes: their SDK's callbacks, and so they, stand still
//
// # Bounds
//
// The pipe holds what the kernel gives a pipe (64 KiB); there is no other queue. One goroutine reads it, one for each process waits
// for its end. A Task and a Report are at most lineLimit bytes.
package worker
