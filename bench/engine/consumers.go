package engine

import (
	"context"
	"fmt"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/verify"
)

// readBack is the subscription of a workload without any, where its messages are checked: it is read after the measured part.
const readBack = "readback"

// consumer takes the deliveries of one driver.Consumer.
type consumer struct {
	run          *run
	topic        int
	subscription int
	shard        *shard // nil: reading back, which is not measured
	driver       driver.Consumer
}

// subscriptions are those that every topic has.
func (r *run) subscriptions() []string {
	if r.readsBack() {
		return []string{readBack}
	}
	names := make([]string, r.w.SubscriptionsPerTopic)
	for i := range names {
		names[i] = fmt.Sprintf("sub-%d", i)
	}
	return names
}

// readsBack reports whether the messages are checked although the workload itself reads none.
func (r *run) readsBack() bool { return r.w.SubscriptionsPerTopic == 0 && r.w.Verified() }

// members is how many consumers each subscription has.
func (r *run) members() int {
	if r.readsBack() {
		return 1
	}
	return r.w.ConsumerPerSubscription
}

// openConsumers joins every subscription of every topic.
func (r *run) openConsumers(ctx context.Context) error {
	for t, topic := range r.topics {
		for s, name := range r.subscriptions() {
			for id := range r.members() {
				if err := r.openConsumer(ctx, topic, name, id, &consumer{run: r, topic: t, subscription: s}); err != nil {
					return fmt.Errorf("open consumer %d of subscription %s of topic %s: %w", id, name, topic, err)
				}
			}
		}
	}
	return nil
}

func (r *run) openConsumer(ctx context.Context, topic, subscription string, id int, c *consumer) error {
	if !r.readsBack() {
		c.shard = r.meter.deliver.of(len(r.consumers))
	}
	opened, err := r.sys.Consumer(ctx, driver.ConsumerOptions{
		Topic: topic, Subscription: subscription, ID: id, Deliver: c.deliver,
		Failed: func(err error) { r.notes.fail("consumer %d of subscription %s gave up: %v", id, subscription, err) },
	})
	if err != nil {
		return err
	}
	c.driver = opened
	r.consumers = append(r.consumers, c)
	return nil
}

// deliver takes one message. It is called from any goroutine.
func (c *consumer) deliver(d *driver.Delivery) {
	r, now := c.run, c.run.now()
	h, ok := read(d.Payload)
	if !ok || h.run != r.id || int(h.producer) >= len(r.producers) || !r.payloads.intact(h, d.Payload) {
		r.foreign(d)
		return
	}
	partition := r.partition(c.topic, d.Partition)
	if c.shard != nil {
		c.shard.record(&r.meter.window, now, h.intended, h.sent)
	}
	if r.pauses != nil {
		r.pauses.delivered(c.subscription, partition, d, now)
	}
	if r.ledger != nil {
		r.ledger.Delivered(c.subscription, verify.Arrival{
			Producer: h.producer, Seq: h.seq, Partition: partition, Offset: d.Offset, Redelivered: d.Redelivered,
		})
	}
}

// foreign takes a message that this run did not send, or not so.
func (r *run) foreign(d *driver.Delivery) {
	what := fmt.Sprintf("%d bytes from partition %d, offset %d: not a message of this run, or damaged",
		len(d.Payload), d.Partition, d.Offset)
	if r.ledger != nil {
		r.ledger.Foreign(what)
		return
	}
	r.notes.fail("delivered: %s", what)
}

// backlog is how many deliveries the acknowledged messages still need, over all subscriptions, as far as can be told by counting.
func (r *run) backlog() int64 {
	due := r.meter.publish.counts().all * int64(r.w.SubscriptionsPerTopic)
	return max(due-r.meter.deliver.counts().all, 0)
}

// missing is the same by the ledger, which is not confused by messages that came twice.
func (r *run) missing() int64 {
	if r.ledger == nil {
		return r.backlog()
	}
	sum := int64(0)
	for s := range r.subscriptions() {
		sum += r.ledger.Missing(s)
	}
	return sum
}
