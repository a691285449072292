package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/client/internal/outbox"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	// openTimeout is how long a leader may take to accept a stream before it is tried again.
	openTimeout = 5 * time.Second
	// ackTimeout is how long it may leave batches without an answer.
	ackTimeout = 30 * time.Second
	// gatherBytes is how much of small batches goes into one write: QUIC packs small writes badly.
	gatherBytes = 48 << 10
)

var (
	errOpenTimeout = errors.New("the leader did not accept the stream in time")
	errAckTimeout  = errors.New("the leader did not answer a batch in time")
)

// session is one produce stream: it opens it, sends what is in flight again and then what comes.
func (l *lane) session(ctx context.Context, cn *conn.Conn, _ cluster.Leader) (bool, error) {
	defer l.deliver() // of what a refusal settled
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := l.attach(cancel); err != nil {
		return false, err
	}
	defer l.detach()
	st, err := cn.OpenStream(ctx)
	if err != nil {
		return false, err
	}
	defer st.Abort()
	stop := context.AfterFunc(ctx, st.Abort)
	defer stop()
	if err := l.open(st, cancel); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return false, cause
		}
		return false, l.refused(err, refusedStream)
	}
	var acked atomic.Uint64
	var wg sync.WaitGroup
	wg.Go(func() { cancel(l.readAcks(st, &acked)) })
	if err := l.send(ctx, st, &acked); err != nil {
		cancel(err)
	}
	st.Abort()
	wg.Wait()
	return acked.Load() > 0, context.Cause(ctx)
}

// attach lets expire end the session that begins. A lane that was given up between two sessions has no other.
func (l *lane) attach(end context.CancelCauseFunc) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead != nil {
		return cluster.Stop(l.dead)
	}
	l.renew = end
	return nil
}

func (l *lane) detach() {
	l.mu.Lock()
	l.renew = nil
	l.mu.Unlock()
}

// open introduces the producer and takes over where the partition is in its sequence. What is in flight goes out with the
// introduction: the partition tells by its sequence what it has, and an answer is a round trip that everybody waits for
// after a failover.
func (l *lane) open(st *conn.Stream, cancel context.CancelCauseFunc) error {
	timeout := time.AfterFunc(openTimeout, func() { cancel(errOpenTimeout) })
	defer timeout.Stop()
	l.mu.Lock()
	msg := &wire.ProduceOpen{
		Topic: l.tp.Topic, Partition: l.tp.Partition, Producer: l.id, ProducerEpoch: l.epoch,
	}
	l.box.Reopen()
	out := l.inFlight(wire.AppendFrame(nil, protocol.KindProduceOpen, msg))
	l.mu.Unlock()
	unsent := st.Write(out)
	body, err := st.Expect(protocol.KindProduceOpenOK) // a refusal tells more than that nobody read on
	if err = cmp.Or(err, unsent); err != nil {
		return err
	}
	var ok wire.ProduceOpenOK
	if err := ok.Decode(body); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.id != msg.Producer {
		return cluster.Retry(errors.New("the producer's identity was renewed"))
	}
	if err := l.box.Accepted(ok.NextSequence); err != nil {
		return err
	}
	l.why = nil
	if !l.wasOpened {
		l.wasOpened = true
		close(l.opened)
	}
	return nil
}

// refusal is what a broker refuses.
type refusal uint8

const (
	refusedStream refusal = iota // to open a stream: nothing is said of batches
	refusedRest                  // to go on with one: the batches in flight are unknown, and the oldest would be refused again
	refusedBatch                 // the oldest batch in flight
)

// refused decides what a broker's refusal means for the lane.
func (l *lane) refused(err error, what refusal) error {
	var pe *protocol.Error
	isCode := errors.As(err, &pe)
	switch {
	case errors.Is(err, ErrFenced):
		l.p.fenced(err)
		l.mu.Lock()
		l.box.FailSealed(what == refusedBatch, err)
		l.mu.Unlock()
		return cluster.Stop(err)
	case errors.Is(err, outbox.ErrForgotten), errors.Is(err, protocol.ErrProducerUnknown):
		return l.startOver(false, err)
	case isCode && l.hopeless(pe.Code, what):
		return l.startOver(what == refusedBatch && pe.Code.Outcome() == protocol.NotAppended, err)
	}
	return err
}

// hopeless reports whether the oldest batch in flight would be refused by whomever it is sent to, so that only without it the
// lane can go on. Whether a topic is gone, and how often a defect is met that a stream ended by, is for cluster.Run to say.
func (l *lane) hopeless(code protocol.Code, what refusal) bool {
	switch {
	case what == refusedStream, code.Retryable(), code == protocol.CodeTopicNotFound:
		return false
	case what == refusedRest && code == protocol.CodeInternal:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.box.InFlight() > 0
}

// startOver gives up what is sealed and lets an anonymous lane go on.
func (l *lane) startOver(definite bool, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.giveUp(definite, err)
}

// readAcks settles batches as the leader answers them.
func (l *lane) readAcks(st *conn.Stream, acked *atomic.Uint64) error {
	var ack wire.ProduceAck
	for {
		kind, body, err := st.Next()
		if err != nil {
			return err
		}
		if err := conn.Unexpected(kind, body, protocol.KindProduceAck); err != nil {
			return l.refused(err, refusedRest)
		}
		if err := ack.Decode(body); err != nil {
			return err
		}
		if err := l.acknowledge(&ack); err != nil {
			return err
		}
		acked.Add(1)
		l.deliver()
		l.poke()
	}
}

// acknowledge takes one answer.
func (l *lane) acknowledge(ack *wire.ProduceAck) error {
	l.mu.Lock()
	if ack.Code != 0 {
		l.mu.Unlock()
		return l.refused(&protocol.Error{
			Code: ack.Code, Message: ack.Message, Leader: ack.Leader, Epoch: ack.Epoch,
		}, refusedBatch)
	}
	b, err := l.box.Ack(ack.BaseSequence, ack.Count, outbox.Result{
		Offset: ack.BaseOffset, Epoch: ack.Epoch, Duplicate: ack.Duplicate,
	})
	l.armOverdue()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.p.c.hooks.batch(BatchEvent{
		Topic: l.p.topic, Partition: l.partition, Records: len(b.Items), Bytes: len(b.Frame),
		Attempts: b.Attempts, Duplicate: ack.Duplicate, Latency: time.Since(b.Sealed),
	})
	return nil
}

// armOverdue sets the delivery timeout for the oldest batch in flight. Called with mu held.
func (l *lane) armOverdue() {
	if l.overdue == nil {
		return
	}
	if b := l.box.Oldest(); b != nil {
		l.overdue.Reset(time.Until(b.Sealed.Add(l.p.cfg.deliveryTimeout)))
	} else {
		l.overdue.Stop()
	}
}

// send writes batches until the session ends.
func (l *lane) send(ctx context.Context, st *conn.Stream, acked *atomic.Uint64) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var buf []byte
	seen, since := acked.Load(), time.Now()
	for ctx.Err() == nil { // a batch that is gathered counts as sent
		out, lingers, waiting := l.gather(&buf)
		if len(out) > 0 {
			if err := st.Write(out); err != nil {
				return err
			}
			continue
		}
		if n := acked.Load(); n != seen || !waiting {
			seen, since = n, time.Now()
		}
		left := time.Until(since.Add(ackTimeout))
		if left <= 0 {
			return errAckTimeout
		}
		timer.Reset(min(left, lingers))
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// inFlight appends the oldest batches in flight, as far as they go into one write. Called with mu held.
func (l *lane) inFlight(out []byte) []byte {
	for b := l.box.PeekUnsent(); b != nil && len(out)+len(b.Frame) <= gatherBytes; b = l.box.PeekUnsent() {
		out = append(out, b.Frame...)
		l.box.Unsent()
	}
	return out
}

// gather returns the next bytes to write: one large batch as it is, or several small ones copied to buf.
// Without any it says when to look again, and whether answers are owed.
func (l *lane) gather(buf *[]byte) (out []byte, again time.Duration, waiting bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	again = time.Hour
	out = (*buf)[:0]
	for {
		if b := l.box.PeekUnsent(); b != nil {
			if len(out) > 0 && len(out)+len(b.Frame) > gatherBytes {
				break
			}
			l.box.Unsent()
			if len(b.Frame) >= gatherBytes/2 && len(out) == 0 {
				return b.Frame, again, true
			}
			out = append(out, b.Frame...)
			*buf = out
			continue
		}
		if l.dead != nil || l.box.InFlight() >= l.p.cfg.maxInFlight {
			break
		}
		if wait := l.lingers(); wait > 0 {
			again = wait
			break
		}
		l.seal()
	}
	return out, again, l.box.InFlight() > 0
}

// lingers returns how long the pending items shall wait for more. Called with mu held.
func (l *lane) lingers() time.Duration {
	first, ok := l.box.FirstPending()
	switch {
	case !ok:
		return time.Hour
	case first < l.urgent, l.box.PendingBytes() >= l.p.cfg.batchBytes:
		return 0
	case l.box.InFlight() == 0: // nothing is going on: company would come for the next batch as well
		return 0
	}
	return time.Until(l.oldest.Add(l.p.cfg.linger))
}

// seal makes a batch of the oldest pending items. It is called with mu held and releases it while it
// encodes, since compression takes its time.
func (l *lane) seal() {
	items := l.box.Take(l.p.cfg.batchBytes, protocol.MaxBatchRecords)
	if len(items) == 0 {
		return
	}
	id, epoch := l.id, l.epoch
	base, _ := l.box.Next()
	l.oldest = time.Now() // of what remains; it is older, but has waited for this batch anyway
	l.mu.Unlock()
	encoded, err := l.encode(items, id, epoch, base)
	l.mu.Lock()
	switch {
	case l.dead != nil:
		l.box.Drop(l.dead)
	case err != nil:
		l.box.Drop(err)
	case l.id != id:
		l.box.Untake()
	default:
		l.box.Push(encoded, time.Now())
		if l.box.InFlight() == 1 {
			l.armOverdue()
		}
	}
}

// encode builds the produce frame.
func (l *lane) encode(
	items []*outbox.Item, id protocol.ProducerID, epoch protocol.ProducerEpoch, base protocol.Sequence,
) ([]byte, error) {
	l.build.Reset()
	for _, it := range items {
		if err := l.build.Add(it.Record); err != nil {
			return nil, fmt.Errorf("encode: %w", err)
		}
	}
	dst := make([]byte, 0, frame.HeaderSize+l.build.Size())
	dst, err := l.build.Build(frame.Begin(dst, protocol.KindProduce), id, epoch, base)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return frame.End(dst, 0), nil
}
