package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trunkline/trunkline/bench/driver"
)

const (
	pullMessages  = 500     // nats.go's default
	maxAckPending = 100_000 // more than all members can hold
	// A pull dies with the leader of the consumer, and what tells is a heartbeat that does not come: twice this later, instead of
	// 30 s with nats.go's defaults, the client pulls again.
	heartbeat  = 500 * time.Millisecond
	pullExpiry = 10 * time.Second
	flushLimit = 5 * time.Second // for the last acks of Close
)

func consumerConfig(subscription string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable: subscription, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: maxAckPending,
	}
}

// consumer is one member of a subscription. Members share the durables of the streams.
type consumer struct {
	sys  *system
	opts driver.ConsumerOptions

	mu    sync.Mutex
	conns map[int]*nats.Conn // by ID of the server they began at
	pulls []jetstream.ConsumeContext
	fail  sync.Once
}

// Consumer begins to pull from every stream of a topic.
func (s *system) Consumer(ctx context.Context, opts driver.ConsumerOptions) (driver.Consumer, error) {
	leaders, err := s.Leaders(ctx, opts.Topic)
	if err != nil {
		return nil, err
	}
	c := &consumer{sys: s, opts: opts, conns: make(map[int]*nats.Conn)}
	err = eachOf(ctx, len(leaders), func(ctx context.Context, p int) error { return c.join(ctx, p, max(leaders[p], 1)) })
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	return c, nil
}

func (c *consumer) join(ctx context.Context, partition, leader int) error {
	js, err := c.via(leader)
	if err != nil {
		return err
	}
	stream := streamName(c.opts.Topic, partition)
	var durable jetstream.Consumer
	err = persist(ctx, func(ctx context.Context) error {
		durable, err = js.Consumer(ctx, stream, c.opts.Subscription)
		return err
	})
	if err != nil {
		return fmt.Errorf("consumer %s of stream %s: %w", c.opts.Subscription, stream, err)
	}
	pull, err := durable.Consume(
		func(m jetstream.Msg) { c.deliver(int32(partition), m) },
		jetstream.PullMaxMessages(pullMessages), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { c.troubled(stream, err) }))
	if err != nil {
		return fmt.Errorf("consume stream %s: %w", stream, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulls = append(c.pulls, pull)
	return nil
}

// via is the connection that began at a server.
func (c *consumer) via(server int) (jetstream.JetStream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	conn := c.conns[server]
	if conn == nil {
		var err error
		if conn, err = c.sys.dialAny(server-1, fmt.Sprintf("trunkbench consumer %s %d", c.opts.Subscription, c.opts.ID)); err != nil {
			return nil, err
		}
		c.conns[server] = conn
	}
	return jetstream.New(conn)
}

// deliver hands a message over and acknowledges it. nats.go calls it one message of a stream after the other.
func (c *consumer) deliver(partition int32, m jetstream.Msg) {
	d := driver.Delivery{Partition: partition, Offset: driver.NoOffset, Payload: m.Data()}
	if meta, err := m.Metadata(); err == nil {
		d.Offset, d.Redelivered = int64(meta.Sequence.Stream), meta.NumDelivered > 1
	}
	c.opts.Deliver(&d)
	_ = m.Ack() // an ack that is lost means that the message comes again
}

// troubled is told of everything that goes wrong with a pull. nats.go goes on by itself, except after the errors here.
func (c *consumer) troubled(stream string, err error) {
	for _, final := range []error{
		jetstream.ErrConsumerDeleted, jetstream.ErrConsumerNotFound, jetstream.ErrBadRequest, jetstream.ErrConnectionClosed,
	} {
		if errors.Is(err, final) && c.opts.Failed != nil {
			c.fail.Do(func() { c.opts.Failed(fmt.Errorf("consume stream %s: %w", stream, err)) })
		}
	}
}

// Close hands over what has been fetched, so that it need not wait 30 s to be fetched by somebody else, and leaves.
func (c *consumer) Close(ctx context.Context) error {
	c.fail.Do(func() {}) // from here on nothing is a failure
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	var closed []<-chan struct{}
	for _, pull := range c.pulls {
		closed = append(closed, pull.Closed())
		pull.Drain()
	}
	for _, done := range closed {
		select {
		case <-done:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("close consumer: a delivery has not ended: %w", ctx.Err()))
		}
	}
	flush, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	for _, conn := range c.conns {
		if err := conn.FlushWithContext(flush); err != nil {
			errs = append(errs, fmt.Errorf("close consumer: the last acks may be lost: %w", err))
		}
		conn.Close()
	}
	c.conns, c.pulls = nil, nil
	return errors.Join(errs...)
}
