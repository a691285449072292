// Package conn is one QUIC connection to one broker: dialling, the hello, heartbeats, pushed metadata
// and the streams on it.
//
// It never retries, never chooses a broker and keeps no knowledge of topics: package cluster does.
// All methods of Conn may be called from any goroutine; a Stream has one reader and one writer at a
// time, and Abort may be called by anyone.
//
// Invariants:
//
//  1. A Conn that Dial returned has been welcomed by the broker, and metadata is subscribed.
//  2. A Conn that was started ends by itself when the broker is silent: QUIC's idle timeout, two unanswered pings, a
//     stateless reset, or a port that refuses packets and then a ping.
//  3. Close leaves no goroutine and no socket.
//
// Every connection has a UDP socket of its own, connected to the broker: only then does the kernel tell
// us that nobody listens there (ICMP port unreachable), which is how the death of a process is noticed
// at once. The message is not authenticated, so by itself it only triggers a ping with a short deadline.
//
// Bounds: two goroutines per connection beside those of quic-go; a control frame of at most
// protocol.MaxMetadataBytes; pongs owed to the broker 4, further ones are not answered; opening a
// stream waits at most openTimeout for the broker's stream limit.
package conn
