package raftnode

import (
	"fmt"
	"time"
	_ "unsafe" // for go:linkname
)

// Dragonboat sizes the queues of each replica for one that serves alone: 1.1 MB of them, idle. Its own way to change
// that is a JSON file in the working directory of the process, read before main runs, which is no way for a daemon.
// The variables below are where it keeps what it read; they are used when a replica or a worker is made, those for entries in
// memory while entries are trimmed, and the last of the table when a snapshot is to be sent.
//
//	                            default   here     why it is enough
//	received messages           2 x 1024  2 x 256  a follower that falls behind by more is told to probe
//	proposals                   2 x 2048  2 x 64   a partition has MaxProposals outstanding, or one claim
//	reads                       2 x 4096  2 x 256  only the metadata shard is read through Raft
//	tables of open proposals    16        2        one goroutine proposes; each has a random source of 5 KB
//	tasks and entries applied   2 x 512   2 x 1    only where an apply worker's slices begin: see below
//	entries kept in memory      512       64       allocated anew with nearly every step of a quiet shard
//	free ones before it grows   96        16
//	snapshots being sent        64        4        MaxStreams: fewer than the workers that could send them
//
// An apply worker fills the same two slices again and again and clears them only after 200 reloads. What does not fit is in memory
// of its own, which is free after the call. So a backlog of 512 commands, applied once, would be kept for minutes by each worker, with
// the logs in memory that its tasks are parts of, since the few commands of normal load overwrite only the beginning.
//
// The last variable is an interval, not a queue: every 200 ms each step and apply worker goes through all of its replicas,
// asked or not, more often than Raft's clock has them do it. Whatever is to be done is signalled as well, with one hole: a
// worker that hears that a replica is ready before it hears that there is one drops the signal. So the backstop stays, and
// reloadInterval bounds how late such a replica starts.
//
//go:linkname receiveQueueLen github.com/lni/dragonboat/v4.receiveQueueLen
var receiveQueueLen uint64

//go:linkname incomingProposalsMaxLen github.com/lni/dragonboat/v4.incomingProposalsMaxLen
var incomingProposalsMaxLen uint64

//go:linkname incomingReadIndexMaxLen github.com/lni/dragonboat/v4.incomingReadIndexMaxLen
var incomingReadIndexMaxLen uint64

//go:linkname pendingProposalShards github.com/lni/dragonboat/v4.pendingProposalShards
var pendingProposalShards uint64

//go:linkname taskBatchSize github.com/lni/dragonboat/v4.taskBatchSize
var taskBatchSize uint64

//go:linkname entrySliceSize github.com/lni/dragonboat/v4/internal/raft.entrySliceSize
var entrySliceSize uint64

//go:linkname minEntrySliceSize github.com/lni/dragonboat/v4/internal/raft.minEntrySliceSize
var minEntrySliceSize uint64

//go:linkname maxConnectionCount github.com/lni/dragonboat/v4/internal/transport.maxConnectionCount
var maxConnectionCount uint64

//go:linkname nodeReloadInterval github.com/lni/dragonboat/v4.nodeReloadInterval
var nodeReloadInterval time.Duration

// reloadInterval is how often workers look at all of their replicas without being asked.
const reloadInterval = time.Second

func init() {
	// The packages that own the variables have set them by now, for this one imports them.
	for _, set := range []struct {
		what *uint64
		to   uint64
	}{
		{&receiveQueueLen, 256}, {&incomingProposalsMaxLen, 64}, {&incomingReadIndexMaxLen, 256},
		{&pendingProposalShards, 2}, {&taskBatchSize, 1}, {&entrySliceSize, 64}, {&minEntrySliceSize, 16},
		{&maxConnectionCount, MaxStreams},
	} {
		if *set.what < set.to {
			panic(fmt.Errorf("raftnode: Dragonboat's soft setting is %d: this version keeps it elsewhere", *set.what))
		}
		*set.what = set.to
	}
	if nodeReloadInterval != 200*time.Millisecond {
		panic(fmt.Errorf("raftnode: Dragonboat's workers reload every %v: this version keeps it elsewhere", nodeReloadInterval))
	}
	nodeReloadInterval = reloadInterval
}
