package raftnet

import "sync"

// queue holds the frames that wait for one link. Any goroutine puts, the link's writer takes.
type queue struct {
	max  int // bytes; a frame always fits an empty queue
	wake chan struct{}

	mu     sync.Mutex
	frames [][]byte
	bytes  int
	closed bool // nothing is accepted: the peer is not there
}

func newQueue(max int) *queue { return &queue{max: max, wake: make(chan struct{}, 1)} }

// put takes over frame, or reports that it was dropped.
func (q *queue) put(frame []byte) bool {
	q.mu.Lock()
	if q.closed || len(q.frames) > 0 && q.bytes+len(frame) > q.max {
		q.mu.Unlock()
		putBuffer(frame)
		return false
	}
	q.frames = append(q.frames, frame)
	q.bytes += len(frame)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take returns all frames. The caller gives the slice back as spare the next time.
func (q *queue) take(spare [][]byte) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
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
