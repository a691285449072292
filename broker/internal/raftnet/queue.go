package raftnet

import (
	"sync"
	"time"
)

// idleWait is how long heartbeats may wait for more of their kind. The shards of a NodeHost tick together, so one
// write carries what their heartbeats would otherwise take one by one: most of what idle partitions cost. It is far
// below Raft's tick.
const idleWait = 10 * time.Millisecond

// queue holds the frames that wait for one link. Any goroutine puts, the link's writer takes.
type queue struct {
	max  int // bytes; a frame always fits an empty queue
	wake chan struct{}

	mu     sync.Mutex
	frames [][]byte
	bytes  int
	closed bool        // nothing is accepted: the peer is not there
	timer  *time.Timer // wakes for frames that wait for company
	armed  bool        // timer runs
}

func newQueue(max int) *queue { return &queue{max: max, wake: make(chan struct{}, 1)} }

// put takes over frame, or reports that it was dropped. The writer is woken at once, or, if the frame may wait,
// within idleWait. Frames leave in the order they came.
func (q *queue) put(frame []byte, mayWait bool) bool {
	q.mu.Lock()
	if q.closed || len(q.frames) > 0 && q.bytes+len(frame) > q.max {
		q.mu.Unlock()
		putBuffer(frame)
		return false
	}
	q.frames = append(q.frames, frame)
	q.bytes += len(frame)
	if mayWait {
		q.arm()
	}
	q.mu.Unlock()
	if !mayWait {
		q.signal()
	}
	return true
}

// arm lets the timer wake the writer. q.mu is held.
func (q *queue) arm() {
	switch {
	case q.armed:
		return
	case q.timer == nil:
		q.timer = time.AfterFunc(idleWait, q.signal)
	default:
		q.timer.Reset(idleWait)
	}
	q.armed = true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all frames. The caller gives the slice back as spare the next time.
func (q *queue) take(spare [][]byte) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.armed {
		q.timer.Stop()
		q.armed = false
	}
	out := q.frames
	q.frames, q.bytes = spare[:0], 0
	return out
}

// purge drops what waits and returns how much that was. If closed, nothing is accepted until open.
func (q *queue) purge(closed bool) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = closed
	n := len(q.frames)
	for i, f := range q.frames {
		putBuffer(f)
		q.frames[i] = nil
	}
	q.frames, q.bytes = q.frames[:0], 0
	return n
}

func (q *queue) open() {
	q.mu.Lock()
	q.closed = false
	q.mu.Unlock()
}

// accepts reports whether a small frame would be taken now; it saves encoding for a peer that is not there.
func (q *queue) accepts() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.closed && q.bytes < q.max
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes
}
