// Package meta is the metadata of the cluster: which brokers, topics and partitions there are, where the replicas
// of each partition live and shall live, and which named producers exist.
//
// It owns the state machine of the metadata shard (Raft shard 1, replicated to every broker), the immutable Image
// that every broker reads locally, the Service that changes it, and the table of current partition leaders, which
// is not replicated but pushed between brokers. It starts and stops nothing: package controller does that.
//
// Invariants:
//
//	Inv1  applying a command is a pure function of the state and the command: no clock, no randomness, no map order.
//	Inv2  a command that is applied twice has the effect and the answer of being applied once, as long as it is one
//	      of the last rememberedRequests commands that carry a request ID (producers: rememberedNonces openings).
//	Inv3  topic IDs and shard IDs only grow and are never used again; a partition keeps its shard for its whole life.
//	Inv4  an Image and everything reachable from it never changes; Version grows with every change that is visible.
//	Inv5  Partitions[i] of a topic is partition i; Replicas[0] is its preferred leader; replicas are on distinct
//	      brokers.
//	Inv6  an image is published before the command's result is delivered, so a call that has returned is visible in
//	      the caller's Image.
//	Inv7  a broker ID that was retired never registers again; a replica ID is never used again in its shard.
//	Inv8  a partition has at most one move; the brokers of its replicas and of the one that joins are distinct, and at
//	      least one replica stays. The same holds for the metadata shard once a founder has registered.
//
// # Membership
//
// A broker is active, drained (gets nothing new) or leaving (is being emptied, then retired):
//
//	register ──▶ active ◀──▶ drained
//	               │ ▲          │
//	               ▼ │ cancel   ▼
//	              leaving ◀─────┘  ──▶ retired, when it holds no replica: its ID is refused for ever
//
// Leaving is refused when the active brokers that stay are too few for the replicas of some topic or for the metadata's
// voters. It cannot be cancelled once the broker's replica of the metadata was removed (Broker.MetaRemoved): Raft never
// takes that replica's ID again, and a broker without metadata serves nothing. For the same reason only a leaving broker
// can lose its vote in the metadata.
//
// A move says what replicas a partition shall have; it is begun, finished, undone by commands that name its ID. This
// package does not know how far Raft has come: whoever leads the shard does, and ends the move with what is true there.
// So a move that was asked to be undone may still be finished. A learner of the metadata that was promoted cannot be
// made a learner again: its move can only be undone before.
//
// # Levels
//
// The cluster has one level, Image.Level, which only grows. It says what may be written: a format, command or behaviour that older
// brokers do not understand is used only from the level on that names it (level.go). A broker says which levels it understands when it
// registers, and to each peer in the handshake. The level is raised by a command that carries what each broker said, and is refused if
// one is missing or holds it back; so all replicas decide alike, also at LevelFirst, where the state keeps no such word.
//
//	LevelFirst ──raise──▶ LevelStated ──raise──▶ ...   back: never
//
// A broker that is not understood at the level of the cluster cannot register. A replica whose level passes what this software
// understands stops: what follows may mean something else.
//
// Bounds: MaxBrokers, MaxRetired, MaxMoves, MaxTopics, MaxTotalPartitions, MaxNamedProducers; a command that would pass one
// is refused with CodeLimitExceeded. Everything decoded from a command or snapshot is checked against these before it is allocated.
//
// Every exported method may be called from any goroutine. Machine.Update and the snapshot methods are called by
// Dragonboat, which never runs them at the same time.
package meta
