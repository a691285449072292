package outbox

import (
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// ErrForgotten says that the partition knows less of the producer than it has acknowledged.
var ErrForgotten = errors.New("the partition has forgotten the producer")

// Result is what became of an item. It is committed if Err is nil.
type Result struct {
	Offset    protocol.Offset
	Epoch     protocol.Epoch
	Duplicate bool
	Outcome   protocol.Outcome // with Err
	Err       error
}

type state uint8

const (
	pending state = iota
	sealed
	done
)

// Item is one record on its way.
type Item struct {
	Record batch.Record
	Size   int
	Cancel <-chan struct{} // done channel of the caller's context, nil if it never ends
	Tag    any             // the owner's
	Result Result          // once it was given to the done function

	index uint64
	state state
}

// Batch is a sealed batch.
type Batch struct {
	Base     protocol.Sequence
	Frame    []byte // the whole produce frame, resent as it is
	Items    []*Item
	Attempts int // how often it was sent
	Sealed   time.Time
}

// End returns the sequence after the batch.
func (b *Batch) End() protocol.Sequence { return b.Base + protocol.Sequence(len(b.Items)) }

// Box is the queue.
type Box struct {
	done    func(*Item)
	added   uint64  // items so far; the index of the next
	queue   []*Item // pending and cancelled items in order
	dead    int     // of which are cancelled
	bytes   int     // of which are pending
	taken   []*Item // between Take and Push
	flight  []*Batch
	sent    int // flight[:sent] went out on the present stream
	next    protocol.Sequence
	known   bool // next is known
	waiting int  // items without a result
}

// New returns an empty box. done is called with every item that has its result. Unless known, the first
// sequence is what the first Accepted says; else it is 0.
func New(known bool, done func(*Item)) *Box { return &Box{known: known, done: done} }

// Add queues an item and returns its index.
func (b *Box) Add(it *Item) uint64 {
	it.index, it.state = b.added, pending
	b.added++
	b.waiting++
	b.bytes += it.Size
	b.queue = append(b.queue, it)
	return it.index
}

// Added returns the index of the next item to be added.
func (b *Box) Added() uint64 { return b.added }

// Unsealed returns how many items have no place in the sequence yet.
func (b *Box) Unsealed() int { return b.Pending() + len(b.taken) }

// PendingBytes returns the size of what is not sealed.
func (b *Box) PendingBytes() int { return b.bytes }

// Pending returns how many items are not sealed.
func (b *Box) Pending() int { return len(b.queue) - b.dead }

// FirstPending returns the index of the oldest item that is not sealed.
func (b *Box) FirstPending() (uint64, bool) {
	b.trim()
	if len(b.queue) == 0 {
		return 0, false
	}
	return b.queue[0].index, true
}

// trim drops cancelled items from the front.
func (b *Box) trim() {
	for len(b.queue) > 0 && b.queue[0].state == done {
		b.queue[0] = nil
		b.queue = b.queue[1:]
		b.dead--
	}
}

// Waiting returns how many items have no result yet.
func (b *Box) Waiting() int { return b.waiting }

// InFlight returns how many batches are sealed and not acknowledged.
func (b *Box) InFlight() int { return len(b.flight) }

// Oldest returns the oldest batch in flight, nil if there is none.
func (b *Box) Oldest() *Batch {
	if len(b.flight) == 0 {
		return nil
	}
	return b.flight[0]
}

// Low returns an index below which every item is settled: it has its result and its batch is not in
// flight any more.
func (b *Box) Low() uint64 {
	switch {
	case len(b.flight) > 0:
		return b.flight[0].Items[0].index
	case len(b.taken) > 0:
		return b.taken[0].index
	}
	if i, ok := b.FirstPending(); ok {
		return i
	}
	return b.added
}

// Next returns the sequence of the next batch and whether it is known already.
func (b *Box) Next() (protocol.Sequence, bool) { return b.next, b.known }

// Take takes the oldest pending items, at least one and then as many as fit, for one batch. Push or
// Drop follows. Items that are taken count as sealed.
func (b *Box) Take(maxBytes, maxRecords int) []*Item {
	if !b.known || b.taken != nil {
		panic("outbox: Take without a known sequence or twice")
	}
	size := 0
	for len(b.queue) > 0 && len(b.taken) < maxRecords {
		it := b.queue[0]
		if it.state == pending {
			if len(b.taken) > 0 && size+it.Size > maxBytes {
				break
			}
			it.state = sealed
			size += it.Size
			b.bytes -= it.Size
			b.taken = append(b.taken, it)
		} else {
			b.dead--
		}
		b.queue[0] = nil
		b.queue = b.queue[1:]
	}
	return b.taken
}

// Push makes the taken items a batch in flight with the encoded frame.
func (b *Box) Push(frame []byte, now time.Time) {
	b.flight = append(b.flight, &Batch{Base: b.next, Frame: frame, Items: b.taken, Sealed: now})
	b.next += protocol.Sequence(len(b.taken))
	b.taken = nil
}

// Untake puts the taken items back to the front of the queue.
func (b *Box) Untake() {
	for _, it := range b.taken {
		if it.state == sealed {
			it.state = pending
			b.bytes += it.Size
		} else {
			b.dead++
		}
	}
	b.queue = append(b.taken[:len(b.taken):len(b.taken)], b.queue...)
	b.taken = nil
}

// Drop gives up the taken items; they use no sequence.
func (b *Box) Drop(err error) {
	taken := b.taken
	b.taken = nil
	for _, it := range taken {
		b.finish(it, Result{Outcome: protocol.NotAppended, Err: err})
	}
}

// Unsent returns the next batch to send on the present stream, nil if there is none, and counts it as
// sent.
func (b *Box) Unsent() *Batch {
	if b.sent == len(b.flight) {
		return nil
	}
	s := b.flight[b.sent]
	s.Attempts++
	b.sent++
	return s
}

// PeekUnsent is Unsent without sending.
func (b *Box) PeekUnsent() *Batch {
	if b.sent == len(b.flight) {
		return nil
	}
	return b.flight[b.sent]
}

// Reopen begins a new stream. What is in flight will be sent again, also what the partition has: it answers with the
// offset.
func (b *Box) Reopen() { b.sent = 0 }

// Accepted is what the partition says of itself on a new stream: next is the first sequence that it has not appended.
func (b *Box) Accepted(next protocol.Sequence) error {
	if !b.known {
		b.next, b.known = next, true
		return nil
	}
	oldest := b.next
	if len(b.flight) > 0 {
		oldest = b.flight[0].Base
	}
	switch {
	case next < oldest:
		return fmt.Errorf("%w: it expects sequence %d, %d was acknowledged", ErrForgotten, next, oldest)
	case next > b.next:
		return fmt.Errorf("%w: it expects sequence %d, only %d were used", ErrForgotten, next, b.next)
	}
	for _, f := range b.flight {
		if f.Base < next && next < f.End() {
			return fmt.Errorf("%w: it expects sequence %d inside a batch from %d to %d",
				ErrForgotten, next, f.Base, f.End()-1)
		}
	}
	return nil
}

// Ack settles the oldest batch in flight. It returns the batch, or an error if the acknowledgement is
// not for it.
func (b *Box) Ack(base protocol.Sequence, count uint32, r Result) (*Batch, error) {
	if b.sent == 0 {
		return nil, fmt.Errorf("acknowledgement of sequence %d, nothing was sent", base)
	}
	f := b.flight[0]
	if f.Base != base || len(f.Items) != int(count) {
		return nil, fmt.Errorf("acknowledgement of %d records from sequence %d, expected %d from %d",
			count, base, len(f.Items), f.Base)
	}
	b.flight[0] = nil
	b.flight = b.flight[1:]
	b.sent--
	for i, it := range f.Items {
		one := r
		one.Offset += protocol.Offset(i)
		b.finish(it, one)
	}
	return f, nil
}

// finish gives an item its result unless it has one.
func (b *Box) finish(it *Item, r Result) {
	if it.state == done {
		return
	}
	it.state, it.Result = done, r
	b.waiting--
	b.done(it)
}

// Cancel ends the wait for one item.
func (b *Box) Cancel(it *Item, err error) {
	switch it.state {
	case pending:
		b.bytes -= it.Size
		b.dead++
		b.finish(it, Result{Outcome: protocol.NotAppended, Err: err})
		b.compact()
	case sealed:
		b.finish(it, Result{Outcome: protocol.Unknown, Err: err})
	case done:
	}
}

// CancelAll cancels every item whose caller's context is identified by ch, in order.
func (b *Box) CancelAll(ch <-chan struct{}, err error) {
	for _, f := range b.flight {
		b.cancelIn(f.Items, ch, err)
	}
	b.cancelIn(b.taken, ch, err)
	// Cancel may move the queue.
	b.cancelIn(append([]*Item(nil), b.queue...), ch, err)
}

func (b *Box) cancelIn(items []*Item, ch <-chan struct{}, err error) {
	for _, it := range items {
		if it.Cancel == ch {
			b.Cancel(it, err)
		}
	}
}

// compact drops cancelled items when they are the greater part, so that they cost no memory while the
// partition stands still.
func (b *Box) compact() {
	if b.dead <= len(b.queue)/2 {
		return
	}
	live := b.queue[:0]
	for _, it := range b.queue {
		if it.state != done {
			live = append(live, it)
		}
	}
	clear(b.queue[len(live):])
	b.queue, b.dead = live, 0
}

// FailSealed gives up every batch in flight. Those never sent are not in the log. For the others it
// depends: definite says that the oldest one is not in the log; then nothing behind it can be, because
// of the gap, unless it was sent more than once.
func (b *Box) FailSealed(definite bool, err error) {
	flight := b.flight
	b.flight, b.sent = nil, 0
	definite = definite && (len(flight) == 0 || flight[0].Attempts <= 1)
	for _, f := range flight {
		outcome := protocol.Unknown
		if f.Attempts == 0 || definite {
			outcome = protocol.NotAppended
		}
		for _, it := range f.Items {
			b.finish(it, Result{Outcome: outcome, Err: err})
		}
	}
}

// Renew begins a new sequence at 0, for a new identity. Nothing may be in flight; items that are taken
// must be put back, since they were taken for the old one.
func (b *Box) Renew() {
	if len(b.flight) > 0 {
		panic("outbox: Renew with batches in flight")
	}
	b.next, b.known = 0, true
}

// FailAll gives up everything.
func (b *Box) FailAll(definite bool, err error) {
	b.FailSealed(definite, err)
	queue := b.queue
	b.queue, b.dead, b.bytes = nil, 0, 0
	for _, it := range queue {
		b.finish(it, Result{Outcome: protocol.NotAppended, Err: err})
	}
}
