//go:build faults

package failpoint

// clockPoint is passed whenever the wall clock is read for a record or for retention.
const clockPoint = "clock"

// points are all that there are, in the order of a record's road; behind each stands what passes it.
var points = []string{
	// of a client's stream, in the goroutine that serves it
	"afterAcceptStream", // a stream
	"beforeDecode",      // a batch, before its layout and CRCs are checked
	"beforeDispatch",    // a batch, before the partition has it
	"beforeAckWrite",    // a write of acks
	"beforeDeliver",     // a read of the log for a consumer

	// of the leader
	"beforePropose",            // a proposal, before Raft has it
	"afterProposeBeforeCommit", // a proposal that Raft has, and whose result nobody waits for yet
	"midSnapshotSend",          // a piece of a snapshot stream after the state
	"afterRenameBeforeDirSync", // an atomic file, new under its name, which is not durable yet
	"beforeJournalSync",        // a round of the Raft log, written and not synced; on every replica, like all that follow
	"beforeApply",              // some committed entries
	"afterApplyBeforeAck",      // the same, applied
	"beforeSegWrite",           // a batch, before it is written to its segment
	"beforeSegSync",            // a segment, before its fsync
	"beforeRoll",               // a full segment, before it is sealed
	"beforeSnapshotInstall",    // a received snapshot, durable, before it replaces what there was

	// of moves of replicas, see packages mover and planner; match= names the kind of step
	"beforeMoveStep", // a step of a move, by the leader of the shard
	"afterMoveStep",  // the same, done
	"beforePlanStep", // an action of the planner, before the metadata is asked, by the leader of the metadata
	"afterPlanStep",  // the same, accepted

	// of the file system: an operation on a path (storefs.Op)
	"fs.open", "fs.mkdir", "fs.remove", "fs.rename", "fs.readdir", "fs.stat", "fs.syncdir", "fs.read", "fs.write", "fs.truncate",
	"fs.sync", "fs.datasync", "fs.reserve", "fs.writeback", "fs.close",

	clockPoint, // a look at the wall clock

	// of the planted bugs: a moment at which the promise would be broken
	"bug.ack-before-fsync", // the Raft log's fsync is left out: an ack says durable what a power cut takes
	"bug.skip-dedupe",      // a batch that is in the log already is appended again
	"bug.ack-before-apply", // a leader acknowledges what Raft has taken and not committed
	"bug.reuse-offset",     // a new epoch cuts the newest batch off and assigns its offsets again
	"bug.old-epoch-writes", // a command of a leader's epoch that is over is applied, and the producer's sequence is not moved by it
	"bug.zombie-writes",    // a producer's epoch that is over is let in
}
