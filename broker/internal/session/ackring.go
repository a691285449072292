package session

import (
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// ackRing keeps the batches of one produce stream in their order until their acks are written.
//
//	entries [head, done) are answered and not yet written, [done, tail) wait for the partition
//
// The stream's reader pushes, the partition completes and the stream's writer takes. After the first error, or
// after finish, nothing is pushed any more.
type ackRing struct {
	wake chan struct{} // capacity 1: take may have something

	mu               sync.Mutex
	head, done, tail uint64                                // head <= done <= tail <= head+len(entries); guarded by mu
	entries          [protocol.MaxInFlightBatches]ackEntry // entry i is entries[i%len(entries)]; guarded by mu, as all below
	finished         bool                                  // tail is the end
	err              *protocol.Error                       // said after the last ack
	ack              wire.ProduceAck                       // reused: it escapes when it is encoded
	drained          chan struct{}                         // closed at done == tail; nil while nobody asked
}

type ackEntry struct {
	base  protocol.Sequence
	count uint32
	size  int
	at    time.Time // when it was pushed
	ready bool      // refused before it got to the partition
	ack   Ack
}

func newAckRing() *ackRing { return &ackRing{wake: make(chan struct{}, 1)} }

func (r *ackRing) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// room reports whether a batch may be pushed, and returns a channel that is closed as soon as none waits for the
// partition.
func (r *ackRing) room() (free bool, drained <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	free = r.tail-r.head < uint64(len(r.entries))
	if r.done == r.tail {
		return free, alwaysIdle
	}
	if r.drained == nil {
		r.drained = make(chan struct{})
	}
	return free, r.drained
}

// push adds a batch that is about to be appended. There must be room.
func (r *ackRing) push(h *batch.Header, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[r.tail%uint64(len(r.entries))] = ackEntry{
		base: h.BaseSequence, count: h.Count, size: int(h.Length), at: now,
	}
	r.tail++
}

// complete answers the oldest batch that the partition has and returns it.
func (r *ackRing) complete(a Ack) ackEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &r.entries[r.done%uint64(len(r.entries))]
	e.ack = a
	r.done++
	if r.done < r.tail && r.entries[r.done%uint64(len(r.entries))].ready {
		r.done++
	}
	if r.done == r.tail && r.drained != nil {
		close(r.drained)
		r.drained = nil
	}
	r.signal()
	return *e
}

// refuse answers the batch that was pushed last and that the partition did not take. Its ack waits for those
// of the batches before it.
func (r *ackRing) refuse(a Ack) ackEntry {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &r.entries[(r.tail-1)%uint64(len(r.entries))]
	e.ack, e.ready = a, true
	if r.done == r.tail-1 {
		r.done++
	}
	r.signal()
	return *e
}

// finish says that nothing more will be pushed, and what to tell the peer after the last ack, if anything.
func (r *ackRing) finish(err *protocol.Error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.finished {
		r.finished, r.err = true, err
	}
	r.signal()
}

// take appends the acks that are due, in order, and reports whether they are the last.
func (r *ackRing) take(dst []byte) (_ []byte, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; r.head < r.done; r.head++ {
		e := &r.entries[r.head%uint64(len(r.entries))]
		r.ack = wire.ProduceAck{
			BaseSequence: e.base, Count: e.count, BaseOffset: e.ack.Offset, Epoch: e.ack.Epoch, Duplicate: e.ack.Duplicate,
		}
		if err := e.ack.Err; err != nil {
			r.ack.Code, r.ack.Message, r.ack.Leader = err.Code, clip(err.Message, maxAckMessage), err.Leader
			r.ack.Epoch = err.Epoch
			r.finished, r.err = true, nil
		}
		start := len(dst)
		dst = frame.End(r.ack.Append(frame.Begin(dst, protocol.KindProduceAck)), start)
		if e.ack.Err != nil {
			return dst, true
		}
	}
	if !r.finished || r.head < r.tail {
		return dst, false
	}
	if r.err != nil {
		dst = appendError(dst, r.err)
	}
	return dst, true
}
