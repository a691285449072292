package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/client/internal/outbox"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Producer publishes to one topic. All its methods may be called from any goroutine; records that one
// goroutine publishes to one partition keep their order.
type Producer struct {
	c       *Client
	topic   string
	topicID protocol.TopicID
	cfg     producerConfig
	id      protocol.ProducerID
	epoch   protocol.ProducerEpoch
	sticky  spreader

	ctx    context.Context // ends with Close or fence
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	closing atomic.Bool
	lanes   atomic.Pointer[[]*lane] // index is the partition; replaced as a whole under mu

	mu     sync.Mutex    // guards the following, and the start of lanes
	closed chan struct{} // not nil once Close has begun; closed when it is done
}

// Producer opens a producer. With WithProducerName it takes over the name: the producer that had it
// before fails with ErrFenced from its next publish on, and the sequence of every partition continues
// where it was. That needs every partition's leader, so the call waits for all of them.
//
// The producer belongs to the topic as it is now: if the topic is deleted, it fails with
// ErrTopicNotFound even when another topic gets the name.
func (c *Client) Producer(ctx context.Context, topic string, opts ...ProducerOption) (*Producer, error) {
	cfg := producerConfig{
		linger: time.Millisecond, batchBytes: 256 << 10, maxInFlight: 16, bufferBytes: 8 << 20,
	}
	for _, o := range opts {
		o(&cfg)
	}
	limits := c.cluster.Limits()
	if err := cfg.validate(limits.MaxBatchBytes, limits.MaxInFlightBatches); err != nil {
		return nil, fmt.Errorf("trunkline: producer: %w", err)
	}
	t, err := c.cluster.Topic(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("trunkline: producer: %w", c.closedOr(err))
	}
	p := &Producer{c: c, topic: topic, topicID: t.ID, cfg: cfg, id: randomID()}
	if cfg.name != "" {
		req := &wire.Request{InitProducer: &wire.InitProducer{Name: cfg.name}}
		resp, _, err := c.cluster.Do(ctx, req)
		if err != nil {
			return nil, fmt.Errorf("trunkline: producer %q: %w", cfg.name, c.closedOr(err))
		}
		if resp.InitProducer == nil {
			return nil, fmt.Errorf("trunkline: producer %q: broker sent no identity", cfg.name)
		}
		p.id, p.epoch = resp.InitProducer.Producer, resp.InitProducer.Epoch
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	if !c.register(p) {
		return nil, ErrClosed
	}
	p.grow(len(t.Partitions))
	p.wg.Go(p.watchTopic)
	if cfg.name != "" {
		if err := p.openAll(ctx); err != nil {
			expired, stop := context.WithCancel(context.Background())
			stop()
			_ = p.Close(expired)
			return nil, fmt.Errorf("trunkline: producer %q: %w", cfg.name, err)
		}
	}
	return p, nil
}

func (c *producerConfig) validate(maxBatch, maxInFlight int) error {
	switch {
	case c.name != "" && !protocol.ValidName(c.name):
		return protocol.Errorf(protocol.CodeInvalidName, "producer name %q", c.name)
	case c.linger < 0:
		return fmt.Errorf("linger %v is negative", c.linger)
	case c.batchBytes < 1:
		return fmt.Errorf("batch bytes %d, at least 1", c.batchBytes)
	case c.maxInFlight < 1 || c.maxInFlight > protocol.MaxInFlightBatches:
		return fmt.Errorf("max in flight %d, allowed are 1 to %d: partitions remember no more to "+
			"recognise repeats", c.maxInFlight, protocol.MaxInFlightBatches)
	case c.bufferBytes < 1:
		return fmt.Errorf("buffer bytes %d, at least 1", c.bufferBytes)
	case c.compression > S2:
		return fmt.Errorf("unknown compression %d", c.compression)
	case c.deliveryTimeout < 0:
		return fmt.Errorf("delivery timeout %v is negative", c.deliveryTimeout)
	}
	// Room for the batch's header and the rounding of its parts.
	c.batchBytes = min(c.batchBytes, maxBatch-batch.HeaderSize)
	c.maxInFlight = min(c.maxInFlight, maxInFlight)
	return nil
}

// randomID draws the identity of an anonymous producer.
func randomID() protocol.ProducerID {
	return protocol.ProducerID(rand.Uint64()) &^ protocol.NamedProducerBit
}

// grow adds lanes up to n partitions. A named producer opens them at once, so that its predecessor is
// fenced everywhere; an anonymous one when they are used.
func (p *Producer) grow(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lanes []*lane
	if old := p.lanes.Load(); old != nil {
		lanes = append(lanes, *old...)
	}
	if len(lanes) >= n {
		return
	}
	for i := len(lanes); i < n; i++ {
		l := newLane(p, protocol.Partition(i))
		lanes = append(lanes, l)
		if p.cfg.name != "" {
			p.start(l)
		}
	}
	p.lanes.Store(&lanes)
}

// start runs a lane if it does not run. Called with mu held.
func (p *Producer) start(l *lane) bool {
	if l.running.Load() {
		return true
	}
	if p.closed != nil {
		return false
	}
	l.running.Store(true)
	p.wg.Go(func() { l.run(p.ctx) })
	return true
}

// openAll waits until every lane was accepted by its leader.
func (p *Producer) openAll(ctx context.Context) error {
	for _, l := range *p.lanes.Load() {
		select {
		case <-l.opened:
		case <-l.ended:
			return l.reason()
		case <-ctx.Done():
			l.mu.Lock()
			defer l.mu.Unlock()
			return fmt.Errorf("open partition %d: %w", l.partition, l.late(context.Cause(ctx)))
		}
	}
	return nil
}

// reason is why a lane ended.
func (l *lane) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// watchTopic follows the number of partitions. That the topic is gone is noticed by the lanes; lanes
// that do not run yet notice it when they start.
func (p *Producer) watchTopic() {
	for {
		image, changed := p.c.cluster.Image()
		if t, ok := image.TopicByID(p.topicID); ok {
			p.grow(len(t.Partitions))
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return
		}
	}
}

// fenced ends all lanes.
func (p *Producer) fenced(err error) { p.cancel(err) }

// failure is what a lane's end means for its records.
func (p *Producer) failure(err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		return cause
	}
	return p.c.closedOr(err)
}

// Publish publishes one record and waits for its result. It retries through every failure that may
// pass, under the same place in the sequence, until ctx ends. An error is a *PublishError: with
// NotAppended the record is not in the log and never will be; with Unknown it may be, or may still get
// there, since its place is taken and the producer goes on trying (see WithDeliveryTimeout).
func (p *Producer) Publish(ctx context.Context, r Record) (Receipt, error) {
	ready := make(chan struct{})
	l, q, err := p.enqueue(ctx, r, call{ready: ready})
	if err != nil {
		return Receipt{}, err
	}
	select {
	case <-ready:
	case <-ctx.Done():
		l.cancel(&q.item, context.Cause(ctx))
		<-ready // by cancel, or by a result that was faster
	}
	return l.receipt(&q.item)
}

// Send queues a record and returns; at the buffer bound it waits for room until ctx ends. If it returns
// nil, done (which may be nil) is called once with the result, as from Publish. If it returns an error,
// a *PublishError, nothing was queued and done is not called.
//
// Results of one partition come in the order of Send, one at a time. Only when a record's own ctx ends
// does its result come at that moment, whatever those before it wait for. done is called from the
// producer's goroutines: it must not block, which includes Publish, Flush, Close, and Send at the bound.
func (p *Producer) Send(ctx context.Context, r Record, done func(Receipt, error)) error {
	_, _, err := p.enqueue(ctx, r, call{done: done})
	return err
}

// queued is a record on its way, in one piece of memory.
type queued struct {
	item outbox.Item
	call call
}

// enqueue gives a record to its lane. Only hooks and partitioners of the user's own see the record by
// address, as copies, so that it need not be on the heap otherwise.
func (p *Producer) enqueue(ctx context.Context, r Record, c call) (*lane, *queued, error) {
	if p.c.hooks.record != nil {
		c.record = new(r)
		p.c.hooks.recordSend(ctx, p.topic, c.record)
		r = *c.record
	}
	lanes := *p.lanes.Load()
	n, err := p.choose(r, len(lanes))
	if err != nil {
		return nil, nil, p.refuse(&c, n, err)
	}
	q := &queued{item: outbox.Item{Record: encodable(&r)}, call: c}
	q.item.Tag, q.item.Size = &q.call, batch.EncodedSize(&q.item.Record)
	if err := p.admit(ctx, &q.item); err != nil {
		return nil, nil, p.refuse(&c, n, err)
	}
	l := lanes[n]
	if !l.running.Load() {
		p.mu.Lock()
		ok := p.start(l)
		p.mu.Unlock()
		if !ok {
			return nil, nil, p.refuse(&c, n, ErrClosed)
		}
	}
	if c.ready == nil {
		q.item.Cancel = ctx.Done()
	}
	err = l.reserve(ctx, q.item.Size)
	if err == nil {
		err = l.add(ctx, &q.item)
	}
	if err != nil {
		return nil, nil, p.told(&c, err)
	}
	return l, q, nil
}

// refuse is the error of a record that was not queued.
func (p *Producer) refuse(c *call, n int, err error) error {
	return p.told(c, &PublishError{
		Outcome: NotAppended, Topic: p.topic, Partition: protocol.Partition(max(n, 0)), Err: err,
	})
}

// told tells the hooks of a record that was not queued.
func (p *Producer) told(c *call, err error) error {
	p.c.hooks.recordDone(p.topic, c.record, Receipt{}, err)
	return err
}

// admit refuses what can not be published.
func (p *Producer) admit(ctx context.Context, it *outbox.Item) error {
	if p.closing.Load() {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	limits := p.c.cluster.Limits()
	if limit := min(limits.MaxRecordBytes, limits.MaxBatchBytes-batch.HeaderSize); it.Size > limit {
		return protocol.Errorf(protocol.CodeRecordTooLarge,
			"record of %d bytes, the cluster accepts %d", it.Size, limit)
	}
	if n := len(it.Record.Headers); n > protocol.MaxRecordHeaders {
		return protocol.Errorf(protocol.CodeInvalidRequest, "record with %d headers, at most %d are allowed",
			n, protocol.MaxRecordHeaders)
	}
	return nil
}

// choose returns the partition of a record.
func (p *Producer) choose(r Record, n int) (int, error) {
	switch {
	case n == 0:
		return -1, errors.New("the topic has no partitions")
	case r.Partition != nil:
		if int64(*r.Partition) >= int64(n) {
			return -1, protocol.Errorf(protocol.CodePartitionUnknown,
				"partition %d of a topic with %d", *r.Partition, n)
		}
		return int(*r.Partition), nil
	case p.cfg.partitioner != nil:
		i := p.cfg.partitioner(new(r), n)
		if i < 0 || i >= n {
			return -1, protocol.Errorf(protocol.CodePartitionUnknown,
				"partitioner chose %d of %d partitions", i, n)
		}
		return i, nil
	case r.Key != nil:
		return HashPartition(r.Key, n), nil
	}
	return p.sticky.next(len(r.Value), n), nil
}

// encodable converts a record; the result shares the record's memory.
func encodable(r *Record) batch.Record {
	t := r.Timestamp
	if t.IsZero() {
		t = time.Now()
	}
	b := batch.Record{Key: r.Key, Value: r.Value, Timestamp: t.UnixMilli()}
	if len(r.Headers) > 0 {
		b.Headers = make([]batch.HeaderField, len(r.Headers))
		for i, h := range r.Headers {
			b.Headers[i] = batch.HeaderField{Key: h.Key, Value: h.Value}
		}
	}
	return b
}

// Flush sends what lingers and waits until every record given to Send or Publish before is settled: its
// result was handed out and nothing of it is in flight any more. The results themselves go to their callers.
func (p *Producer) Flush(ctx context.Context) error {
	var waits []<-chan struct{}
	for _, l := range *p.lanes.Load() {
		waits = append(waits, l.flush())
	}
	for _, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return fmt.Errorf("trunkline: flush: %w", context.Cause(ctx))
		}
	}
	return nil
}

// Close refuses new records, flushes until ctx ends, and closes the producer. Records that are left fail
// with ErrClosed: NotAppended if they were never sent, else Unknown. All results have been handed out
// when it returns. It returns the flush's error, and must not be called from a completion. Another call waits
// for the first, and ends its flush when its own ctx ends.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	first := p.closed == nil
	if first {
		p.closed = make(chan struct{})
		p.closing.Store(true)
	}
	closed := p.closed
	p.mu.Unlock()
	if !first {
		return awaitClosed(ctx, closed, p.cancel)
	}
	defer close(closed)
	err := p.Flush(ctx)
	if err == nil && errors.Is(context.Cause(p.ctx), ErrClosed) { // by another call: the lanes ended, and with them the wait
		err = fmt.Errorf("trunkline: flush: %w", ErrClosed)
	}
	p.cancel(ErrClosed)
	p.wg.Wait()
	for _, l := range *p.lanes.Load() {
		l.kill(ErrClosed) // those that never ran
	}
	p.c.unregister(p)
	return err
}

// NextSequence returns the sequence that the next record of a partition will get: how many records this
// producer, and with a name its predecessors, put there. Of an anonymous producer it counts from its
// opening.
func (p *Producer) NextSequence(partition protocol.Partition) protocol.Sequence {
	lanes := *p.lanes.Load()
	if int64(partition) >= int64(len(lanes)) {
		return 0
	}
	return lanes[partition].nextSequence()
}

// ID returns the identity that the producer's records carry. An anonymous producer may have another one
// on a partition that forgot it.
func (p *Producer) ID() (protocol.ProducerID, protocol.ProducerEpoch) { return p.id, p.epoch }

// Partitions returns how many partitions the topic has for this producer now.
func (p *Producer) Partitions() int { return len(*p.lanes.Load()) }
