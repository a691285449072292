// Package demo proves from outside that killing leaders loses, repeats and reorders nothing.
//
// It starts three real broker processes, streams a real file through a replicated topic, kills the busiest leader again
// and again while publishing and consuming go on, and then reads everything back from every replica and compares it with
// what was acknowledged (package bench/verify).
//
//	publisher ── open loop, every record numbered ──► cluster ──► subscriber, acknowledges what it got
//	    │ what was acknowledged, where and when            ▲ SIGKILL or SIGSTOP, restart, wait until caught up
//	    ▼                                                  │
//	history, pauses ◄───────────── verdict ◄── read back from each broker's replicas
//
// The pause of a kill is the longest time without an acknowledgement, while records waited, on any partition that the
// victim led, if it began within a second of the kill; pauses while the victim comes back are counted apart. Memory grows with the number of records: about 150 bytes each.
package demo
