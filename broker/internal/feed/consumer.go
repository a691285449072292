package feed

import (
	"context"
	"io"
	"math"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	// maxControlBytes bounds the control frames that wait for Fill: about a thousand handovers that the
	// peer did not read.
	maxControlBytes = 64 << 10
	// maxCredit bounds what a consumer can have granted; more is not counted.
	maxCredit = 1 << 30
)

// Consumer is one consume stream: a member of a subscription, or a reader without a cursor.
type Consumer struct {
	m     *Manager
	p     Partition
	group *group // nil for a reader
	name  string
	grace time.Duration
	lost  <-chan struct{} // closed when the leadership ended; nil if it does not matter
	wake  chan struct{}   // capacity 1: something below changed
	once  sync.Once       // counts Close

	mu         sync.Mutex // after group.mu, if both; guards everything below
	control    []byte     // frames not yet taken by Fill
	ackOK      wire.AckOK // newest committed acknowledgement
	ackOKDue   bool       // and it was not yet told
	acksOpen   int        // acknowledgements proposed and not yet answered
	credit     int64      // bytes that may be delivered; one batch may overdraw it
	active     bool
	activation protocol.Activation
	pos        protocol.Offset // next to deliver
	end        protocol.Offset // of a reader that stops: where
	stops      bool
	stopped    protocol.Activation // is over, and the peer was not told yet; 0: none
	left       bool                // the peer will say no more and its acknowledgements are proposed
	err        *protocol.Error     // the stream ends with this once control is taken
}

// Wait returns nil as soon as Fill has something to return.
func (c *Consumer) Wait(ctx context.Context) error {
	for {
		if isClosed(c.lost) {
			c.End(errNotLeading())
		}
		ready, hungry, pos := c.poll()
		if ready {
			return nil
		}
		var appended <-chan struct{}
		if hungry {
			appended = c.p.Appended()
			if _, next := c.p.Bounds(); pos < next {
				return nil
			}
		}
		select {
		case <-c.wake:
		case <-appended:
			c.checkReplica(pos)
		case <-c.lost:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// checkReplica ends the stream when the replica was closed, which wakes everybody who waits for its log to grow: a
// reader of any replica has no other news of that.
func (c *Consumer) checkReplica(pos protocol.Offset) {
	if _, next := c.p.Bounds(); pos < next {
		return
	}
	if _, err := c.p.Read(pos, 1, nil); err != nil {
		e := wire.ErrorFrom(err)
		c.End(e.Err())
	}
}

// poll reports whether Fill would return something that is already here, and whether and from where it
// would deliver.
func (c *Consumer) poll() (ready, hungry bool, pos protocol.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ready = len(c.control) > 0 || c.ackOKDue || c.err != nil || c.finished()
	return ready, c.active && c.credit > 0, c.pos
}

// finished says that nothing more will come, in good order.
func (c *Consumer) finished() bool {
	return c.stops && c.pos >= c.end || c.left && c.acksOpen == 0
}

// Fill appends the frames that are due to dst: control frames first, then at most one deliver frame. It
// does not block but for a read of the log. It returns io.EOF with the last frames of a stream that ends in
// good order, and a *protocol.Error with those of one that does not.
func (c *Consumer) Fill(dst []byte) ([]byte, error) {
	d, dst, err := c.takeControl(dst)
	if err != nil || !d.due {
		return dst, err
	}
	return c.deliver(dst, d)
}

// takeControl appends the control frames and says what to deliver after them.
func (c *Consumer) takeControl(dst []byte) (delivery, []byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dst = append(dst, c.control...)
	c.control = c.control[:0]
	if c.ackOKDue {
		c.ackOKDue = false
		dst = wire.AppendFrame(dst, protocol.KindAckOK, &c.ackOK)
	}
	if c.err != nil {
		return delivery{}, dst, c.err
	}
	if c.finished() {
		return delivery{}, dst, io.EOF
	}
	d := delivery{
		due: c.active && c.credit > 0, activation: c.activation, credit: c.credit,
		from: c.pos, until: math.MaxUint64,
	}
	if c.stops {
		d.until = c.end
	}
	return d, dst, nil
}

// Credit lets n more bytes of batches be delivered.
func (c *Consumer) Credit(n uint32) {
	c.mu.Lock()
	c.credit = min(c.credit+int64(n), maxCredit)
	c.mu.Unlock()
	c.signal()
}

// Ack records that everything below a.Offset is done. An error ends the stream.
func (c *Consumer) Ack(a wire.Ack) error {
	if c.group == nil {
		return protocol.Errorf(protocol.CodeUnexpectedFrame, "a reader has no cursor to acknowledge")
	}
	return c.group.ack(c, a)
}

// Release ends this consumer's activation. One that it was not asked for is a withdrawal: the consumer is
// not activated again on this stream.
func (c *Consumer) Release(a protocol.Activation) error {
	if c.group == nil {
		return protocol.Errorf(protocol.CodeUnexpectedFrame, "a reader has nothing to release")
	}
	c.group.release(c, a)
	return nil
}

// Leave says that the peer will send nothing more. What it acknowledged is still committed and told: Fill
// returns io.EOF after that.
//
// A reader goes on: that its peer has nothing more to say does not mean that it has read enough.
func (c *Consumer) Leave() {
	if c.group != nil {
		c.group.leave(c)
	}
}

// Close takes the consumer out. Its stream is over: what Fill would still say is lost.
func (c *Consumer) Close() {
	c.Leave()
	c.once.Do(c.m.metrics.consumers.Dec)
}

// End makes Fill return err after the control frames that wait. Only the first error counts.
func (c *Consumer) End(err *protocol.Error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.active = false
	c.mu.Unlock()
	c.signal()
}

func (c *Consumer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send queues a control frame.
func (c *Consumer) send(k protocol.Kind, m interface{ Append([]byte) []byte }) {
	c.mu.Lock()
	c.push(k, m)
	c.mu.Unlock()
	c.signal()
}

// push queues a control frame; mu is held. At the bound the stream ends: its peer does not read.
func (c *Consumer) push(k protocol.Kind, m interface{ Append([]byte) []byte }) {
	switch {
	case len(c.control) <= maxControlBytes:
		c.control = wire.AppendFrame(c.control, k, m)
	case c.err == nil:
		c.err = protocol.Errorf(protocol.CodeOverloaded, "the consumer does not read its control frames")
	}
}

// begin makes the consumer the active one.
func (c *Consumer) begin(cur Cursor) {
	c.mu.Lock()
	c.flushStop()
	c.push(protocol.KindActivate, &wire.Activate{Activation: cur.Activation, From: cur.Offset})
	c.active = c.err == nil
	c.activation, c.pos = cur.Activation, cur.Offset
	c.mu.Unlock()
	c.signal()
}

// pause stops delivery under the current activation.
func (c *Consumer) pause() {
	c.mu.Lock()
	c.active = false
	c.mu.Unlock()
}

// stop ends the consumer's activation. leaving says that the peer will say no more. The peer is told once
// its last acknowledgement is answered, so that it hears of that first; meanwhile the next consumer may begin.
func (c *Consumer) stop(a protocol.Activation, leaving bool) {
	c.mu.Lock()
	c.active = false
	c.left = c.left || leaving
	c.stopped = a
	if c.acksOpen == 0 {
		c.flushStop()
	}
	c.mu.Unlock()
	c.signal()
}

// flushStop tells the peer of an activation that is over, if it was not told yet; mu is held.
func (c *Consumer) flushStop() {
	if c.stopped == 0 {
		return
	}
	if c.ackOKDue {
		c.ackOKDue = false
		c.push(protocol.KindAckOK, &c.ackOK)
	}
	c.push(protocol.KindDeactivated, &wire.Deactivated{Activation: c.stopped})
	c.stopped = 0
}

// leave lets the stream end once all proposed acknowledgements are answered.
func (c *Consumer) leave() {
	c.mu.Lock()
	c.left = true
	c.mu.Unlock()
	c.signal()
}

// delivered returns the offset after the last record delivered under the current activation.
func (c *Consumer) delivered() protocol.Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pos
}

// ackProposed and ackDone count acknowledgements under way, so that Leave can wait for their answers.
func (c *Consumer) ackProposed() {
	c.mu.Lock()
	c.acksOpen++
	c.mu.Unlock()
}

func (c *Consumer) ackDone(ok *wire.AckOK) {
	c.mu.Lock()
	c.acksOpen--
	if ok != nil {
		c.ackOK, c.ackOKDue = *ok, true
	}
	if c.acksOpen == 0 {
		c.flushStop()
	}
	c.mu.Unlock()
	c.signal()
}
