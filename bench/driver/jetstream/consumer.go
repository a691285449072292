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
	pullMessages  = 5000     // asked for ahead on one stream
	pullTotal     = 50_000   // on all streams of a consumer, as long as each has leastPull
	leastPull     = 500      // nats.go's default
	pullBytes     = 32 << 20 // on one stream; nats.go drops messages when more than 64 MiB wait for the consumer
	maxAckPending = 50_000   // more than members hold, in the common case; JetStream delivers no more until some are acknowledged
	// What was on its way to a consumer when a leader died comes again so much later.
	ackWait = 5 * time.Second
	// A pull dies with the leader of the consumer, and what tells is a heartbeat that does not come: twice this later, instead of
	// 30 s with nats.go's defaults, the client pulls again.
	heartbeat  = 500 * time.Millisecond
	pullExpiry = 10 * time.Second
	flushLimit = 5 * time.Second // for the last acks of Close
)

// consumerConfig is what a durable is made with. A sole member acknowledges everything up to a message; one of several cannot, for the
// others have messages before it.
func consumerConfig(subscription string, members int) jetstream.ConsumerConfig {
	policy := jetstream.AckExplicitPolicy
	if members == 1 {
		policy = jetstream.AckAllPolicy
	}
	return jetstream.ConsumerConfig{
		Durable: subscription, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy: policy, AckWait: ackWait, MaxAckPending: maxAckPending,
	}
}

// consumer is one member of a subscription. Members share the durables of the streams.
type consumer struct {
	sys  *system
	opts driver.ConsumerOptions

	mu    sync.Mutex
	conns map[int]*nats.Conn // by ID of the server they began at
	feeds []*feed
	pulls []jetstream.ConsumeContext
	fail  sync.Once

	stop   context.CancelFunc // of the goroutine that sends late acks
	acking sync.WaitGroup
}

// Consumer begins to pull from every stream of a topic.
func (s *system) Consumer(ctx context.Context, opts driver.ConsumerOptions) (driver.Consumer, error) {
	leaders, err := s.Leaders(ctx, opts.Topic)
	if err != nil {
		return nil, err
	}
	c := &consumer{sys: s, opts: opts, conns: make(map[int]*nats.Conn)}
	life, stop := context.WithCancel(context.Background())
	c.stop = stop
	err = eachOf(ctx, len(leaders), makers, func(ctx context.Context, p int) error { return c.join(ctx, p, max(leaders[p], 1)) })
	if err != nil {
		return nil, errors.Join(err, c.Close(ctx))
	}
	c.acking.Go(func() { c.ackLate(life) })
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
	info := durable.CachedInfo()
	f := &feed{
		partition: int32(partition), deliver: c.opts.Deliver, all: info.Config.AckPolicy == jetstream.AckAllPolicy,
		floor: info.AckFloor.Stream, early: make(map[uint64]jetstream.Msg),
	}
	pull, err := durable.Consume(f.take,
		jetstream.PullMaxMessagesWithBytesLimit(c.ahead(), pullBytes), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(heartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { c.troubled(stream, err) }))
	if err != nil {
		return fmt.Errorf("consume stream %s: %w", stream, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulls, c.feeds = append(c.pulls, pull), append(c.feeds, f)
	return nil
}

// ahead is how many messages of one stream are asked for ahead.
func (c *consumer) ahead() int {
	return max(min(pullMessages, pullTotal/max(c.sys.partitions(c.opts.Topic), 1)), leastPull)
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
	c.stop()
	c.acking.Wait()
	flush, cancel := context.WithTimeout(ctx, flushLimit)
	defer cancel()
	for _, f := range c.feeds {
		errs = append(errs, f.end(flush))
	}
	for _, conn := range c.conns {
		if err := conn.FlushWithContext(flush); err != nil {
			errs = append(errs, fmt.Errorf("close consumer: the last acks may be lost: %w", err))
		}
		conn.Close()
	}
	c.conns, c.pulls, c.feeds = nil, nil, nil
	return errors.Join(errs...)
}
