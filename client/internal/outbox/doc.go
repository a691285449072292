// Package outbox is the queue of one producer on one partition as a value: records wait, are sealed
// into batches with a fixed place in the producer's sequence, are in flight, and get a result.
//
// It does no I/O, reads no clock and starts no goroutine. A Box belongs to whoever holds its owner's
// lock.
//
//	Add -> pending -> Take -> (the owner encodes) -> Push -> in flight -> Ack
//	          |                                              |   ^
//	          +-> Cancel: NotAppended      Cancel: Unknown <-+   +-- Reopen: all are sent again
//
// Invariants:
//
//  1. In-flight batches are dense: batch i+1 begins where batch i ends, and the next one at Next.
//  2. A batch that was pushed is never changed, and leaves only by Ack or FailSealed.
//  3. Every item is given to the done function exactly once. A cancelled item of a sealed batch has its
//     result (Unknown) while the batch keeps its place.
//  4. Batches are sent in order; after Reopen from the oldest one on.
//
// Bounds: none of its own; the owner bounds bytes before Add and batches before Take.
package outbox
