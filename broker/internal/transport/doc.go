// Package transport accepts QUIC connections from clients.
//
// It owns the UDP socket, the TLS handshake and the limits that must hold before anybody is known: it
// decides who may have a connection at all, never who may do what on it. It is the only package of the
// broker that imports quic-go; the rest sees Conn and Stream.
//
// A Listener, a Conn and a Stream may be used from several goroutines, except that one goroutine at a
// time reads a Stream and one at a time writes or closes it.
//
// Invariants:
//
//  1. One stream that nobody reads cannot freeze its connection: a stream's receive window is much
//     smaller than its connection's, and a connection starts with its window open.
//  2. A stream counts against the connection's bound until its handler has released it, so a peer
//     cannot make more work than MaxStreams by opening and abandoning streams.
//  3. Close is told to the peer. A restarted broker answers packets of connections that it lost with
//     a stateless reset, if it is given the same key.
//
// Bounds: MaxConnections and MaxPerIP connections (handshakes included; more are refused with the
// transport error CONNECTION_REFUSED), MaxStreams streams of a connection (the peer's open waits),
// ConnWindow bytes unread on a connection (the peer's writes wait), GrowBudget bytes by which all
// windows together may have grown, HandshakesPerSecond handshakes of strangers and ten times as many of clients that show
// a token of this broker (more are refused with CONNECTION_REFUSED). With half of the connections or of their ration in use
// strangers prove their address with a Retry first, proofFactor for each handshake of the ration (more are refused), and maxRecent
// of them twice are remembered.
package transport
