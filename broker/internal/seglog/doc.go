// Package seglog stores one partition's record batches in append-only segment files.
//
// It owns bytes and offsets, nothing else: it knows no Raft, no network and no clock, and it never decodes a record.
// A batch is stored as it came over the wire (protocol/batch); whole batches go in and whole batches come out.
//
// Files of a log's directory; the number in a name is the offset of the segment's first record:
//
//	00000000000000000000.log   sealed     batch | batch | ... | batch        nothing between, before or after
//	00000000000000000000.idx   sealed     entry | entry | ...
//	00000000000000052107.log   active     batch | batch | ... (torn tail)    the one that grows
//	00000000000000052107.idx   active     entry | ...                        its newest entries are still in memory
//
// An index entry, 24 bytes, big-endian; the first names the segment's first batch, each other one the first batch
// at least Options.IndexEveryBytes behind its predecessor's. Never renumber; another layout is another file extension.
//
//	+--------+-----------------------------------------------+
//	|  0  u64| offset of the batch's first record             |
//	|  8  i64| append time of the batch, Unix milliseconds   |
//	| 16  u32| position of the batch in the .log file        |
//	| 20  u32| CRC32C over [0:20)                            |
//	+--------+-----------------------------------------------+
//
// Invariants:
//
//	Inv1  Offsets are dense: each batch begins at the offset where the one before it, or the segment before it, ended.
//	Inv2  A batch never crosses a segment, so whole files can be dropped.
//	Inv3  A sealed segment was fsynced, and its name too, before the next one was created: only the last can be torn.
//	Inv4  After Sync everything appended before it survives a crash. Open proves that the log reaches keepBelow or fails.
//	Inv5  An index is a hint. An entry counts only when its CRC fits and the batch it points at says the same offset; a
//	      missing or wrong index is rebuilt from the batches.
//	Inv6  Bytes from disk are returned only after both CRCs of each batch and Inv1 were checked; damage is a
//	      *CorruptionError.
//	Inv7  A file is deleted only by DropBelow, which never passes Start, an open View or a read in progress.
//	Inv8  After a failed write or fsync nothing is written any more (fsyncgate); reads go on.
//	Inv9  Mend writes only checked batches of another replica, each to where its own bytes are damaged.
//
// A sealed segment is good or damaged. Damage is found by Open (the end of each segment), by a read (what it returns), or
// by Verify (all). It harms nobody who reads elsewhere. Mend makes it good in place: a replica's batches have the same
// bytes at the same offsets, so that each belongs to one place of the file. No name changes and no good byte is written
// to; a crash between any two steps leaves some batches mended and the others damaged as they were, and the next Mend goes
// on from there. A segment file that is missing is damage at the end of the one before it.
//
// Not damage: bytes behind the last valid batch of the last segment when Open keeps All, and everything at and above
// keepBelow.
//
// Concurrency: Append, SetStart, DropBelow, Sync and Close are for one goroutine at a time (a mutex makes sure), and so is
// Mend, beside them; all other methods are for any number, at any time, also while Close runs. Readers never wait for a disk write: mu is
// held only for memory.
//
// Bounds: an idle log takes less than 8 KiB of memory, plus about 150 bytes for each segment; what its tail holds is
// for the Cache to take. At most 64 index entries wait in memory; then they are written. Open files are the active
// segment and at most 4 sealed ones, the longest unused is closed, and none is open before the first use.
package seglog
