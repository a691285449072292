// Package fsm is the state machine of one partition: what every replica computes from the committed Raft commands.
//
// It owns the meaning of a command (leader epochs, sequences of producers, cursors of subscriptions, the start of the
// log), the checkpoint that survives a restart and the stream that brings up a replica that lags. It never reads a
// clock, never fsyncs while it applies commands and never keeps bytes of an entry it was given. It is the only writer
// of its directory:
//
//	checkpoint       what Open starts from; replaced whole, by rename
//	log.00000001     segments of one generation (package seglog); a received snapshot builds the next generation
//
// A Raft command is, integers big-endian (command.go):
//
//	u8 version | u8 kind (1 epoch-begin, 2 ops) | u64 term or epoch | i64 leader's time, Unix ms | body
//	epoch-begin: u64 broker | u64 attempt
//	ops:         [u8 op | u32 payload length | payload]*
//
// Invariants:
//
//	Inv1  An entry's effect is a function of the state and the entry's bytes and index: replicas that applied the same
//	      entries have the same state, results, batches and Hash.
//	Inv2  A batch enters the log only under the current leader epoch and only at its producer's next sequence.
//	Inv3  Offsets are dense: next grows by exactly the records of each appended batch.
//	Inv4  The checkpoint never says more than is durable in the log. Whatever the log holds beyond it is cut by Open and
//	      comes again from Raft.
//	Inv5  A segment is deleted only after the durable checkpoint says that it lies below the start, and no snapshot in
//	      progress still needs it.
//
//	Inv6  No damaged batch leaves the machine. What is damaged is repaired from another replica or refused (healer).
//
// Dragonboat calls Open, Update, Sync, PrepareSnapshot, RecoverFromSnapshot and Close one at a time and SaveSnapshot
// beside them. Every other method may be called from any goroutine at any time, also before Open and after Close.
//
// Bounds: MaxProducers and MaxSubscriptions per partition (at the bound: see producerTable.admit and
// cursorTable.open), runsPerProducer remembered runs, MaxOps operations per command (more: the command is refused), one
// stamping buffer per goroutine that applies, of the size of its greatest batch; of repairs see healer. Damage that Open
// finds in the checkpoint or the last segment is a *seglog.CorruptionError with file and position; Dragonboat stops the
// process on it, which is right.
package fsm
