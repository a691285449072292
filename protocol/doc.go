// Package protocol holds the words that brokers and clients share: identifiers, frame kinds,
// limits, error codes and the version handshake.
//
// It owns names and numbers, nothing else: no I/O, no encoding. The bytes are described in
// SPEC.md and written by the sub-packages:
//
//	protocol/frame  length-prefixed frames on a QUIC stream
//	protocol/wire   msgpack bodies of control messages
//	protocol/batch  the record batch, one encoding from producer to disk to consumer
//
// Every number in this package is part of the wire format: never renumber, never reuse.
package protocol
