// Package engine runs one workload on one system and measures it.
//
//	Run(ctx, system, workload, options) -> results.Run
//
//	topics ──► producers (one goroutine each, own pacing) ──► driver ──► Done ──► meter, ledger
//	                                                          driver ──► Deliver ► meter, ledger
//
// # Time
//
// All times are one process's monotonic clock, in microseconds since the run began; they travel in the payload. In an open loop
// message i of a producer is meant to leave at begin + i/rate, whatever happened to the ones before: what waits, in the client
// or because Send blocked, is part of its latency.
//
// # Payload
//
//	0        4         8                16               24           messageSize
//	┌────────┬─────────┬────────────────┬────────────────┬──────┬──── ... ───┐
//	│ run    │producer │ sequence       │ intended, ns   │sent, ns│ workload │
//	└────────┴─────────┴────────────────┴────────────────┴──────┴──── ... ───┘
//
// # Phases
//
// create topics, open consumers and producers, [search the maximum], warm up, measure (faults are made here), drain, read back where
// nothing was subscribed, check, delete topics. Each has a bound; a phase that does not end makes the run failed, not endless.
//
// # Bounds
//
// A message is pooled; as many exist as the clients hold. Histograms have a fixed size. The ledger takes two bits a message and
// subscription. The timeline has one point a second.
package engine
