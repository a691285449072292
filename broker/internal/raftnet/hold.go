package raftnet

import (
	"sync"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// holdWait is how long a commit notice may wait. It is far below Raft's tick. In shards from Config.HoldFrom on nobody
// waits for a follower to learn what is committed: clients are served by the leader, and a new leader commits again
// what it has.
const holdWait = 10 * time.Millisecond

// holder keeps back commit notices: Replicate messages without entries, which a leader sends to each follower
// whenever its commit index grew. The next Replicate of the same shard to the same replica says the same and more, so
// under load nearly every notice is superseded, and with it go its answer and two wake-ups at either end. With one
// record in flight that is half of all Raft messages.
//
// Raft allows any message to be late or lost. A notice is not lost: it is sent after at most 2 x holdWait.
// The bound is one message per shard and follower.
type holder struct {
	from uint64                // first shard whose notices are held, 0: none
	send func(pb.MessageBatch) // of notices; called from the timer's goroutine

	mu     sync.Mutex
	newer  map[flow]pb.Message // since the timer was armed
	older  map[flow]pb.Message // before that
	batch  pb.MessageBatch     // of the newest notice, without messages
	timer  *time.Timer
	armed  bool
	closed bool
}

// flow is what a later Replicate must have in common with an earlier one to supersede it.
type flow struct{ shard, to uint64 }

func newHolder(from uint64, send func(pb.MessageBatch)) *holder {
	return &holder{from: from, send: send, newer: make(map[flow]pb.Message), older: make(map[flow]pb.Message)}
}

// hold takes over a commit notice, and reports false for a message that has to be sent: it supersedes what is held.
func (h *holder) hold(m *pb.Message, batch *pb.MessageBatch) bool {
	if m.Type != pb.Replicate || h.from == 0 || m.ShardID < h.from {
		return false
	}
	key := flow{m.ShardID, m.To}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.older, key)
	if len(m.Entries) > 0 || h.closed {
		delete(h.newer, key)
		return false
	}
	h.newer[key] = *m
	h.batch = *batch
	h.batch.Requests = nil
	h.arm()
	return true
}

// arm lets the timer run. h.mu is held.
func (h *holder) arm() {
	switch {
	case h.armed:
		return
	case h.timer == nil:
		h.timer = time.AfterFunc(holdWait, h.expire)
	default:
		h.timer.Reset(holdWait)
	}
	h.armed = true
}

// expire sends the notices that have waited for a whole turn of the timer, and lets the others wait for another.
func (h *holder) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed = false
	if h.closed {
		return
	}
	batch := h.batch
	for key, m := range h.older {
		batch.Requests = append(batch.Requests, m)
		delete(h.older, key)
	}
	h.older, h.newer = h.newer, h.older
	if len(h.older) > 0 {
		h.arm()
	}
	if len(batch.Requests) > 0 {
		h.send(batch) // only queues
	}
}

// close drops what is held.
func (h *holder) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	clear(h.newer)
	clear(h.older)
	if h.timer != nil {
		h.timer.Stop()
	}
}
