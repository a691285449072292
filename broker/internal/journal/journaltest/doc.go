// Package journaltest proves Raft log storages (raftio.ILogDB, "LogDBs") from outside. It is for tests only and owns no
// code that a broker runs.
//
// What Dragonboat expects of a LogDB is written down nowhere but in the tests of its own two, tan and pebble, and in the
// places that call them. Here it is written down as something that any LogDB can be put to:
//
//	Run       the contract: one case for each expectation, each checked again after reopening
//	Play      random legal histories beside Model, every answer compared, with reopening
//	Crashes   a history with the power cut before every operation on the disk, also of the recovery, twice in a row
//	Faults    a history with each operation on the disk failing once
//	Tee       two LogDBs under a whole cluster, every answer of every call compared
//	Failing   which cases a LogDB fails: the tests plant faults with it
//
// Tan passes Run and Play, so that they are known to ask for nothing that Dragonboat can do without. The tests of this
// package plant faults, about thirty, and show that Run, Play and Tee find each, and that Crashes and Faults find what a
// LogDB does wrong with its disk.
//
// # What a LogDB owes
//
// For a replica let S be the index of its snapshot and [first, last] its entries.
//
//	Inv1  Entries are dense. An entry saved at i voids what was at i and behind it.
//	Inv2  The newest state that is not empty is the state. ReadRaftState without one is ErrNoSavedLog.
//	Inv3  Snapshots only grow, but for ImportSnapshot, which begins the replica anew: state {term, S}, no entries, and
//	      bootstrap info that joins.
//	Inv4  A snapshot that comes with SaveRaftState was sent by the leader: Raft forgot its log, so all entries that
//	      do not come with it are void, also those above S. One that comes with SaveSnapshots is the replica's
//	      own and changes nothing else. (Tan keeps the entries in both cases: Subject.KeepsTail.)
//	Inv5  IterateEntries gives the entries of [low, high), and stops behind the one that exceeds maxSize.
//	      ReadRaftState(S) counts the entries so that the last one is known; FirstIndex <= S+1.
//	Inv6  What RemoveEntriesTo named is gone, at least until the replica starts again; the index may be lower than one
//	      named before.
//	Inv7  After a crash a replica is what it was after the last call that returned, or after one that had begun since:
//	      whole, never a mixture. Two kinds of changes may be missing as long as nothing else of the replica was
//	      saved after them: a commit index that moved alone, and RemoveEntriesTo.
//	Inv8  S <= commit <= last, always: Dragonboat panics otherwise. A history here never asks for anything else.
//	      The engine does, seldom: it applies what a step commits before it saves the step, so a snapshot may be
//	      saved above the commit, and a crash may follow. Tan then stops at the next start, so Run does not ask it.
//	Inv9  After a write or sync that failed, nothing that writes succeeds.
//	Inv10 What is passed in and what is returned is the caller's memory.
//
// Not compared, because Dragonboat does not look at it: the order of ListNodeInfo, what is counted below S, a nil command
// and an empty one, entries that no LogReader asks for (at or below S after a start).
//
// # How to run it
//
// `go test` takes seconds. JOURNALTEST_SEEDS=1-100 makes the crash tests take other seeds and look closely,
// JOURNALTEST_ROUNDS=20 prolongs the cluster's life, -rapid.checks=10000 the histories. A failed history is told
// in full, and rapid shrinks it; the crash tests name seed, operation and calls.
package journaltest
