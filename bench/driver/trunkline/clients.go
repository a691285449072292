package trunkline

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/client"
)

// batchesInFlight is how many batches of a partition the SDK keeps on the way by default.
const batchesInFlight = 16

// pipelined is how many messages a producer has in flight unless it is told otherwise. More gains little: with four producers of
// 256 B, 1 000 reached half of the rate of 10 000, which reached more than four fifths of that of the SDK's own bound of 8 MiB a partition,
// at a twentieth of its latency.
const pipelined = 10_000

// producer publishes with a client of its own.
type producer struct {
	client   *client.Client
	producer *client.Producer
	window   chan struct{} // one entry a message without an answer
}

// Producer opens a producer with a client of its own.
func (s *system) Producer(ctx context.Context, opts driver.ProducerOptions) (driver.Producer, error) {
	c, err := s.connect(ctx, fmt.Sprintf("trunkbench producer %d of %s", opts.ID, opts.Topic))
	if err != nil {
		return nil, err
	}
	inFlight := cmp.Or(opts.MaxInFlight, pipelined)
	p := &producer{client: c, window: make(chan struct{}, inFlight)}
	var settings []client.ProducerOption
	if inFlight <= batchesInFlight {
		settings = append(settings, client.WithLinger(0))
	}
	if p.producer, err = c.Producer(ctx, opts.Topic, settings...); err != nil {
		return nil, errors.Join(fmt.Errorf("producer %d of %s: %w", opts.ID, opts.Topic, err), c.Close(ctx))
	}
	return p, nil
}

// Send publishes a message.
func (p *producer) Send(ctx context.Context, m *driver.Message) {
	select {
	case p.window <- struct{}{}:
	case <-ctx.Done():
		m.Done(m, failed(fmt.Errorf("%w: %w", driver.ErrNotAppended, context.Cause(ctx))))
		return
	}
	rec := client.Record{Key: m.Key, Value: m.Payload}
	if m.Partition != driver.AnyPartition {
		rec.Partition = client.OnPartition(int(m.Partition))
	}
	err := p.producer.Send(ctx, rec, func(r client.Receipt, err error) { p.answer(m, r, err) })
	if err != nil {
		p.answer(m, client.Receipt{}, err)
	}
}

// answer passes the SDK's answer on.
func (p *producer) answer(m *driver.Message, r client.Receipt, err error) {
	<-p.window
	var perr *client.PublishError
	switch {
	case err == nil:
		m.Done(m, driver.Ack{Partition: int32(r.Partition), Offset: int64(r.Offset)})
	case errors.As(err, &perr) && perr.Outcome == client.NotAppended:
		m.Done(m, failed(fmt.Errorf("%w: %w", driver.ErrNotAppended, err)))
	default:
		m.Done(m, failed(err))
	}
}

func failed(err error) driver.Ack {
	return driver.Ack{Err: err, Partition: driver.AnyPartition, Offset: driver.NoOffset}
}

// Close flushes and closes the client.
func (p *producer) Close(ctx context.Context) error {
	return errors.Join(p.producer.Close(ctx), p.client.Close(ctx))
}

// consumer is one consumer of a subscription, with a client of its own.
type consumer struct {
	client *client.Client
	sub    *client.Subscription
	cancel context.CancelFunc // ends the loop
	done   chan struct{}      // closed when the loop ended
}

// Consumer joins a subscription with a client of its own.
func (s *system) Consumer(ctx context.Context, opts driver.ConsumerOptions) (driver.Consumer, error) {
	name := fmt.Sprintf("trunkbench consumer %d of %s", opts.ID, opts.Subscription)
	c, err := s.connect(ctx, name)
	if err != nil {
		return nil, err
	}
	sub, err := c.Subscribe(ctx, opts.Topic, opts.Subscription, client.StartAt(client.Earliest()))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), c.Close(ctx))
	}
	loop, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := &consumer{client: c, sub: sub, cancel: cancel, done: make(chan struct{})}
	go func() { defer close(k.done); k.loop(loop, opts) }()
	return k, nil
}

// loop hands out and acknowledges messages until the consumer is closed.
func (k *consumer) loop(ctx context.Context, opts driver.ConsumerOptions) {
	var d driver.Delivery
	for m, err := range k.sub.Messages(ctx) {
		if err == nil {
			d = driver.Delivery{Partition: int32(m.Partition), Offset: int64(m.Offset), Payload: m.Value}
			opts.Deliver(&d)
			err = k.sub.Ack(m)
		}
		if err != nil {
			if ctx.Err() == nil && opts.Failed != nil {
				opts.Failed(fmt.Errorf("consumer %d of %s: %w", opts.ID, opts.Subscription, err))
			}
			return
		}
	}
}

// Close ends delivery, commits what was acknowledged and closes the client.
func (k *consumer) Close(ctx context.Context) error {
	k.cancel()
	<-k.done
	err := k.sub.Close(ctx)
	if errors.Is(err, client.ErrPartitionLost) {
		err = nil // another consumer has, or had, these records again
	}
	return errors.Join(err, k.client.Close(ctx))
}
