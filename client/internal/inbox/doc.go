// Package inbox keeps the books of one consumer on one partition as a value: which records were handed
// out, which of them are acknowledged, and up to where everything is (the committed position to be).
//
// It does no I/O, reads no clock and starts no goroutine. A Window belongs to whoever holds its owner's
// lock.
//
// Invariants:
//
//  1. Prefix() <= Position(). Every record below Prefix was acknowledged, or skipped (gaps, and records
//     that another consumer has acknowledged); every one in [Prefix, Position) was handed out or skipped.
//  2. No offset is handed out twice: Deliver only takes offsets at Position or above.
//  3. Prefix and Position never go back, until Reset.
//
// Bounds: 16 bytes per record between Prefix and Position; the owner bounds Unacked, and the records in
// between that are acknowledged are at most as many as one consumer acknowledges out of order: Len is
// what the owner must bound.
package inbox
