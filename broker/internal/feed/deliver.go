package feed

import (
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// delivery is what Fill is about to read, decided under the consumer's lock and read without it.
type delivery struct {
	due        bool
	activation protocol.Activation
	from       protocol.Offset
	until      protocol.Offset // no batch that begins here or later
	credit     int64
}

// deliver appends one deliver frame, with a gap frame before it if records were removed meanwhile.
func (c *Consumer) deliver(dst []byte, d delivery) ([]byte, error) {
	failpoint.Hit("beforeDeliver")
	start, next := c.p.Bounds()
	mark := len(dst)
	from := d.from
	if from < start {
		dst = wire.AppendFrame(dst, protocol.KindGap, &wire.Gap{From: from, To: start})
		from = start
	}
	if from >= next {
		if !c.advance(d, from, 0) {
			dst = dst[:mark]
		}
		return dst, nil
	}
	body := len(dst)
	dst = wire.AppendDeliverHeader(frame.Begin(dst, protocol.KindDeliver), wire.DeliverHeader{})
	first := len(dst)
	most := int(min(d.credit, int64(c.m.cfg.ChunkBytes)))
	dst, err := c.p.Read(from, most, dst)
	if err != nil {
		return c.readFailed(dst[:mark], from, err)
	}
	upTo, size, err := checkBatches(dst[first:], from, d.until)
	if err != nil {
		return dst[:mark], err
	}
	dst = dst[:first+size]
	if !c.advance(d, upTo, size) {
		// The activation ended while the log was read: these records are another consumer's.
		return dst[:mark], nil
	}
	wire.AppendDeliverHeader(dst[:body+frame.HeaderSize], wire.DeliverHeader{Activation: d.activation, Next: upTo})
	dst = frame.End(dst, body)
	c.m.metrics.delivered(size, uint64(upTo-from), d.from < from)
	return dst, nil
}

// advance moves the position if the activation still holds, and reports that.
func (c *Consumer) advance(d delivery, to protocol.Offset, size int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.active || c.activation != d.activation {
		return false
	}
	c.pos = to
	c.credit -= int64(size)
	return true
}

// readFailed turns an error of the log into the end of the stream, unless retention passed the position
// just now: then the next Fill tells the gap.
func (c *Consumer) readFailed(dst []byte, from protocol.Offset, err error) ([]byte, error) {
	if start, _ := c.p.Bounds(); from < start && errors.Is(err, protocol.ErrOffsetOutOfRange) {
		return dst, nil
	}
	e := wire.ErrorFrom(fmt.Errorf("read at offset %d: %w", from, err))
	return dst, e.Err()
}

// checkBatches walks the headers of whole batches up to the first that begins at until, and returns the offset
// after the last one and the bytes they take. The first must hold from, and each must begin where the one
// before ended: what is delivered has no holes.
func checkBatches(b []byte, from, until protocol.Offset) (protocol.Offset, int, error) {
	at, size := from, 0
	for size < len(b) {
		h, err := batch.ParseHeader(b[size:])
		if err != nil || int64(h.Length) > int64(len(b)-size) {
			return 0, 0, protocol.Errorf(protocol.CodeCorruptLog, "batch at offset %d of the log: %v", at, err)
		}
		if h.BaseOffset > at || h.Next() <= at || size > 0 && h.BaseOffset != at {
			return 0, 0, protocol.Errorf(protocol.CodeCorruptLog, "the log gave records [%d, %d) for offset %d",
				h.BaseOffset, h.Next(), at)
		}
		if h.BaseOffset >= until {
			break
		}
		at, size = h.Next(), size+int(h.Length)
	}
	if size == 0 {
		return 0, 0, protocol.Errorf(protocol.CodeInternal, "the log gave nothing at offset %d", from)
	}
	return at, size, nil
}
