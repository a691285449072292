// Package hostile throws millions of random and mutated frames at a live cluster and checks that it does not mind.
//
// An attacker with QUIC connections of its own (no SDK: it must be able to break every rule) sends random bytes, valid
// messages with flipped bits, cut short or with lengths that lie, frames that do not belong on their stream, frames before the
// hello, bad batches, sequences out of order, streams that are abandoned; wrong handshakes and random datagrams to the
// QUIC port, random bytes to the Raft and admin ports. Meanwhile a well-behaved producer and subscriber go on (package
// bench/trial). Nothing of theirs may be lost, no broker may end or panic, and memory stays bounded.
//
// The attack is a sequence of shots, most of them one connection each. What shot i sends is made of the seed and i alone; when it
// arrives is up to the machine. What any client may lawfully do to a topic (write to it, delete it) the attacker
// does not do to the topic that is checked (aims.harms).
//
// Bounds: Lanes shots at a time, openStreams streams each, shotFrames frames a shot.
package hostile
