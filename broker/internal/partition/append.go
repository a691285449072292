package partition

import (
	"context"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

const (
	// opOverhead is what an accepted batch takes beside its bytes, so that MaxPendingBytes bounds small ones too.
	opOverhead = 256
	// maxControls bounds the operations other than appends accepted and not yet answered: CodeOverloaded beyond.
	maxControls = 8192
)

// Ack is how an append ended.
type Ack struct {
	Offset    protocol.Offset // of the first record
	Epoch     protocol.Epoch  // in which it was answered
	Duplicate bool            // it was in the log already, by an earlier request or an earlier proposal of this one
	Err       *protocol.Error // nil: committed and applied
}

// Append queues one batch that passed batch.Check. It belongs to the partition until done. Append waits while too
// much is pending; an error means that nothing was queued and done will not be called. done is called exactly once, in
// the order in which batches were queued, and must not block nor call the partition's waiting methods.
func (p *Partition) Append(ctx context.Context, b []byte, h batch.Header, done func(Ack)) error {
	weight := min(int64(len(b)+opOverhead), int64(p.cfg.MaxPendingBytes))
	if !p.space.TryAcquire(weight) {
		if err := p.admit(ctx); err != nil { // who is refused should not wait first
			return err
		}
		p.metrics.waits.Inc()
		if p.space.Acquire(ctx, weight) != nil {
			return overdue(ctx)
		}
	}
	o := op{kind: opAppend, weight: weight, batch: b, header: h, acked: done}
	for {
		queued, err := p.push(o)
		if err == nil && !queued {
			err = p.admit(ctx)
		}
		if err != nil {
			p.space.Release(weight)
			return err
		}
		if queued {
			return nil
		}
	}
}

// admit waits while appends are paused. It returns why one is refused now.
func (p *Partition) admit(ctx context.Context) error {
	for {
		p.mu.Lock()
		err, t, paused, resume := p.appendRefusal(), p.term, p.paused > 0, p.resume
		p.mu.Unlock()
		if err != nil {
			return err
		}
		if !paused {
			return nil
		}
		select {
		case <-resume:
		case <-t.stop:
		case <-ctx.Done():
			return overdue(ctx)
		}
	}
}

// appendRefusal is refusal for appends. p.mu is held.
func (p *Partition) appendRefusal() *protocol.Error {
	if err := p.refusal(); err != nil {
		return err
	}
	if p.diskLow {
		return protocol.Errorf(protocol.CodeDiskReserve, "broker %d is short of disk space", p.cfg.Self)
	}
	return nil
}

// push queues an operation. It reports false, and queued nothing, for an append that has to wait.
func (p *Partition) push(o op) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if o.kind == opAppend {
		if err := p.appendRefusal(); err != nil {
			return false, err
		}
		if p.paused > 0 {
			return false, nil
		}
	} else {
		if err := p.refusal(); err != nil {
			return false, err
		}
		if p.controls >= maxControls {
			return false, protocol.Errorf(protocol.CodeOverloaded, "%d operations are pending on partition %s",
				p.controls, p.cfg.TP)
		}
		p.controls++
	}
	o.since = p.age()
	p.term.queue.push(o)
	p.term.pending++
	p.metrics.pending.Inc()
	p.term.signal()
	return true, nil
}

// call queues an operation and waits for its answer or the end of ctx, which leaves its outcome unknown.
func (p *Partition) call(ctx context.Context, o op) (fsm.OpResult, protocol.Epoch, error) {
	type answer struct {
		r     fsm.OpResult
		epoch protocol.Epoch
		err   *protocol.Error
	}
	ch := make(chan answer, 1)
	o.reply = func(r fsm.OpResult, epoch protocol.Epoch, err *protocol.Error) { ch <- answer{r, epoch, err} }
	if _, err := p.push(o); err != nil {
		return fsm.OpResult{}, 0, err
	}
	select {
	case a := <-ch:
		if a.err != nil { // not return a.err: a nil *protocol.Error in an error is not nil
			return a.r, a.epoch, a.err
		}
		return a.r, a.epoch, nil
	case <-ctx.Done():
		return fsm.OpResult{}, 0, overdue(ctx)
	}
}

func overdue(ctx context.Context) error {
	return protocol.Errorf(protocol.CodeTimeout, "gave up waiting for the partition: %v", context.Cause(ctx))
}

// OpenProducer makes an epoch of a producer known and returns the sequence it goes on with, and the leader epoch. It
// waits for the first epoch of the term: only then is everything that earlier leaders committed applied here.
func (p *Partition) OpenProducer(ctx context.Context, id protocol.ProducerID, epoch protocol.ProducerEpoch) (
	protocol.Sequence, protocol.Epoch, error) {
	current, err := p.await(ctx)
	if err != nil {
		return 0, 0, err
	}
	if known, next, ok := p.fsm.Producer(id); ok && known == epoch {
		return next, current, nil
	}
	r, current, err := p.call(ctx, op{kind: opProducerOpen, producer: id, producerEpoch: epoch})
	if err != nil {
		return 0, 0, err
	}
	return protocol.Sequence(r.A), current, nil
}

// await returns the current epoch as soon as there is one in this term.
func (p *Partition) await(ctx context.Context) (protocol.Epoch, error) {
	for {
		p.mu.Lock()
		err, t := p.refusal(), p.term
		if err == nil && t.epoch != 0 {
			defer p.mu.Unlock()
			return t.epoch, nil
		}
		p.mu.Unlock()
		if err != nil {
			return 0, err
		}
		select {
		case <-t.begun:
		case <-t.stop:
		case <-ctx.Done():
			return 0, overdue(ctx)
		}
	}
}

// CursorOpen returns the cursor of a subscription, and creates it at ifNew if there is none.
func (p *Partition) CursorOpen(ctx context.Context, subscription string, ifNew protocol.Offset) (fsm.Cursor, error) {
	if _, err := p.await(ctx); err != nil {
		return fsm.Cursor{}, err
	}
	if c, ok := p.fsm.Cursor(subscription); ok {
		return c, nil
	}
	r, _, err := p.call(ctx, op{kind: opCursorOpen, subscription: subscription, offset: ifNew})
	if err != nil {
		return fsm.Cursor{}, err
	}
	return fsm.Cursor{Offset: protocol.Offset(r.A), Activation: protocol.Activation(r.B)}, nil
}

// CursorActivate begins the next activation of a subscription. The number may grow by more than one.
func (p *Partition) CursorActivate(ctx context.Context, subscription string) (fsm.Cursor, error) {
	r, _, err := p.call(ctx, op{kind: opCursorActivate, subscription: subscription})
	if err != nil {
		return fsm.Cursor{}, err
	}
	return fsm.Cursor{Offset: protocol.Offset(r.B), Activation: protocol.Activation(r.A)}, nil
}

// CursorAck moves a cursor: everything below offset is done. It does not wait; done is called exactly once, perhaps
// before CursorAck returns, and must not block. committed is the cursor that is replicated now.
func (p *Partition) CursorAck(subscription string, a protocol.Activation, offset protocol.Offset,
	done func(committed protocol.Offset, err error)) {
	o := op{kind: opCursorAck, subscription: subscription, activation: a, offset: offset}
	o.reply = func(r fsm.OpResult, _ protocol.Epoch, err *protocol.Error) {
		if err != nil {
			done(0, err)
			return
		}
		done(protocol.Offset(r.A), nil)
	}
	if _, err := p.push(o); err != nil {
		done(0, err)
	}
}

// CursorDelete forgets a subscription on this partition.
func (p *Partition) CursorDelete(ctx context.Context, subscription string) error {
	_, _, err := p.call(ctx, op{kind: opCursorDelete, subscription: subscription})
	return err
}

// SetStart drops records below offset, on all replicas, and returns the start that is in force now.
func (p *Partition) SetStart(ctx context.Context, offset protocol.Offset) (protocol.Offset, error) {
	r, _, err := p.call(ctx, op{kind: opSetStart, offset: offset})
	if err != nil {
		return 0, err
	}
	return protocol.Offset(r.A), nil
}
