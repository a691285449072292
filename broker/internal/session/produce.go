package session

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// produceStream carries the batches of one producer to one partition. The stream's own goroutine reads, another
// one writes acks.
type produceStream struct {
	c    *conn
	st   *stream
	p    Partition
	open wire.ProduceOpen
	tp   protocol.TopicPartition
	ring *ackRing
	done func(Ack)       // ps.acked, bound once
	ctx  context.Context // ends when reading must: the connection, or the last ack was written
}

// produce serves a produce stream. An error is one of opening it; once it is open, the acks tell.
func (c *conn) produce(st *stream, body []byte) error {
	ps := &produceStream{c: c, st: st, ring: newAckRing()}
	ps.done = ps.acked
	if err := ps.open.Decode(body); err != nil {
		return err
	}
	ps.tp = protocol.TopicPartition{Topic: ps.open.Topic, Partition: ps.open.Partition}
	var err error
	if ps.p, err = c.partition(ps.tp); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.srv.cfg.Limits.RequestTimeout)
	next, epoch, err := ps.p.OpenProducer(ctx, ps.open.Producer, ps.open.ProducerEpoch)
	cancel()
	if err != nil {
		return c.hinted(ps.tp, err)
	}
	ok := wire.ProduceOpenOK{Epoch: epoch, NextSequence: next}
	if err := st.writeFrame(protocol.KindProduceOpenOK, &ok); err != nil {
		return err
	}
	ps.run()
	return nil
}

// run reads batches until the end and waits for the last ack to be written.
func (ps *produceStream) run() {
	var cancel context.CancelFunc
	ps.ctx, cancel = context.WithCancel(ps.c.ctx)
	defer cancel()
	written := make(chan struct{})
	ps.c.spawn("produce-write", func() {
		defer close(written)
		defer ps.st.cutReading()
		defer cancel()
		ps.writeAcks()
	})
	err := ps.readBatches()
	if err != nil {
		ps.c.srv.metrics.refused(err.Code)
	}
	ps.ring.finish(err)
	<-written
}

// readBatches appends batches until the client ends the stream (nil) or breaks a rule.
func (ps *produceStream) readBatches() *protocol.Error {
	for {
		b, err := ps.nextBatch()
		switch {
		case err == nil:
		case ps.c.ctx.Err() != nil:
			return ps.c.why()
		case ps.ctx.Err() != nil || errors.Is(err, io.EOF):
			return nil // an ack ended the stream, or the client did
		default:
			if pe := readError(err); pe != nil {
				return pe
			}
			// The client reset the stream: nobody is there to read acks.
			ps.st.Reset(protocol.CodeClosing)
			return nil
		}
		if !ps.append(b) {
			return nil
		}
	}
}

// nextBatch reads one produce frame's body, once there is room for it.
func (ps *produceStream) nextBatch() ([]byte, error) {
	h, err := ps.st.header()
	if err != nil {
		return nil, err
	}
	ps.c.heard.Store(true)
	limits := &ps.c.srv.cfg.Limits
	if h.Kind != protocol.KindProduce {
		return nil, protocol.Errorf(protocol.CodeUnexpectedFrame, "a %s frame on a produce stream", h.Kind)
	}
	if h.Length > limits.MaxBatchBytes {
		return nil, protocol.Errorf(protocol.CodeBatchTooLarge, "batch of %d bytes, at most %d are allowed",
			h.Length, limits.MaxBatchBytes)
	}
	free, drained := ps.ring.room()
	if !free {
		return nil, protocol.Errorf(protocol.CodeInvalidRequest, "more than %d batches in flight",
			protocol.MaxInFlightBatches)
	}
	return ps.body(h.Length, drained)
}

// append checks a batch and hands it to the partition. False means that reading is over: an ack says why.
func (ps *produceStream) append(b []byte) bool {
	failpoint.Hit("beforeDecode")
	h, err := ps.check(b)
	if err != nil {
		ps.c.release(len(b))
		ps.ring.finish(asError(err))
		return false
	}
	failpoint.Hit("beforeDispatch")
	ps.ring.push(&h, time.Now())
	if err = ps.p.Append(ps.ctx, b, h, ps.done); err == nil {
		return true
	}
	if ps.ctx.Err() != nil {
		err = ps.c.why()
	}
	ps.answered(ps.ring.refuse(Ack{Err: ps.c.hinted(ps.tp, err)}))
	return false
}

// check refuses what must not reach the log.
func (ps *produceStream) check(b []byte) (batch.Header, error) {
	h, err := batch.Check(b, ps.c.srv.cfg.Limits.MaxBatchBytes)
	if err != nil {
		return h, err
	}
	if h.Producer != ps.open.Producer || h.ProducerEpoch != ps.open.ProducerEpoch {
		return h, protocol.Errorf(protocol.CodeInvalidRequest, "batch of producer %s epoch %d on a stream of %s epoch %d",
			h.Producer, h.ProducerEpoch, ps.open.Producer, ps.open.ProducerEpoch)
	}
	return h, nil
}

// acked answers the oldest batch that the partition has. It is called by the partition and does not block.
func (ps *produceStream) acked(a Ack) {
	if a.Err != nil {
		a.Err = ps.c.hinted(ps.tp, a.Err)
	}
	ps.answered(ps.ring.complete(a))
}

func (ps *produceStream) answered(e ackEntry) {
	ps.c.release(e.size)
	ps.c.srv.metrics.published(&e, time.Since(e.at).Seconds())
}

// writeAcks writes acks, as many with one write as are due, until the last one.
func (ps *produceStream) writeAcks() {
	var buf []byte
	for {
		var last bool
		buf, last = ps.ring.take(buf[:0])
		if len(buf) > 0 {
			failpoint.Hit("beforeAckWrite")
			if ps.st.write(buf) != nil {
				return
			}
		}
		if last {
			ps.st.end(protocol.CodeClosing)
			return
		}
		select {
		case <-ps.ring.wake:
		case <-ps.st.Context().Done(): // the client reads no more, or the connection is gone
			ps.st.StopReading(protocol.CodeClosing)
			return
		}
	}
}
