// Package feed hands the records of a partition to consumers.
//
// It owns, on the leader of a partition, which consumer of a durable subscription is the active one, what
// was delivered to it and which acknowledgements are under way; and it turns all that into frames. It
// never stores a cursor itself (the partition's state machine does), never reads or writes a network
// stream (package session does) and never talks to another broker: leaders agree on who gets which
// partition because Assign is a pure function of the consumers they see.
//
// A Manager may be used from any goroutine. Of a Consumer, one goroutine calls Wait and Fill and one, not
// necessarily another, calls Credit, Ack, Release and Leave.
//
// Invariants:
//
//  1. At most one consumer of a subscription is active on a partition: another one is activated only
//     after a CursorActivate was committed, which makes every older activation stale for ever.
//  2. Acknowledgements that arrived before the end of an activation are proposed before the next one
//     begins; those that arrive later are refused with CodeStaleActivation.
//  3. Records are delivered in offset order without holes, from the committed cursor on; records that
//     retention removed are told as a gap.
//  4. An AckOK is sent only for a cursor that is committed.
//  5. No goroutine that several consumers share ever waits for one of them: it marks and wakes.
//
// One goroutine per (partition, subscription) with consumers decides and proposes; it ends with the last
// consumer or with the leadership. Delivery runs in the goroutine that calls Fill.
//
// Bounds: MaxConsumers streams of one subscription on one partition (CodeLimitExceeded beyond),
// maxControlBytes of control frames not yet taken by Fill (the stream ends with CodeOverloaded),
// ChunkBytes of batches per Fill but always one whole batch, one acknowledgement proposal in flight per
// group and one more at a handover, assignCacheSize remembered assignments.
package feed
