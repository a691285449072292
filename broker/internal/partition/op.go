package partition

import (
	"time"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

type opKind uint8

const (
	opAppend opKind = iota
	opProducerOpen
	opCursorOpen
	opCursorActivate
	opCursorAck
	opCursorDelete
	opSetStart
)

// op is one operation between its acceptance and its answer. It is passed by value and answered exactly once, by the
// goroutine that holds it.
type op struct {
	kind     opKind
	proposed bool          // was in a proposal: without an answer its outcome is unknown
	repeated bool          // was in one before the newest, whose end is not known
	weight   int64         // bytes held of the partition's space
	since    time.Duration // Partition.age when it was accepted

	batch         []byte // opAppend
	header        batch.Header
	producer      protocol.ProducerID // opProducerOpen
	producerEpoch protocol.ProducerEpoch
	subscription  string              // opCursor...
	offset        protocol.Offset     // opCursorOpen, opCursorAck, opSetStart
	activation    protocol.Activation // opCursorAck

	acked func(Ack)                                           // opAppend
	reply func(fsm.OpResult, protocol.Epoch, *protocol.Error) // the others
}

// size returns what the operation takes in a command, about.
func (o *op) size() int { return fsm.OpHeaderSize + len(o.batch) + len(o.subscription) + 16 }

func (o *op) build(b *fsm.Builder) {
	switch o.kind {
	case opAppend:
		b.Append(o.batch)
	case opProducerOpen:
		b.ProducerOpen(o.producer, o.producerEpoch)
	case opCursorOpen:
		b.CursorOpen(o.subscription, o.offset)
	case opCursorActivate:
		b.CursorActivate(o.subscription)
	case opCursorAck:
		b.CursorAck(o.subscription, o.activation, o.offset)
	case opCursorDelete:
		b.CursorDelete(o.subscription)
	case opSetStart:
		b.SetStart(o.offset)
	}
}

// answer calls the operation's callback: with err, or with what the state machine said in epoch.
func (o *op) answer(r fsm.OpResult, epoch protocol.Epoch, err *protocol.Error) {
	if err == nil && r.Code != 0 {
		err = o.doubt(o.failure(r))
	}
	if o.kind != opAppend {
		o.reply(r, epoch, err)
		return
	}
	if err != nil {
		o.acked(Ack{Epoch: epoch, Err: err})
		return
	}
	o.acked(Ack{Offset: protocol.Offset(r.A), Epoch: epoch, Duplicate: r.B == 1})
}

func (o *op) failure(r fsm.OpResult) *protocol.Error {
	switch r.Code {
	case protocol.CodeOutOfSequence:
		return protocol.Errorf(r.Code, "producer %v sent sequence %d, the partition expects %d",
			o.header.Producer, o.header.BaseSequence, r.A)
	case protocol.CodeProducerFenced:
		return protocol.Errorf(r.Code, "producer %v has been opened with epoch %d since",
			max(o.header.Producer, o.producer), r.A)
	case protocol.CodeProducerUnknown:
		return protocol.Errorf(r.Code, "the partition has forgotten producer %v or its sequence %d",
			o.header.Producer, o.header.BaseSequence)
	case protocol.CodeStaleActivation:
		return protocol.Errorf(r.Code, "activation %d of subscription %s is over, the current one is %d",
			o.activation, o.subscription, r.B)
	case protocol.CodeNotFound:
		return protocol.Errorf(r.Code, "subscription %s has no cursor here", o.subscription)
	case protocol.CodeInternal:
		return protocol.Errorf(r.Code, "the state machine gave no result for the operation")
	}
	return protocol.Errorf(r.Code, "refused by the partition")
}

// doubt makes the refusal of a repeated append what is certain about it: the batch may be in the log by an earlier
// proposal, behind which came what refused the newest.
func (o *op) doubt(err *protocol.Error) *protocol.Error {
	if o.kind != opAppend || !o.repeated || err.Code.Outcome() != protocol.NotAppended {
		return err
	}
	return protocol.Errorf(protocol.CodeOutcomeUnknown, "the batch was proposed again and then refused: %s", err.Error())
}

// queue is a FIFO of operations to which those of failed proposals return at the front. It holds no memory while
// empty for long: the array is dropped when it had grown beyond queueKeep.
type queue struct {
	ops  []op
	head int // ops[:head] are taken
}

const queueKeep = 64

func (q *queue) len() int { return len(q.ops) - q.head }

func (q *queue) push(o op) { q.ops = append(q.ops, o) }

// front returns the oldest operation. The queue must not be empty.
func (q *queue) front() *op { return &q.ops[q.head] }

func (q *queue) pop() op {
	o := q.ops[q.head]
	q.ops[q.head] = op{}
	q.head++
	switch {
	case q.head == len(q.ops) && cap(q.ops) > queueKeep:
		q.ops, q.head = nil, 0
	case q.head == len(q.ops):
		q.ops, q.head = q.ops[:0], 0
	case q.head >= queueKeep && q.head*2 >= len(q.ops): // slide, or a queue that is never empty would grow for ever
		n := copy(q.ops, q.ops[q.head:])
		clear(q.ops[n:])
		q.ops, q.head = q.ops[:n], 0
	}
	return o
}

// unpop puts operations back in front of all others, in their order.
func (q *queue) unpop(ops []op) {
	if len(ops) <= q.head {
		q.head -= len(ops)
		copy(q.ops[q.head:], ops)
		return
	}
	all := make([]op, 0, len(ops)+q.len())
	all = append(all, ops...)
	q.ops, q.head = append(all, q.ops[q.head:]...), 0
}
