// Package trial runs traffic through a topic of a local cluster while faults happen, and judges from outside whether
// every promise held.
//
// A publisher sends numbered records in an open loop, a subscriber receives and acknowledges everything, leaders are
// killed or stopped on request; at the end everything is read back from every replica and compared with what was
// acknowledged (package bench/verify). It neither makes clusters nor topics.
//
//	publisher ── every record numbered ──► topic ──► subscriber, acknowledges what it got
//	    │ what was acknowledged, where and when  ▲ SIGKILL or SIGSTOP, restart, wait until caught up
//	    ▼                                        │
//	history, pauses ◄──────── verdict ◄── read back from each broker's replicas
//
// The pause of a kill is the longest time without an acknowledgement, while records waited, on any partition that the
// victim led, if it began within a second of the kill; pauses while the victim comes back are counted apart.
//
// A Trial belongs to one goroutine; its counters (Sent, Acked, Received) may be read from any. Memory grows with the
// number of records: about 150 bytes each.
package trial
