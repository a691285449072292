package proxy

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// delayed is a datagram that is not due yet.
type delayed struct {
	due  time.Time
	seq  uint64 // of those due at the same time the first comes first
	data []byte
	of   *client
	way  Direction
	// loose: it keeps no place between the others. A copy is so too: it has the time of the first and a later number.
	loose bool
}

// done takes note that it was sent or dropped.
func (d *delayed) done() {
	if !d.loose {
		d.of.lanes[d.way].gone()
	}
}

// dueHeap is ordered by due, then seq.
type dueHeap []delayed

func (h dueHeap) Len() int { return len(h) }
func (h dueHeap) Less(i, j int) bool {
	if h[i].due.Equal(h[j].due) {
		return h[i].seq < h[j].seq
	}
	return h[i].due.Before(h[j].due)
}
func (h dueHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)   { *h = append(*h, x.(delayed)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = delayed{}
	*h = (*h)[:last]
	return d
}

// delayQueue holds datagrams until they are due. Any goroutine puts, the one that runs it sends.
type delayQueue struct {
	limit int           // bytes
	wake  chan struct{} // something is due earlier than known

	mu    sync.Mutex
	heap  dueHeap // guarded by mu like all below
	bytes int
	seq   uint64
}

func newDelayQueue(limit int) *delayQueue {
	return &delayQueue{limit: limit, wake: make(chan struct{}, 1)}
}

// put takes over a datagram; false: it does not fit.
func (q *delayQueue) put(d delayed) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+len(d.data) > q.limit {
		return false
	}
	q.seq++
	d.seq = q.seq
	q.bytes += len(d.data)
	heap.Push(&q.heap, d)
	if q.heap[0].seq == d.seq {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// take returns a datagram that is due, or how long it is until the next one is.
func (q *delayQueue) take(now time.Time) (d delayed, wait time.Duration, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return delayed{}, time.Hour, false
	}
	if wait := q.heap[0].due.Sub(now); wait > 0 {
		return delayed{}, wait, false
	}
	d = heap.Pop(&q.heap).(delayed)
	q.bytes -= len(d.data)
	return d, 0, true
}

// run sends what is due until ctx ends.
func (q *delayQueue) run(ctx context.Context, send func(delayed)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d, wait, ok := q.take(time.Now())
		if ok {
			send(d)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}
