package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/trunkline/trunkline/bench/driver"
)

const (
	fetchWait   = 500 * time.Millisecond
	commitEvery = 500 * time.Millisecond
	leaveWithin = 5 * time.Second
)

// consumer is one member of a group. One goroutine polls and delivers.
type consumer struct {
	opts   driver.ConsumerOptions
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{} // closed when the goroutine has ended
}

// Consumer joins the group of a subscription, which starts at the first message.
func (s *system) Consumer(ctx context.Context, opts driver.ConsumerOptions) (driver.Consumer, error) {
	name := fmt.Sprintf("consumer-%s-%d", opts.Subscription, opts.ID)
	client, err := kgo.NewClient(append(s.base(name),
		kgo.ConsumerGroup(group(opts.Topic, opts.Subscription)),
		kgo.ConsumeTopics(opts.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(commitEvery),
		kgo.BlockRebalanceOnPoll(), // a partition does not move to another member while its messages are being delivered
		kgo.FetchMaxWait(fetchWait),
		kgo.FetchMaxPartitionBytes(10<<20),
	)...)
	if err != nil {
		return nil, fmt.Errorf("kafka %s of %s: %w", name, opts.Topic, err)
	}
	if err := client.Ping(ctx); err != nil {
		client.CloseAllowingRebalance()
		return nil, fmt.Errorf("kafka %s of %s: %w", name, opts.Topic, err)
	}
	run, stop := context.WithCancel(context.Background())
	c := &consumer{opts: opts, client: client, stop: stop, done: make(chan struct{})}
	go c.poll(run)
	return c, nil
}

// poll delivers until ctx ends or the consumer failed.
func (c *consumer) poll(ctx context.Context) {
	defer close(c.done)
	var d driver.Delivery
	for {
		fetches := c.client.PollFetches(ctx)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				d = driver.Delivery{Partition: r.Partition, Offset: r.Offset, Payload: r.Value}
				c.opts.Deliver(&d)
			}
			if n := len(p.Records); n > 0 {
				c.client.MarkCommitRecords(p.Records[n-1])
			}
		})
		c.client.AllowRebalance()
		if ctx.Err() != nil {
			return
		}
		if err := fatal(fetches); err != nil {
			c.opts.Failed(fmt.Errorf("consume %s: %w", c.opts.Topic, err))
			return
		}
	}
}

// fatal returns the first error that the client does not mend by itself: connections and groups it does.
func fatal(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var refused *kerr.Error
		if errors.As(e.Err, &refused) && !refused.Retriable {
			return fmt.Errorf("partition %d: %w", e.Partition, e.Err)
		}
	}
	return nil
}

// Close commits what was delivered and leaves the group.
func (c *consumer) Close(ctx context.Context) error {
	c.stop()
	<-c.done
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	err := errors.Join(c.client.CommitMarkedOffsets(ctx), c.client.LeaveGroupContext(ctx))
	c.client.CloseAllowingRebalance()
	if err != nil {
		return fmt.Errorf("leave subscription %s of %s: %w", c.opts.Subscription, c.opts.Topic, err)
	}
	return nil
}
