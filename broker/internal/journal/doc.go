// Package journal is the broker's Raft log storage: the logs of all replicas on one disk, in one write-ahead log (WAL)
// for each of Raft's step workers. It implements Dragonboat's raftio.ILogDB.
//
// It owns the files below its directory and what of them is in memory. It never retries a failed write or sync, knows
// nothing of what entries mean, and keeps no state that is not in its files, but for commits that cost nothing to lose.
//
// What one step of a worker has to save, for all its shards, is a round: one write and one fdatasync of bytes that
// were there before, so that the file system has nothing to note in its own journal.
//
//	SaveRaftState --> [ plan | encode in the arena | pwrite | fdatasync | index ] --> returns
//	                      mu is held throughout; index.mu only for memory
//
// # Files
//
//	DIR/journal.meta                   workers, journal id; written last at the first start, never changed
//	DIR/wal-W/0000000000000007.wal     files in the order of their ids; only the newest is written
//	DIR/wal-W/spare-0000000000000005   full ones that are not needed, to be used again under a new id
//	DIR/wal-W/new-0000000000000008     one that is being prepared
//
// All numbers are big-endian. A file is a header block and rounds. Each round begins on a block of 4096 bytes and is
// filled up with zeros: a sector that was acknowledged is never written again.
//
//	+-----------------------------+   +------------------------------+   +------------------------------+
//	|  0 u64 magic                |   |  0 u32 magic                 |   |  0 u8  type | u8 flags | 0 0 |
//	|  8 u32 version | u32 worker |   |  4 u32 version               |   |  4 u32 length of the body    |
//	| 16     journal id           |   |  8 u64 file id               |   |  8 u64 shard                 |
//	| 32 u64 file id              |   | 16 u64 epoch                 |   | 16 u64 replica               |
//	| 40 u64 epoch                |   | 24 u64 seq                   |   | 24 u64 index                 |
//	| 48 u64 first seq of epoch   |   | 32 u64 durable seq           |   | 32 u32 entries               |
//	| 56 u32 first file of epoch  |   | 40 u64 oldest file           |   | 36 u32 CRC32C of the body    |
//	| 60     zeros                |   | 48 u32 payload length        |   +------------------------------+
//	| 76 u32 CRC32C over [0:76)   |   | 52 u32 records | u32 0       |     record header, 40 bytes
//	+-----------------------------+   | 60 u32 CRC32C                |
//	  file header                     +------------------------------+
//	                                  | record headers               |     The CRC covers [0:60) and the record
//	                                  | bodies, in the same order    |     headers, which hold those of the bodies.
//	                                  | zeros to the block's end     |
//	                                  +------------------------------+
//	                                    round
//
// Bodies: a state is term, vote and commit, u64 each; entries are entryHeaderBytes and the command, each (entry.go);
// snapshot and bootstrap are Dragonboat's protobuf; compacted and removed have none.
//
// # Recovery
//
// An epoch is what was written between one Open and the next; it begins with a file of its own. seq counts rounds over
// all files and epochs of a WAL. Let start(e) be the first seq of epoch e, as all its file headers say.
//
//	Inv1  The log is the rounds start .. last without a hole. An epoch e that e' follows has exactly its rounds with
//	      start(e) <= seq < start(e'), and they are durable: Open synced them before it began e'.
//	Inv2  In the newest epoch, round s is durable if a valid round of it says durable >= s.
//	Inv3  A round counts only with its file's id, the epoch of that file and a fitting CRC. Ids and epochs grow, and
//	      none is given twice: what else is in a recycled file is never taken for a round.
//	Inv4  A file gets its name after its header is durable, and loses it after nothing in it is needed: a file with
//	      a bad header, or a missing one that the newest round's "oldest" still names, is damage.
//
// In an old epoch anything missing is damage. In the newest one, rounds are read until one is not valid; say s is the
// first that is missing. If some round behind it, in this file or a later one of the epoch, has durable >= s, then s
// was acknowledged: a *CorruptionError. Else s was never acknowledged, whatever may have reached the disk of it and of
// later ones, and the log ends at s-1. Then the next epoch begins with start = s, and by Inv1 no later recovery ever
// looks at s in the old epoch again: the verdict stands, whatever the new epoch promises about its own round s. If the
// crash comes before the new epoch's first file is durable, nothing has changed and the verdict is found again.
//
// Damage to the newest rounds of a crashed broker cannot be told from a torn write. After an orderly Close only a round
// without acknowledged content is in that position.
//
// # Index
//
//	Inv5  A replica's log is a dense run of extents, each the entries of one record: ext[i].last+1 = ext[i+1].first.
//	      Entries [a..b] void what is known from a on. Relocated [a..b] void nothing: they only replace the place.
//	      In replay a relocated run may come before its neighbours; at the end only the dense run at the top counts,
//	      for live entries are dense and below a hole there are none.
//	Inv6  After a failed write or sync nothing is written any more; every call that would returns the first failure.
//	Inv7  What a snapshot holds is committed: a replica's commit is at least the index of its snapshot, whatever its
//	      newest state record says. Dragonboat panics at a lower one, and makes it possible: what a step commits is
//	      applied, and may be in a snapshot that is saved, before the step's own state is. Beyond that, a round that
//	      mentions a replica carries the newest state that is known.
//	Inv8  live(file) = bytes of the records in it that the index points to. A file goes only as the oldest, when live = 0
//	      and a durable round names a later one as oldest.
//
// # Bounds
//
//	a round            the updates of one call, as many as fit into a file; one above that gets a larger file
//	files              total <= 2 x live + 2 x FileBytes, and spares; a reclaiming goroutine copies forward behind it
//	waiting            a writer waits only for the disk: filling a file with zeros gives way to it
//	memory             CacheBytes a WAL, 56 bytes for each record with entries, and each newest snapshot and bootstrap
//	goroutines         two a WAL: one prepares files, one reclaims them
//
// # What fails, and what then
//
//	write, sync, disk full while a file is prepared   final: Inv6; Dragonboat stops the process
//	crash during a round                              the round is not there; it was not acknowledged
//	crash during reclaiming                           the old file is there still, or a durable round does not need it
//	damage where Inv1, Inv2 or Inv4 see it            Open refuses with a *CorruptionError
//	a replica's log, state and snapshot do not fit    ReadRaftState of that replica fails, the others go on
//	damage of entries, seen when they are read        IterateEntries fails with a *CorruptionError
package journal
