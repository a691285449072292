package jetstream

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/trunkline/trunkline/bench/driver"
)

const (
	ackBatch = 100                    // messages that one ack answers for, where it may answer for more than one
	ackDelay = 200 * time.Millisecond // the longest that a message waits for the rest of its batch
	holeMax  = time.Minute            // a sequence number that nobody brings for so long belongs to no message
)

// feed is what comes from one stream.
//
// Where an ack answers for everything before it (AckAll), it must not answer for a message that never came: what was on its way when a
// leader died comes again only after ackWait, behind many others. So a feed knows floor, up to which everything came, acknowledges
// nothing above, and keeps what came early until the hole is filled. Streams here are dense, except for numbers that JetStream
// skips when a proposal fails; holeMax is for those.
type feed struct {
	partition int32
	deliver   func(d *driver.Delivery)
	all       bool // AckAll

	mu    sync.Mutex
	floor uint64                   // every message up to this one was delivered
	last  jetstream.Msg            // delivered, at most floor, and not acknowledged; nil: none
	held  int                      // messages that the ack of last answers for
	early map[uint64]jetstream.Msg // delivered and above floor+1, by sequence; at most maxAckPending
	hole  time.Time                // since when floor+1 is missing while early is not empty
}

// take hands a message over and acknowledges it, or lets it wait for others. nats.go calls it one message after the other.
func (f *feed) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return // not a message of a stream
	}
	f.deliver(&driver.Delivery{
		Partition: f.partition, Offset: int64(meta.Sequence.Stream), Payload: m.Data(), Redelivered: meta.NumDelivered > 1,
	})
	if !f.all {
		_ = m.Ack() // an ack that is lost means that the message comes again
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch seq := meta.Sequence.Stream; {
	case seq == f.floor+1:
		f.rise(m)
		f.fill()
	case seq > f.floor+1:
		if len(f.early) == 0 {
			f.hole = time.Now()
		}
		f.early[seq] = m
	case f.last == nil: // came again, so its ack was lost
		f.last = m
	}
	if f.held >= ackBatch {
		f.ackLocked()
	}
}

// rise moves the floor up by one message.
func (f *feed) rise(m jetstream.Msg) {
	f.floor++
	f.held++
	f.last = m
}

// fill moves the floor up over what came early.
func (f *feed) fill() {
	if len(f.early) == 0 {
		return
	}
	for m := f.early[f.floor+1]; m != nil; m = f.early[f.floor+1] {
		delete(f.early, f.floor+1)
		f.rise(m)
	}
	f.hole = time.Now() // the next one, if any
}

// skip gives up a hole that is too old.
func (f *feed) skip() {
	if len(f.early) == 0 || time.Since(f.hole) < holeMax {
		return
	}
	for f.early[f.floor+1] == nil {
		f.floor++
	}
	f.fill()
}

// ack acknowledges what may be.
func (f *feed) ack() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.skip()
	f.ackLocked()
}

func (f *feed) ackLocked() {
	if f.last != nil {
		_ = f.last.Ack() // an ack that is lost: the next answers for it, or the messages come again
	}
	f.last, f.held = nil, 0
}

// end acknowledges the rest and waits until JetStream knows, so that the next consumer begins behind it. What came early stays
// unacknowledged and will come again.
func (f *feed) end(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		return nil
	}
	if err := f.last.DoubleAck(ctx); err != nil {
		return fmt.Errorf("partition %d: the last ack may be lost: %w", f.partition, err)
	}
	f.last, f.held = nil, 0
	return nil
}

// ackLate acknowledges batches that do not fill up, until ctx ends.
func (c *consumer) ackLate(ctx context.Context) {
	tick := time.NewTicker(ackDelay)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, f := range c.feeds { // all were there before this began
			f.ack()
		}
	}
}
