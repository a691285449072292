// Package fakebroker is a cluster of brokers inside a test process: real QUIC on loopback and the real
// rules of sequences, activations and cursors, but one shared log per partition instead of Raft, and
// faults on demand.
//
// A partition is led by one node; all nodes share its log, so that a leader can be moved, killed or
// stopped without electing anybody. What a real cluster decides is scripted by the test: Kill, Stop,
// Move, FailOver, and Faults for single batches.
//
// It is safe for use from many goroutines. Close waits for all of them.
package fakebroker
