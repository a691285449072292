package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/client/internal/conn"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	// ackDelay is how long an acknowledgement waits for company; brokers coalesce further.
	ackDelay = 5 * time.Millisecond
	// ackRecords is how many do not wait.
	ackRecords = 1000
	// reactivation is how long an interrupted turn waits, on a new stream, to be continued. After it
	// somebody else must have the partition.
	reactivation = 3 * time.Second
	// revokeMargin is the part of the grace that is kept for the way of the Release, at most a quarter.
	revokeMargin = 100 * time.Millisecond
)

// errLeft ends the stream of a consumer that leaves.
var errLeft = errors.New("left")

// session is one consume stream.
func (f *feed) session(ctx context.Context, cn *conn.Conn, _ cluster.Leader) (bool, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	st, err := cn.OpenStream(ctx)
	if err != nil {
		return false, err
	}
	defer st.Abort()
	stop := context.AfterFunc(ctx, st.Abort)
	defer stop()
	if err := f.open(st, cancel); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return false, f.refused(err)
	}
	var wg sync.WaitGroup
	var progress bool
	wg.Go(func() { cancel(f.read(st, &progress)) })
	if err := f.write(ctx, st); err != nil {
		cancel(err)
	}
	st.Abort()
	wg.Wait()
	f.detach()
	f.s.tell()
	return progress, f.refused(context.Cause(ctx))
}

// refused decides what the end of a stream means.
func (f *feed) refused(err error) error {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	switch {
	case f.complete, f.s.cfg.stopAtEnd && f.placed && f.received >= f.end:
		f.complete = true
		f.s.offer(f)
		f.s.signal()
		return cluster.Stop(io.EOF)
	case errors.Is(err, protocol.ErrStaleActivation):
		return cluster.Retry(err)
	case errors.Is(err, ErrOffsetOutOfRange) && f.placed && !f.s.subscribes():
		// Retention went past a reader that was away: the next stream begins at the oldest record, and
		// the gap is told then.
		f.start = Earliest()
		f.placed = false
		return cluster.Retry(err)
	}
	return err
}

// open joins the partition.
func (f *feed) open(st *conn.Stream, cancel context.CancelCauseFunc) error {
	timeout := time.AfterFunc(openTimeout, func() { cancel(errOpenTimeout) })
	defer timeout.Stop()
	if err := st.WriteFrame(protocol.KindConsumeOpen, f.request()); err != nil {
		return err
	}
	body, err := st.Expect(protocol.KindConsumeOpenOK)
	if err != nil {
		return err
	}
	var ok wire.ConsumeOpenOK
	if err := ok.Decode(body); err != nil {
		return err
	}
	f.attach(&ok)
	f.s.tell()
	return nil
}

func (f *feed) request() *wire.ConsumeOpen {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	from := wire.From{Kind: wire.FromKind(f.start.kind), Value: f.start.value}
	if !f.s.subscribes() && f.placed {
		from = wire.From{Kind: wire.FromOffset, Value: uint64(f.pos)}
	}
	return &wire.ConsumeOpen{
		Topic: f.tp.Topic, Partition: f.tp.Partition,
		Subscription: f.s.name, Consumer: f.s.cfg.consumer, From: from,
		CreditBytes: uint32(f.s.cfg.credit), GraceMillis: uint32(f.s.cfg.grace.Milliseconds()),
		AnyReplica: f.s.cfg.replica != 0, StopAtEnd: f.s.cfg.stopAtEnd,
	}
}

// attach begins a stream that was accepted.
func (f *feed) attach(ok *wire.ConsumeOpenOK) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.drop()
	f.why = nil
	f.streaming, f.since = true, time.Now()
	f.freed, f.ackNow, f.released = 0, false, false
	if !f.s.subscribes() {
		if !f.wasOpened {
			f.pos, f.end = ok.From, ok.Next
		} else if ok.From > f.pos {
			f.buf = append(f.buf, fetched{gap: &Gap{Partition: f.partition, From: f.pos, To: ok.From}})
		}
		f.received, f.placed, f.live = ok.From, true, true
		f.s.offer(f)
	}
	if !f.wasOpened {
		f.wasOpened = true
		close(f.opened)
	}
}

// detach notes that the stream is gone. The turn goes on if there is a next stream, unless it was being
// revoked.
func (f *feed) detach() {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.streaming = false
	if !f.complete {
		f.live = false
	}
	if f.revoking {
		f.endTurn(Lost)
	}
	f.closeLast()
	f.s.move()
}

// read takes the broker's frames until the stream ends.
func (f *feed) read(st *conn.Stream, progress *bool) error {
	for {
		kind, body, err := st.NextOwned()
		if err != nil {
			if f.left() && errors.Is(err, io.EOF) {
				return cluster.Stop(errLeft)
			}
			return err
		}
		err = f.handle(kind, body)
		f.s.tell()
		if err != nil {
			return err
		}
		*progress = *progress || kind == protocol.KindDeliver || kind == protocol.KindActivate
		if f.finished() {
			return io.EOF
		}
	}
}

func (f *feed) left() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.s.leaving
}

// finished reports whether a reader has all it wants.
func (f *feed) finished() bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return f.s.cfg.stopAtEnd && f.received >= f.end
}

// handle acts on one frame.
func (f *feed) handle(kind protocol.Kind, body []byte) error {
	switch kind {
	case protocol.KindDeliver:
		return f.delivered(body)
	case protocol.KindActivate:
		var m wire.Activate
		return decodeThen(&m, body, func() { f.activated(&m) })
	case protocol.KindAckOK:
		var m wire.AckOK
		return decodeThen(&m, body, func() { f.committed(&m) })
	case protocol.KindRevoke:
		var m wire.Revoke
		return decodeThen(&m, body, func() { f.revoked(&m) })
	case protocol.KindDeactivated:
		var m wire.Deactivated
		return decodeThen(&m, body, func() { f.deactivated(&m) })
	case protocol.KindGap:
		var m wire.Gap
		return decodeThen(&m, body, func() { f.gap(&m) })
	}
	return conn.Unexpected(kind, body, protocol.KindDeliver)
}

// decodeThen decodes a message and acts on it.
func decodeThen(m interface{ Decode([]byte) error }, body []byte, act func()) error {
	if err := m.Decode(body); err != nil {
		return err
	}
	act()
	return nil
}

// activated begins a turn, or continues the one that a lost stream interrupted: every record below its
// position is with the application already, acknowledged or not, so none is handed out twice.
func (f *feed) activated(m *wire.Activate) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.s.leaving {
		return // it crossed the release; the end of the stream gives it back
	}
	f.drop()
	f.closeLast()
	kind := Resumed
	if f.turn == nil {
		kind = Assigned
		f.turn = &turn{f: f, assigned: m.Activation}
		f.turn.win.Reset(m.From)
	} else {
		f.turn.win.SkipTo(m.From) // acknowledged, by this consumer or by another in between
	}
	f.turn.activation, f.turn.committed = m.Activation, m.From
	f.pos, f.received, f.ackSent, f.ackSince = f.turn.win.Position(), m.From, m.From, time.Time{}
	f.live, f.revoking = true, false
	f.rebalanced(Rebalance{
		Kind: kind, Partition: f.partition, Activation: m.Activation, From: f.pos, Unacked: f.turn.win.Unacked(),
	})
	f.s.move()
	f.poke()
}

// delivered checks a deliver frame and buffers its batches.
func (f *feed) delivered(body []byte) error {
	h, rest, err := wire.ParseDeliverHeader(body)
	if err != nil {
		return err
	}
	size := len(rest)
	var list []fetched
	for len(rest) > 0 {
		var b []byte
		if b, rest, err = batch.Split(rest); err != nil {
			return fmt.Errorf("delivery: %w", err)
		}
		bh, err := batch.Check(b, protocol.MaxBatchBytesLimit)
		if err != nil {
			return cluster.Retry(fmt.Errorf("delivery: %w", err))
		}
		list = append(list, fetched{header: bh, bytes: b})
	}
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.revoking || (f.s.subscribes() && (f.turn == nil || f.turn.activation != h.Activation)) {
		f.freed += size // of an activation that is over, or ending
		if f.turn != nil && f.turn.activation == h.Activation {
			f.received = h.Next
		}
		return nil
	}
	for i := range list {
		bh := &list[i].header
		if bh.BaseOffset > f.received || bh.Next() <= f.received {
			return cluster.Retry(fmt.Errorf("delivery: records %d to %d where %d was due",
				bh.BaseOffset, bh.Next()-1, f.received))
		}
		f.received = bh.Next()
		if bh.Next() > f.pos {
			f.buf = append(f.buf, list[i])
		} else {
			f.freed += len(list[i].bytes) // handed out before the stream was lost
		}
	}
	f.s.offer(f)
	f.returnCredit()
	if f.turn != nil && f.turn.win.Prefix() > f.ackSent {
		f.poke() // what was handed out before may be acknowledged now
	}
	return nil
}

// gap queues a gap behind what is buffered.
func (f *feed) gap(m *wire.Gap) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.received = max(f.received, m.To)
	f.buf = append(f.buf, fetched{gap: &Gap{Partition: f.partition, From: m.From, To: m.To}})
	f.s.offer(f)
}

// committed notes the broker's cursor.
func (f *feed) committed(m *wire.AckOK) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for _, t := range []*turn{f.turn, f.last} {
		if t != nil && t.activation == m.Activation {
			t.committed = max(t.committed, m.Offset)
		}
	}
	f.s.move()
}

// revoked stops handing out and begins the grace.
func (f *feed) revoked(m *wire.Revoke) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.turn == nil || !f.live || f.turn.activation != m.Activation {
		return
	}
	grace := time.Duration(m.GraceMillis) * time.Millisecond
	f.revoking = true
	f.revokeBy = time.Now().Add(grace - min(revokeMargin, grace/4))
	f.drop()
	f.rebalanced(Rebalance{
		Kind: Revoking, Partition: f.partition, Activation: m.Activation, Grace: grace,
		Unacked: f.turn.win.Unacked(),
	})
	f.poke()
}

// deactivated ends the turn. If it was released before, its last acknowledgement was answered before this.
func (f *feed) deactivated(m *wire.Deactivated) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	switch {
	case f.turn != nil && f.turn.activation == m.Activation:
		f.endTurn(Lost)
	case f.last != nil && f.last.activation == m.Activation:
		f.closeLast()
		f.s.move()
	}
}

// write sends acknowledgements, credit and releases until the session ends.
func (f *feed) write(ctx context.Context, st *conn.Stream) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var buf []byte
	closed := false
	for {
		out, again, fin := f.compose(buf[:0])
		f.s.tell()
		if len(out) > 0 {
			if err := st.Write(out); err != nil {
				return err
			}
		}
		buf = out
		if fin && !closed {
			closed = true
			if err := st.CloseWrite(); err != nil {
				return err
			}
		}
		timer.Reset(again)
		select {
		case <-f.kick:
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// compose appends the frames that are due and says when to look again. fin: these are the last ones.
func (f *feed) compose(out []byte) (_ []byte, again time.Duration, fin bool) {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.released {
		return out, time.Hour, true
	}
	again = time.Hour
	now := time.Now()
	if f.freed > 0 && !f.revoking && !f.s.leaving &&
		(f.freed >= f.s.cfg.credit/4 || (len(f.buf) == 0 && f.it == nil)) {
		out = wire.AppendFrame(out, protocol.KindCredit, &wire.Credit{Bytes: uint32(f.freed)})
		f.freed = 0
	}
	switch {
	case f.turn == nil:
	case f.s.leaving:
		out = f.release(out)
	case f.live && f.revoking && (f.turn.win.Unacked() == 0 || !now.Before(f.revokeBy)):
		out = f.release(out)
	case f.live:
		if f.revoking {
			again = f.revokeBy.Sub(now)
		}
		out, again = f.acknowledge(out, now, again)
	default: // interrupted: who has the partition?
		if again = f.since.Add(reactivation).Sub(now); again <= 0 {
			f.endTurn(Lost)
			again = time.Hour
		}
	}
	if f.s.leaving {
		f.released = true
		return out, time.Hour, true
	}
	return out, again, false
}

// ackable is what may be acknowledged: not more than was delivered under this activation, even if more
// was handed out before the stream was lost.
func (f *feed) ackable() protocol.Offset { return min(f.turn.win.Prefix(), f.received) }

// acknowledge appends the acknowledgement if it is due.
func (f *feed) acknowledge(out []byte, now time.Time, again time.Duration) ([]byte, time.Duration) {
	o := f.ackable()
	if f.ackNow && o > f.turn.committed {
		return f.appendAck(out, o), again
	}
	if o <= f.ackSent {
		return out, again
	}
	if f.ackSince.IsZero() {
		f.ackSince = now
	}
	wait := f.ackSince.Add(ackDelay).Sub(now)
	if wait > 0 && !f.revoking && o-f.ackSent < ackRecords {
		return out, min(again, wait)
	}
	return f.appendAck(out, o), again
}

func (f *feed) appendAck(out []byte, o protocol.Offset) []byte {
	ack := wire.Ack{Activation: f.turn.activation, Offset: o, Commit: f.ackNow}
	f.ackSent, f.ackNow, f.ackSince = o, false, time.Time{}
	return wire.AppendFrame(out, protocol.KindAck, &ack)
}

// release appends the last acknowledgement and the release, and ends the turn.
func (f *feed) release(out []byte) []byte {
	if f.live {
		if o := f.ackable(); o > f.ackSent {
			out = f.appendAck(out, o)
		}
		out = wire.AppendFrame(out, protocol.KindRelease, &wire.Release{Activation: f.turn.activation})
	}
	f.endTurn(Released)
	return out
}
