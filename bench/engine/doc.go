// Package engine runs one workload on one system and measures it.
//
//	Run(ctx, system, workload, options) -> results.Run
//
//	topics ──► producers (one goroutine each, own pacing) ──► driver ──► Done ──► meter, ledger, pauses
//	                                                          driver ──► Deliver ► meter, ledger, pauses
//
// # Time
//
// All times are one process's monotonic clock, in microseconds since the run began; they travel in the payload. In an open loop
// message i of a producer is meant to leave at begin + i/rate, whatever happened to the ones before: what waits, in the client
// or because Send blocked, is part of its latency. In a closed loop a message is meant to leave when it does: with a bound on the
// messages in flight that is when the answer before it has come, without one when Send takes it.
//
// # Payload
//
//	0        4         8                16               24           messageSize
//	┌────────┬─────────┬────────────────┬────────────────┬──────┬──── ... ───┐
//	│ run    │producer │ sequence       │ intended, ns   │sent, ns│ workload │
//	└────────┴─────────┴────────────────┴────────────────┴──────┴──── ... ───┘
//
// Little-endian. The body follows from producer and sequence, and every delivery is compared with it.
//
// # Phases
//
//	create topics, open consumers and producers, prime each partition, [search the maximum], warm up,
//	measure (faults are made here), drain, [read back where nothing was subscribed], close the clients, check, delete topics
//
// Warm up and measured part are one schedule without a seam. A workload with a backlog has neither: its measured part is the
// publishing. Each phase has a bound; a phase that does not end makes the run failed, not endless.
//
// # What counts
//
// Latencies are those of all messages intended within the measured part, however late they were answered. Rates are what
// happened within it. Costs are those of the measured part, with the drain of a backlog. The check covers every message of the
// run, from the first of a search to the last.
//
// # Bounds
//
// A message is pooled; as many exist as the clients hold. Histograms have a fixed size, at most 16 sets for each direction. The
// ledger takes two bits a message, and two more for each subscription. The timeline has one point a second, and a fault run one
// entry for each pause of 5 ms.
package engine
