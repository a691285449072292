package session

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// consume serves a consume stream. The stream's own goroutine reads, another one delivers.
func (c *conn) consume(st *stream, body []byte) error {
	var open wire.ConsumeOpen
	if err := open.Decode(body); err != nil {
		return err
	}
	tp := protocol.TopicPartition{Topic: open.Topic, Partition: open.Partition}
	p, err := c.partition(tp)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.RequestTimeout)
	member, ok, err := c.srv.feed.Open(ctx, p, &open)
	cancel()
	if err != nil {
		return c.hinted(tp, err)
	}
	defer member.Close()
	if err := st.writeFrame(protocol.KindConsumeOpenOK, &ok); err != nil {
		return err
	}
	c.converse(st, tp, member)
	return nil
}

// converse runs an open consume stream until its end.
func (c *conn) converse(st *stream, tp protocol.TopicPartition, member *feed.Consumer) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	unlink := context.AfterFunc(st.Context(), cancel) // the client reads no more, or the connection is gone
	defer unlink()
	delivered := make(chan struct{})
	c.spawn("consume-write", func() {
		defer close(delivered)
		defer st.cutReading()
		defer cancel()
		c.deliver(ctx, st, tp, member)
	})
	err := c.readConsumer(st, member)
	pe := readError(err)
	switch {
	case c.ctx.Err() != nil:
		member.End(c.why())
	case ctx.Err() != nil: // delivery is over
	case errors.Is(err, io.EOF):
		// The client has said all it had to say; it may still want to hear that it is committed.
		member.Leave()
	case pe != nil:
		member.End(pe)
	default:
		cancel()
	}
	<-delivered
}

// readConsumer takes the client's frames until the stream ends or breaks a rule.
func (c *conn) readConsumer(st *stream, member *feed.Consumer) error {
	r := frame.NewReader(st)
	r.Only(protocol.KindCredit, protocol.KindAck, protocol.KindRelease)
	for {
		k, body, err := r.Next()
		if err != nil {
			return err
		}
		c.heard.Store(true)
		if err := takeConsumer(member, k, body); err != nil {
			return err
		}
	}
}

func takeConsumer(member *feed.Consumer, k protocol.Kind, body []byte) error {
	switch k {
	case protocol.KindCredit:
		var m wire.Credit
		if err := m.Decode(body); err != nil {
			return err
		}
		member.Credit(m.Bytes)
		return nil
	case protocol.KindAck:
		var m wire.Ack
		if err := m.Decode(body); err != nil {
			return err
		}
		return member.Ack(m)
	default: // KindRelease: the reader lets no other kind pass
		var m wire.Release
		if err := m.Decode(body); err != nil {
			return err
		}
		return member.Release(m.Activation)
	}
}

// keepBuffer is the largest delivery buffer that is kept for the next delivery.
const keepBuffer = 512 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 160<<10); return &b }}

// deliver writes what the consumer is due until the stream's end. A buffer is held only while there is
// something to write, so that idle consumers cost little.
func (c *conn) deliver(ctx context.Context, st *stream, tp protocol.TopicPartition, member *feed.Consumer) {
	for {
		err := member.Wait(ctx)
		if err != nil && c.ctx.Err() == nil {
			st.Reset(protocol.CodeClosing)
			st.StopReading(protocol.CodeClosing)
			return
		}
		if err != nil {
			member.End(c.why())
		}
		if done := c.deliverOnce(st, tp, member); done {
			return
		}
	}
}

// deliverOnce writes what is due now and reports whether that was the last.
func (c *conn) deliverOnce(st *stream, tp protocol.TopicPartition, member *feed.Consumer) (done bool) {
	held := c.srv.cfg.Feed.ChunkBytes
	if err := c.delivery.take(c.tc.Context(), held, alwaysIdle); err != nil {
		return true
	}
	defer func() { c.delivery.give(held) }()
	buf := buffers.Get().(*[]byte)
	b, err := member.Fill((*buf)[:0])
	if more := len(b) - held; more > 0 {
		c.delivery.force(more)
		held += more
	}
	var pe *protocol.Error
	if errors.As(err, &pe) {
		pe = c.hinted(tp, pe)
		c.srv.metrics.refused(pe.Code)
		b = appendError(b, pe)
	}
	if len(b) > 0 && st.write(b) != nil {
		err = io.ErrClosedPipe
	} else if err != nil {
		st.end(protocol.CodeClosing)
	}
	if cap(b) <= keepBuffer {
		*buf = b
	}
	buffers.Put(buf)
	return err != nil
}
