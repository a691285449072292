package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/client/internal/inbox"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// turn is one time of a consumer being the active one of a partition. It goes on through reconnects and
// leader changes: until it is told otherwise the consumer keeps what it handed out, and acknowledges it
// under whatever activation it gets next. Guarded by consumer.mu.
type turn struct {
	f          *feed
	assigned   protocol.Activation // that Rebalance told; never changes
	activation protocol.Activation // of the newest stream
	win        inbox.Window
	committed  protocol.Offset // the broker's cursor
	ended      bool            // acknowledgements are dropped
	over       bool            // committed will not grow any more
}

// close notes that the broker commits nothing more of the turn. What is missing then, the next Commit tells. Called with mu
// held, move follows.
func (t *turn) close() {
	t.over = true
	if t.win.Prefix() > t.committed {
		t.f.lost = t.activation
	}
}

// fetched is a batch, or a gap, that waits to be handed out.
type fetched struct {
	header batch.Header
	bytes  []byte
	gap    *Gap
}

// feed is a consumer's way from one partition. Everything below opened is guarded by consumer.mu.
type feed struct {
	s         *consumer
	partition protocol.Partition
	tp        protocol.TopicPartition
	start     Start
	kick      chan struct{} // for the writer; holds one
	opened    chan struct{} // closed when the first stream was accepted

	why       error // why nothing moves at the moment, for error texts
	wasOpened bool
	streaming bool      // a stream is open
	since     time.Time // when it was opened
	gen       uint64    // grows when what was fetched becomes void
	turn      *turn     // of a subscription: the present one, or the one interrupted by a lost stream
	last      *turn     // released, but its last acknowledgement may still be committed
	live      bool      // records may be handed out: activated on this stream, or a reader's
	revoking  bool
	revokeBy  time.Time

	pos       protocol.Offset // next to hand out
	received  protocol.Offset // next the broker will deliver
	placed    bool            // pos is known
	end       protocol.Offset // of a reader that stops: where
	complete  bool            // of a reader that stops: nothing more will be fetched
	buf       []fetched
	it        *batch.Iterator // of the batch being handed out
	itIndex   uint32
	itBytes   int
	unpacking bool
	queued    bool // in consumer.ready

	freed    int             // credit to give back
	ackSent  protocol.Offset // newest acknowledgement on this stream
	ackSince time.Time       // when the oldest unsent one came
	ackNow   bool            // somebody waits for the commit
	released bool            // Release was sent on leaving

	lost protocol.Activation // newest turn with acknowledgements that were dropped, until a Commit has told it; 0: none
}

// run keeps a stream open until the consumer is closed or cannot go on.
func (f *feed) run(ctx context.Context) {
	setWhy := func(err error) {
		f.s.mu.Lock()
		f.why = err
		f.s.mu.Unlock()
	}
	err := f.s.c.cluster.Run(ctx, cluster.Follow{
		Partition: f.tp,
		Replica:   f.s.cfg.replica,
		OnWait:    setWhy,
		OnRetry: func(attempt int, err error) {
			setWhy(err)
			f.s.c.retried(RetryEvent{
				What: "consume", Topic: f.s.topic, Partition: f.partition, Attempt: attempt, Err: err,
			})
		},
	}, f.session)
	if errors.Is(err, io.EOF) || errors.Is(err, errLeft) || ctx.Err() != nil {
		return
	}
	f.s.fail(f.s.c.closedOr(err))
}

func (f *feed) poke() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// has reports whether pop may return something.
func (f *feed) has() bool {
	if f.unpacking || (f.it == nil && len(f.buf) == 0) || (!f.live && !f.complete) || f.revoking {
		return false
	}
	return f.turn == nil || f.turn.win.Len() < f.s.cfg.maxUnacked
}

type popped uint8

const (
	gotNothing popped = iota // and will not before offer
	gotMessage
	gotBatch    // as it is; the next partition's turn
	gotBatchEnd // a batch is used up, there may be more
	gotPacked   // the next batch must be unpacked
)

// pop returns the next message. Called with mu held.
func (f *feed) pop() (*Message, popped) {
	if !f.has() {
		return nil, gotNothing
	}
	if f.it == nil {
		return nil, f.nextBatch()
	}
	for {
		r, ok := f.it.Next()
		if err := f.it.Err(); err != nil {
			f.fail(f.it.Header(), err)
			return nil, gotNothing
		}
		if !ok {
			f.freed += f.itBytes
			f.it = nil
			f.returnCredit()
			return nil, gotBatchEnd
		}
		h := f.it.Header()
		index := f.itIndex
		f.itIndex++
		o := h.BaseOffset + protocol.Offset(index)
		if o < f.pos || (f.s.cfg.stopAtEnd && o >= f.end) {
			continue
		}
		f.pos = o + 1
		if f.turn != nil {
			f.turn.win.Deliver(o)
		}
		return f.message(&h, index, &r), gotMessage
	}
}

// nextBatch begins the next of what is buffered.
func (f *feed) nextBatch() popped {
	next := &f.buf[0]
	if g := next.gap; g != nil {
		f.buf = f.buf[1:]
		f.pos = max(f.pos, g.To)
		if f.turn != nil {
			f.turn.win.SkipTo(g.To)
			f.poke()
		}
		if f.s.cfg.gap != nil {
			f.s.event(func() { f.s.cfg.gap(*g) })
		}
		return gotBatchEnd
	}
	return gotPacked
}

// unpack opens the next batch, with mu released meanwhile. The feed is not in the queue.
func (f *feed) unpack() {
	next, gen := f.buf[0], f.gen
	f.unpacking = true
	f.s.mu.Unlock()
	it, err := batch.Records(next.bytes, batch.ReadOptions{Checked: true})
	f.s.mu.Lock()
	f.unpacking, f.queued = false, false
	if f.gen != gen {
		f.s.offer(f)
		return
	}
	f.buf[0] = fetched{}
	f.buf = f.buf[1:]
	if err != nil {
		f.fail(next.header, err)
		return
	}
	f.it, f.itIndex, f.itBytes = it, 0, len(next.bytes)
	f.s.offer(f)
}

// fail ends the consumer at a batch whose records cannot be read. It passed its checksum: nothing will make it readable.
// Called with mu held.
func (f *feed) fail(h batch.Header, err error) {
	err = fmt.Errorf("trunkline: topic %q partition %d, records from offset %d of producer %s: %w",
		f.s.topic, f.partition, h.BaseOffset, h.Producer, err)
	f.s.err = err
	f.s.cancel(err)
}

// returnCredit wakes the writer when there is enough to give back, or nothing else to wait for.
func (f *feed) returnCredit() {
	if f.freed >= f.s.cfg.credit/4 || (len(f.buf) == 0 && f.freed > 0) {
		f.poke()
	}
}

// message builds what the application gets.
func (f *feed) message(h *batch.Header, index uint32, r *batch.Record) *Message {
	m := &Message{
		Record: Record{Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Timestamp)},
		Topic:  f.s.topic, Partition: f.partition, Offset: h.BaseOffset + protocol.Offset(index),
		Epoch: h.Epoch, AppendTime: time.UnixMilli(h.AppendTime),
		ProducerID: h.Producer, ProducerEpoch: h.ProducerEpoch,
		Sequence: h.BaseSequence + protocol.Sequence(index), turn: f.turn,
	}
	if len(r.Headers) > 0 {
		m.Headers = make([]Header, len(r.Headers))
		for i, x := range r.Headers {
			m.Headers[i] = Header{Key: x.Key, Value: x.Value}
		}
	}
	return m
}

// drop forgets what was fetched and frees its credit. Called with mu held.
func (f *feed) drop() {
	f.gen++
	for i := range f.buf {
		f.freed += len(f.buf[i].bytes)
	}
	if f.it != nil {
		f.freed += f.itBytes
	}
	f.buf, f.it = nil, nil
}

// endTurn ends the present turn; what was handed out under it can not be acknowledged any more. Called
// with mu held, tell follows.
func (f *feed) endTurn(kind RebalanceKind) {
	t := f.turn
	if t == nil {
		return
	}
	t.ended = true
	f.turn, f.live, f.revoking = nil, false, false
	f.closeLast()
	if kind == Released {
		f.last = t
	} else {
		t.close()
	}
	f.drop()
	f.s.move()
	f.rebalanced(Rebalance{
		Kind: kind, Partition: f.partition, Activation: t.activation, Unacked: t.win.Unacked(),
	})
}

// closeLast ends the wait for the last acknowledgement of the turn before. Called with mu held, move follows.
func (f *feed) closeLast() {
	if f.last != nil {
		f.last.close()
		f.last = nil
	}
}

func (f *feed) rebalanced(r Rebalance) {
	if f.s.cfg.rebalance != nil {
		f.s.event(func() { f.s.cfg.rebalance(r) })
	}
}
