// Package raftnode runs the Raft shards of one broker: it wraps one Dragonboat NodeHost and is, with raftnet, fsm
// and meta, the only package that knows Dragonboat.
//
// It owns the NodeHost, the leadership events, the classification of outcomes and the bound on background
// snapshots. It never decides who should lead, never retries a proposal and knows nothing of what commands mean.
//
// # Outcomes
//
//	Propose returns an error     definitely not proposed
//	Dropped                      definitely not in any log
//	Committed                    committed by a majority and applied here; Value and Data are the state machine's
//	Unknown                      timed out, or the shard was stopped: may be in the log now or later
//
// A proposal that a later leader cut off the log is never reported by Dragonboat: it stays open until its timeout.
// So nobody who needs an answer soon may wait for Unknown; the signal is Leadership.
//
// # Leadership
//
//	raft step worker -> LeaderUpdated -> inbox (newest per shard) -> dispatch goroutine -> the shard's callback
//
// The callback of Dragonboat runs in a goroutine on which Raft's workers wait, so it only stores and signals. One
// dispatch goroutine calls the shards' callbacks, each shard's events in order. Events that came while a callback
// ran are coalesced: only the newest survives, so a callback that sees (term 7, self) after (term 5, self) must
// conclude that leadership was lost in between. Callbacks must not block: they delay those of all other shards.
//
// # Campaign
//
// Campaign delivers the TimeoutNow message of a leadership transfer to the local replica; by Raft's own argument that
// is only the clock moving forward. Dragonboat ignores it while the replica has not applied all it knows to be
// committed, and says nothing, so one goroutine repeats it every few milliseconds until the term moves or the campaign
// is campaignWindow old. A candidate that lost ignores it too; after campaignPatience it is made a follower of the next
// term first.
//
// A replica that refuses a vote which only it can win is made to stand by ballots, with the same message.
//
// Transfer is made of the same message, see there.
//
// Invariants:
//
//	Inv1  Nothing calls the NodeHost after its Close began: every call passes the gate, and Close waits for the gate.
//	Inv2  The callback of a shard is called by one goroutine only, with terms that never fall.
//	Inv3  At most Config.CompactWorkers snapshots requested here run at a time, so that their fsyncs do not add up.
//	Inv4  A replica is bootstrapped at most once: StartPartition asks the log storage, not its caller.
//
// Bounds: two goroutines of our own for the whole node; per shard one small struct. Dragonboat itself takes about
// 210 KB for each idle replica (soft.go). Proposals are bounded by their callers (Dragonboat refuses more than 64 per
// shard and step with ErrBusy).
package raftnode
