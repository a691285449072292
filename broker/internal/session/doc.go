// Package session serves client connections.
//
// It owns what a connection may do after its handshake: the hello and its credential, heartbeats, the
// metadata pushed to clients, produce, consume and request streams, and how errors are told. It never
// decides what is in a log (package partition) or who consumes (package feed), and it knows QUIC only as
// transport.Conn and transport.Stream.
//
// Every connection has one goroutine that accepts streams, one that watches heartbeats, one for each
// stream, and a second one for each produce, consume and control stream that writes. They all end with
// the connection; Close waits for them. A panic in one of them ends its connection and nothing else.
//
// Invariants:
//
//  1. Nothing but the hello is served before the hello was accepted.
//  2. Acks of a produce stream come in the order of its batches; nothing is acked after an error.
//  3. Only the goroutines of a stream ever wait for that stream's peer, partition or credit. Shared
//     goroutines mark and wake.
//  4. A refused frame or stream is answered by an error frame (or an ack with an error) and the end of
//     the stream, not by a reset, so that the peer can read why.
//  5. The body of a first frame or of a batch is read only after its bytes were granted by a budget of the
//     connection, that of a batch into no more memory than the budget of the server granted. Other frames
//     have small caps, and those that have no place on their stream are refused by their headers.
//  6. When a stream's handler has returned both directions of the stream are over, whoever gave up what
//     first, so that its place in the connection's bound of streams is free.
//
// Bounds (Limits): open and body deadlines, in-flight bytes of a connection and of the server (reading
// waits; within a body until its deadline, then CodeOverloaded), protocol.MaxInFlightBatches per produce
// stream (more end it with CodeInvalidRequest), requests of a connection until their responses are taken
// (more wait until their timeout, then CodeOverloaded), pongs not yet sent (more are dropped), a write
// that nobody takes for WriteTimeout (the stream is reset).
package session
