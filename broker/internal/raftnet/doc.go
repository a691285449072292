// Package raftnet connects brokers: Raft messages, snapshots and liveness pings over TCP with mutual TLS 1.3.
//
// It owns the connections between brokers and what can be told from them: who is there, as which incarnation, and
// whose process is gone. It knows no shards and takes no decision about leaders. To Dragonboat it is a
// raftio.ITransport that never fails and never blocks; the stock transport's circuit breaker, which drops votes for
// up to a second after a peer restarted, therefore never trips on messages.
//
// Commit notices of the shards from Config.HoldFrom on wait for a moment, since nearly each is superseded by the next
// entries; see holder.
//
// A broker dials three connections to each peer: urgent (heartbeats, votes, answers), bulk (entries) and liveness,
// and one more per snapshot stream, for each Fetch, by which a replica repairs itself, and for each Join. What the dialer sends is data or
// a request; what comes back on the same connection is echoes, acknowledgements and answers. Both ends read all the time, so that the end of a process is seen in the moment
// when its kernel closes the connections.
//
//	frame:      u32 payload length | u8 type | payload                          big-endian
//	handshake:  u16 length | u32 magic | u16 version | u8 kind | u8 lane | u16 code | u8 lowest level | u8 highest | u64 cluster
//	            | u64 broker | u64 meant for | 16 boot ID | 16 directory ID | u8 n, n bytes address | rest: reason
//
// Levels of 0 mean level 1: brokers of before there were levels wrote 0 there and did not look. A handshake of another version is
// refused; a kind of connection or frame that is not known ends the connection. What is new is thus only sent to who says that it
// understands it, by a level.
//
// Invariants:
//
//	Inv1  no method that Dragonboat or liveness calls on the message path blocks or returns an error; what does
//	      not fit a queue is dropped and counted, and a leader is told that its follower was unreachable.
//	Inv2  a batch is only handed on after the handshake named a peer of this cluster whose certificate, directory and
//	      incarnation are not refused. A broker that is no peer may probe, and be answered that it is none, and join.
//	Inv3  a peer cannot make Dragonboat panic: local message types, messages to nobody and foreign source addresses
//	      are removed, and a batch that does not parse ends its connection.
//	Inv4  OnPeerDown means: the incarnation's connections are all closed and a redial was refused, or its address
//	      answered as a new incarnation. A reset with a successful redial is nothing, a timeout proves nothing.
//	Inv5  per broker, OnPeerDown and OnPeerUp alternate and come in order, from its place in the book on until it is
//	      taken out: of who is no peer nothing is told, not even its death, which nobody has seen.
//	Inv6  nothing here waits for a disk on the path of pings: logs are written by a goroutine of their own.
//
// Who is a peer and where is the book; SetPeers replaces it while everything runs. Dragonboat knows brokers by name only
// (Target), so a broker may move: the next dial goes to its new address, and what is connected stays, for a handshake proved
// whose it is. A refused dial proves death only at the address that counts now. States of a peer: in the book,
// launched (its links dial), removed (its context ended, and with it links, inbound connections, streams and fetches). A
// broker that its peers do not know yet is refused, and asks each again every one to two seconds; whoever learns of it
// dials it, and that connection makes it dial at once. A message to a broker that is not in the book is dropped and
// counted, and its leader is told.
//
// All methods may be called from any goroutine. Each connection has one reader and, if it was dialled, one writer.
// Bounds are constants in config.go, book.go (256 peers), fetch.go and join.go (8 joins at work, 10 s and 256 KiB each).
package raftnet
