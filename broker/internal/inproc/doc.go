// Package inproc tests three brokers' replicas of one partition in one process: package partition on raftnode, Dragonboat, the
// journal and fsm, all real, on a disk in memory that forgets what was not synced (storefs.Mem), and on a network of its own. It
// has nothing but tests: the rows of the fault matrix (bench/chaos/README.md) that a process of the test's own can show within
// seconds, on every commit. What needs a real kernel, QUIC, or package liveness is bench/chaos's.
//
// # A broker's life
//
//	running --kill, power cut, failed write--> ended: nothing that it does is seen any more --> its remains are another disk
//	   ^                                                                                              |
//	   +-------------------------------- a new life on the remains <----------------------------------+
//
// An ended life goes on in the background, on a disk that nobody looks at any more, until its goroutines are closed. A kill leaves
// the disk as it was at that moment, a power cut what was synced and of the rest what the seed says. A write that fails makes
// Dragonboat end the process; here the storage ends the life in its place and hides the error, with the moment of the failure for
// its end. What Dragonboat itself keeps beside the Raft log, the files of snapshots, is on the real disk and is copied at the end of
// a life: a power cut takes nothing of it.
//
// Links between brokers are one queue for each direction, which may lose, delay or hold what is sent, as the seed says. A stopped
// broker is one whose links hold everything and whose Raft log writes wait: its clock goes on, unlike that of a stopped process.
//
// # What is checked
//
// Producers send batches in a window and send them again under the same sequence until they are acknowledged, now and then under a
// new epoch. After every fault is healed all replicas must have applied the same and then:
//
//	I1   what was acknowledged is in every replica at the offset that was told
//	I2   nothing else is in it than what was sent
//	I3   an offset has the same value on every replica, and a batch was never told two offsets
//	I4   the sequences of a producer grow with the offsets
//	I5   none of them is there twice
//	I6   offsets are dense
//	I8   what was sent after an acknowledgement is behind it
//	I10  replicas that have applied the same have the same chain hash
//
// and each test says what must have happened for it to mean anything (I16).
//
// # Seed, bounds
//
// Each test prints its seed, which TRUNKLINE_SEED replaces. What is drawn follows from it; when things happen is up to the
// scheduler, so that a seed makes a failure likely again, not certain. Every wait ends after soon. A link's queue holds linkQueue
// batches and loses more. All tests together take less than 30 s on two cores.
package inproc
