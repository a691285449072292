// Package archive copies topics into directories and back, and the metadata of a cluster into a file and back. It is what
// `trunkline topic export`, `import` and `verify` and `trunkline cluster backup` and `restore` do.
//
// # What an export holds
//
// Of each partition the batches from the oldest record to an end, as every replica stores them (package protocol/batch), the
// producer's checksum included. The ends are fixed when the export begins and written down in plan.json:
//
//   - Every record that was acknowledged before the export began is in it, except what retention had removed.
//   - No record that was published after the ends were read is in it. Between the two moments, which are one round of requests
//     apart, there is no order across partitions: Trunkline has no transactions, and a record may be in the export without one
//     of another partition that was acknowledged before it, if both were published in that moment.
//   - Within a partition nothing is missing but what retention removed while the export ran. That is listed, with offsets.
//   - Cursors of subscriptions are read before the ends, so that no cursor is ahead of the records.
//
// # When a majority is gone for good
//
// A partition that lost the majority of its replicas has no leader and never will have one again. ExportOptions.Salvage copies such
// a partition from the replica that has most, among those of the brokers that answer; it waits for those that are
// starting. The manifest says from which, and how far it went. What a replica has applied is committed, so nothing in the copy was
// not. Missing is what the lost replicas acknowledged and the survivor had not applied: usually the last moments, but there is no
// bound, if it was behind. Cursors are lost unless every partition has a leader. docs/adr/0013 says why this is the way, and the
// whole procedure.
//
// # What lies in the directory
//
//	plan.json                what is to be exported; written first, removed last
//	partition-00000.batches  one file for each partition, grows chunk by chunk
//	manifest.json            the plan, and of each file its size, SHA-256, counts and gaps; written last
//
// The JSON files appear whole or not at all (written aside, fsynced, renamed) and hold the SHA-256 of their content. With a
// manifest.json the export is complete: each file was fsynced and then read again, and what the manifest says is what was read.
// A partition's file, all numbers big-endian:
//
//	    0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 | "TLPART"                                      | version, 1    |  file header,
//	   +-------+-------+-------+-------+-------+-------+-------+-------+  once
//	 8 | export ID                                                     |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	16 | partition                     | CRC32C of [0:20)              |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 | "CHK"                 | packed| stored length                 |  chunk header,
//	   +-------+-------+-------+-------+-------+-------+-------+-------+  then the stored
//	 8 | length of the batches         | records                       |  bytes; repeated
//	   +-------+-------+-------+-------+-------+-------+-------+-------+  to the end of
//	16 | offset of the first record                                    |  the file
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	24 | CRC32C of the stored bytes    | CRC32C of [0:28)              |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//
// packed is 0 (the stored bytes are the batches, one behind the other) or 1 (they are one zstd frame of them). The offsets
// in a chunk are dense. A chunk that begins above the end of the one before it stands behind a gap; none begins below.
//
// # Interrupted and repeated
//
// Export may be killed at any moment and run again on the same directory: it keeps every whole chunk, cuts off what follows the
// last one, and goes on there, up to the ends in plan.json. On a complete export it does nothing.
//
// Import checks every byte of the export before it writes the first record. It publishes with one named producer, whose name is
// made of the export's and the topic's IDs. Record n of a partition's file has the sequence n there, so the partition itself
// says how far an earlier import got and refuses to take a record twice: interrupted and repeated, or run by two at the same
// time (the later one fences the earlier), each record is in the topic once. An import that is repeated when it is complete
// writes nothing. The imported records have new offsets, append times and producers; key, value, headers, timestamp, partition
// and order are kept.
//
// # Failures
//
//	a byte of the export is wrong     *DamageError with file and byte; nothing is imported
//	no manifest.json                  ErrIncomplete; run the export again
//	the directory holds another       ErrOtherExport
//	the topic has another shape       ErrShape
//	the topic was made anew           ErrTopicChanged: the rest of the export cannot be had any more
//	a partition without a leader      the call waits until its context ends
//	more cursors than fit             ErrTooLarge; a backup that was there stays
//	a record above the new limits     *client.PublishError with record_too_large; what is before it stays
//
// # Bounds
//
//	a chunk                     1 MiB of batches, or one batch of up to protocol.MaxBatchBytesLimit
//	memory of an export         for each partition under way: the reader's credit and twice a chunk
//	memory of an import         for each partition under way: a chunk, the producer's buffer and what that keeps of older chunks
//	partitions at a time        parallel, 4
//	bytes a second              BytesPerSecond, of batches; without it as fast as it goes
//	a JSON file                 512 MiB, about seven million cursors; several times as much memory while it is read or written
//
// All functions may be called from any goroutine. Two exports into one directory at the same time are not noticed when they
// begin; the one that reads the file of the other when it is done fails with a *DamageError or ErrIncomplete.
package archive
