// Package controller makes this broker run what the metadata says: it starts the replicas that are placed here,
// deletes those of deleted topics, passes on changed configuration, and tells everybody who leads what.
//
// It owns the directory of the partitions, the set of local replicas and the goroutines below; the meaning of the
// metadata is package meta's, a replica's work is package partition's, and who should lead is liveness's.
//
//	<dir>/<shard>/identity   which partition the directory belongs to (JSON); written before anything else
//	<dir>/<shard>/data/      of package fsm
//	<dir>/<shard>.deleted    its partition was deleted and the removal must be finished
//
// Goroutines: reconcile owns the slots and decides; at most Parallel start jobs and removeParallel removal jobs work for
// it; announce broadcasts leaderships at once and repeats them every RefreshEvery; scrub looks for damage; prefer gives
// leaderships back to preferred brokers, if Config.Steady names any; follow marks what Health tells. All end with Close. A replica that found
// damage asks the other ones through here (fetcher), and answers them (AnswerFetch); so does a leader whose new replica has to show what
// it has before it votes (Shows).
//
// Invariants:
//
//	Inv1  one job at a time works on a shard.
//	Inv2  a replica whose Raft log is here is started from any image that places it here under its ID; one that was never started is
//	      started only from an image known to be current. An image replayed from an old log may show topics that were
//	      deleted since and replicas that have moved away, and those must not come back empty.
//	Inv3  data is removed only for a shard that was assigned once (below Image.NextShard) and that an image known to be current does not
//	      place here, or not under the ID of the replica whose log is here. Neither shards nor replica IDs are ever assigned
//	      twice, so this holds for ever.
//	Inv4  a removal leaves its mark before it touches anything and takes the mark away last: it is finished after a crash.
//	Inv5  a replica is never started on a directory that is not the one it wrote (BrokenError).
//
// Bounds: one slot per local shard. A start that fails is tried again after retryMin, doubled up to retryMax.
// At most maxFetches requests of repairs are under way; more wait. Snapshots sent for moves that repair nothing take Config.MoveRate together.
package controller
