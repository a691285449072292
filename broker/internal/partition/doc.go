// Package partition is the leader's side of one partition: it turns operations of many clients into few Raft proposals
// and answers each operation exactly once, in order.
//
// It owns the pipeline between sessions and raftnode, the claim of leader epochs, the answers when leadership is lost,
// and the upkeep of one replica (retention, compaction of its Raft log). It never decides who leads, never looks inside
// a batch and keeps no state of its own about the log: that is fsm's, and fsm is where order and exactly-once are
// decided. This package only has to bring operations to it so that its rules give the right answers.
//
// # States of a replica
//
//	             Leadership(self, T)              epoch-begin(T, attempt) applied
//	+----------+ ------------------> +----------+ -------------------------------> +---------+
//	| follower |                     | claiming |                                  | leading |
//	+----------+ <------------------ +----------+ <------------------------------- +---------+
//	      ^      Leadership(other,      |    ^      a proposal was dropped, timed       |
//	      |      none, or self at T')   +----+      out or fenced: attempt+1,           |
//	      |                        claim failed:    then propose again, in order        |
//	      |                        attempt+1                                            |
//	      +-----------------------------------------------------------------------------+
//	             leadership lost: what was proposed is answered CodeOutcomeUnknown, the rest CodeNotLeader
//
// A replica that is claiming accepts operations; they wait for the epoch. Each term has its own queue and its own
// goroutine: an operation never moves from one term to another.
//
//	Append --> queue --> proposer (merges; at most MaxProposals outstanding) --> raftnode.Propose
//	             ^                                                                     |
//	             | from the first failed proposal on, all of them, in order            v
//	             +------------------------------------------ reaper (FIFO) <-- outcome and results --> done
//
// There is no timer in the way of an operation: one that comes alone is proposed at once and answered after one round
// of Raft. What comes while MaxProposals are outstanding is merged into the next.
//
// # Dangerous interleavings
//
//  1. Proposals A, B of one epoch; A is dropped (a leadership transfer was pending), B is appended. B's batch is
//     refused by its sequence if it is of A's producer, but that must not be answered: A comes again. So the reaper
//     answers in order only, and from the first failure on everything is proposed again. Batches that were appended
//     are recognised by their sequence and answered with their first offset, as duplicates.
//  2. A timed out but is in the log, not yet committed. A new epoch is begun behind it in the log; when that is
//     applied, A either was applied before or never will be. Only then is A's content proposed again.
//  3. Term T, a cut, another broker leads T+1, then we lead T+2, and the news come late as one. The client of an
//     operation of T may have sent it to the leader of T+1. The operation is not carried over: it is answered as
//     unknown, or as not appended if it never was in a proposal, and the client decides.
//  4. We believe to lead T, but T+1 exists; Dragonboat forwards our proposals to its leader in silence. They carry our
//     epoch: applied before the new leader's epoch-begin they are as good as any, after it they are refused.
//  5. A claim succeeds in the moment the leadership is lost. Serving in it can do no harm (4); halt ends it.
//  6. Raft refuses to accept A (busy) and would accept B a moment later. The proposer offers A until it is accepted or
//     the epoch ends.
//  7. OpenProducer is answered from the state machine, which may lag behind proposals of the same producer that are
//     still in the pipeline. The sequence told is then too low, the client sends again, and fsm recognises the repeats.
//  8. Operations that are not appends are proposed again too: opening and deleting are idempotent, an ack moves forward
//     only, and an activation may grow by two. Its number is taken from the answer.
//  9. A timed out, its producer is opened with a higher epoch, then both commit. A is proposed again and refused as
//     fenced though it is in the log: the epoch is judged before the sequence. So the refusal of a repeated append is
//     answered as of unknown outcome.
//
// Invariants:
//
//	Inv1  In one epoch proposals are made in queue order, each after the one before was accepted by the local raft queue.
//	Inv2  An operation is answered exactly once; answers of one term come in queue order, those of a later term later.
//	Inv3  An operation that was ever in a proposal is answered by its result or as of unknown outcome; an append that was
//	      in several only by a success or as of unknown outcome.
//	Inv4  Nothing but epoch-begin is proposed before an epoch-begin of this term was applied here.
//	Inv5  While nothing completes, no operation waits for an answer longer than about PendingTimeout + 2*ProposalTimeout;
//	      after the loss of leadership or of the majority, none waits at all.
//
// Bounds: MaxPendingBytes of batches (Append waits), maxControls other operations (CodeOverloaded), MaxProposals
// proposals of MaxProposalBytes (one batch may exceed it). A follower has no goroutine, a leader two, and either one
// more while its upkeep does something. An idle partition holds no buffers.
package partition
