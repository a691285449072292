// Package raftnode runs the Raft shards of one broker: it wraps one Dragonboat NodeHost and is, with raftnet, fsm
// and meta, the only package that knows Dragonboat.
//
// It owns the NodeHost, the leadership events, changes of a shard's members, the classification of outcomes and the bound on
// background snapshots. It never decides who should lead or be a member, never retries a proposal or change and knows
// nothing of what commands mean.
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
// # Members
//
// What a replica is to its shard, by what the leader's log says; each arrow is one change, made by the shard's leader:
//
//	               AddLearner             Promote             RemoveReplica
//	unknown ──────────────────▶ learner ───────────▶ voter ────────────────▶ removed, for ever
//	(started or not)               └─────────────────────────────────────────▶ (its data are erased by RemoveData)
//
// A replica that joins starts with an empty log, before or after it was added; until then nobody speaks to it. At every start
// it is configured as a learner, and becomes a voter when a snapshot, its own or one that it gets, lists it as one, or when
// it applies its promotion, both before it may stand for election. A founder never is a learner. Which of the two a
// replica is stays in the log storage, from its first start on. A learner is no candidate: Campaign, a transfer to it and
// its own refusal of a vote do nothing. Asked for its vote, it gives it as a voter would: whoever asks knows of its promotion.
//
// A change carries the ConfigChangeID of the membership that it was decided on, and Raft refuses it once that is not the
// newest. So who reads the Membership, decides and makes a change never makes it twice, whoever else does, and after a
// failure anywhere does the same again:
//
//	nil             committed and applied here
//	ErrChanged      refused for good: read the membership again
//	ErrUndecided    may happen or not: ctx or Config.ProposalTimeout is over, or the replica stopped
//	ErrNotLeader, ErrNotReady, ErrBusy, ErrStopped   did not happen
//	ErrSelf         a leader does not remove itself
//
//	the leader dies before the change is committed    the next one commits it or not; the membership says which
//	a learner dies, or never starts                   no voter waits for it
//	a replica is down or cut off while it is removed  it may never hear of it: OnRemoved is only the fast way, the caller
//	                                                  learns of it from the metadata. It wins no election meanwhile: the
//	                                                  others do not vote for a log without the removal
//	a crash within RemoveData                         it is called again with the same ID, though Stored may not list it
//
// Raft applies a change when it is committed. From one voter to two or from two to three, the old voters decide, so for a
// moment the shard still needs all of the old ones, as before.
//
// The broker of a replica is learned from the replica's own messages, see peers: the caller's picture of the members may be
// behind Raft's own without a leader being unknown.
//
// # Campaign
//
// Campaign delivers the TimeoutNow message of a leadership transfer to the local replica; by Raft's own argument that
// is only the clock moving forward. Dragonboat ignores it while the replica has not applied all it knows to be
// committed, and says nothing, so one goroutine repeats it every few milliseconds until the term moves or the campaign
// is campaignWindow old. A candidate that lost ignores it too; after campaignPatience it is made a follower of the next
// term first.
//
// A replica that refuses a vote which only it can win is made to stand by ballots, with the same message, once the candidate
// agrees that there is no leader; Petition asks all others that (petitions). A replica that starts asks who leads, and the leader answers
// with a heartbeat before Raft would send one (Node.greet).
//
// Transfer is made of the same message, see there.
//
// Invariants:
//
//	Inv1  Nothing calls the NodeHost after its Close began: every call passes the gate, and Close waits for the gate.
//	Inv2  The callback of a shard is called by one goroutine only, with terms that never fall.
//	Inv3  At most Config.CompactWorkers snapshots requested here run at a time, so that their fsyncs do not add up.
//	Inv4  A replica is bootstrapped at most once: StartPartition asks the log storage, not its caller.
//	Inv5  At most one replica of a shard is stored here, and none runs here again after RemoveData.
//
// Bounds: two goroutines of our own for the whole node; per shard one small struct, and one for each replica that spoke
// to it. At most MaxStreams snapshots are sent at a time. One change of members per shard is under way. Dragonboat itself takes about
// 210 KB for each idle replica (soft.go). Proposals are bounded by their callers (Dragonboat refuses more than 64 per
// shard and step with ErrBusy).
package raftnode
