package rabbitmq

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/trunkline/trunkline/bench/driver"
)

const (
	prefetch = 1000
	ackBatch = 100
	ackAfter = 50 * time.Millisecond
	// patience is how long a refusal must last before it counts: while a broker starts, queues look as if they were not there.
	patience = 10 * time.Second
)

// consumer reads every partition of a subscription, each in a goroutine of its own.
type consumer struct {
	sys   *system
	topic *topic
	opts  driver.ConsumerOptions
	pool  *pool
	stop  context.CancelFunc
	all   sync.WaitGroup
	fail  sync.Once
}

func (s *system) Consumer(ctx context.Context, opts driver.ConsumerOptions) (driver.Consumer, error) {
	t, err := s.topic(opts.Topic)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(t.Subscriptions, opts.Subscription) {
		return nil, fmt.Errorf("topic %s has no subscription %q", t.Name, opts.Subscription)
	}
	name := fmt.Sprintf("trunkbench consumer %s %d", opts.Subscription, opts.ID)
	c := &consumer{sys: s, topic: t, opts: opts, pool: newPool(name, s.brokers)}
	ctx, c.stop = context.WithCancel(context.WithoutCancel(ctx))
	for p := range t.Partitions {
		c.all.Go(func() { c.run(ctx, p) })
	}
	s.opened(c)
	return c, nil
}

// run goes from one channel to the next until the consumer ends or is refused for good.
func (c *consumer) run(ctx context.Context, p int) {
	since := time.Now() // it last worked
	for n := 0; ctx.Err() == nil; n++ {
		worked, err := c.session(ctx, p, n)
		if worked {
			n, since = -1, time.Now()
		}
		if permanent(err) && time.Since(since) > patience {
			c.fail.Do(func() { c.failed(p, err) })
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff(n)):
		}
	}
}

func (c *consumer) failed(p int, err error) {
	c.stop()
	if c.opts.Failed != nil {
		c.opts.Failed(fmt.Errorf("consume %s: %w", c.topic.queue(c.opts.Subscription, p), err))
	}
}

// session opens a channel and delivers from it until it is lost or ctx ends. It reports whether it came to consuming.
func (c *consumer) session(ctx context.Context, p, n int) (worked bool, err error) {
	ch, err := c.pool.channel(ctx, c.sys.route(ctx, c.topic, p, n))
	if err != nil {
		return false, err
	}
	defer func() { _ = ch.Close() }() // returns when the broker has taken the acknowledgements before it
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return false, fmt.Errorf("prefetch: %w", err)
	}
	deliveries, err := ch.Consume(c.topic.queue(c.opts.Subscription, p), "", false, false, false, false, nil)
	if err != nil {
		return false, fmt.Errorf("consume: %w", err)
	}
	return true, c.deliver(ctx, ch, p, deliveries)
}

func (c *consumer) deliver(ctx context.Context, ch *amqp.Channel, p int, deliveries <-chan amqp.Delivery) error {
	var last uint64 // delivered
	var owed int
	var due <-chan time.Time
	ack := func() error {
		if owed == 0 {
			return nil
		}
		owed, due = 0, nil
		return ch.Ack(last, true)
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return ack()
		case <-due:
			err = ack()
		case d, ok := <-deliveries:
			if !ok {
				return errLost
			}
			c.opts.Deliver(&driver.Delivery{Partition: int32(p), Offset: driver.NoOffset, Payload: d.Body, Redelivered: d.Redelivered})
			last, owed = d.DeliveryTag, owed+1
			if owed == 1 {
				due = time.After(ackAfter)
			}
			if owed >= ackBatch {
				err = ack()
			}
		}
		if err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
}

// permanent reports whether an error is an answer that will not change by asking again.
func permanent(err error) bool {
	return slices.Contains([]int{amqp.AccessRefused, amqp.NotFound, amqp.PreconditionFailed, amqp.NotAllowed}, code(err))
}

// Close acknowledges what was delivered and ends the connections.
func (c *consumer) Close(ctx context.Context) error {
	c.stop()
	defer context.AfterFunc(ctx, c.pool.cut)()
	c.all.Wait()
	c.pool.close(ctx)
	c.sys.closed(c)
	return nil
}
