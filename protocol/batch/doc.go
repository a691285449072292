// Package batch holds the record batch: one encoding from the producer through the Raft command and the
// segment to the consumer.
//
//	    0       1       2       3       4       5       6       7
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	 0 |  length (whole batch)         |  ver  | attr  |  reserved, 0  |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+  \
//	 8 |  base offset                                                  |   |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+   | written
//	16 |  leader epoch                                                 |   | by the
//	   +-------+-------+-------+-------+-------+-------+-------+-------+   | broker
//	24 |  append time, Unix ms                                         |   |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+   |
//	32 |  stamp CRC32C of [0:32)       |  body CRC32C of [40:length)   |  / (stamp CRC)
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	40 |  producer ID                                                  |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	48 |  producer epoch               |  record count                 |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	56 |  base sequence                                                |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	64 |  timestamp of the first record, Unix ms                       |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	72 |  greatest timestamp, Unix ms                                  |
//	   +-------+-------+-------+-------+-------+-------+-------+-------+
//	80 |  payload: records, or u32 unpacked size and packed records    |
//
// It owns the layout, the checksums, the packing and the records inside. It never does I/O, reads no
// clock and starts no goroutines. Functions are safe for concurrent use; Builder and Iterator belong to
// one goroutine each.
//
// Invariants:
//
//  1. A broker changes bytes 8 to 36 only; the body CRC of the producer reaches the consumer untouched.
//  2. Check needs no more than the bytes it is given, allocates nothing unless it fails and never unpacks.
//  3. Unpacking never yields more than the claimed size, and that never exceeds MaxBatchBytesLimit.
//  4. A batch holds at least one record, and exactly as many as its header says.
package batch
