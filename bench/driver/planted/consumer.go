package planted

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/trunkline/trunkline/bench/driver"
)

// subscription is a cursor on each partition, shared by its consumers.
type subscription struct {
	cursors []cursor

	mu      sync.Mutex
	members map[*consumer]bool // guarded by mu
}

// cursor is where a subscription is in a partition.
type cursor struct {
	mu   sync.Mutex   // held while its messages are delivered
	next atomic.Int64 // offset; written with mu held
}

// poke tells all consumers that there is something to deliver.
func (s *subscription) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.members {
		poke(c.wake)
	}
}

// consumer delivers messages of a subscription.
type consumer struct {
	topic *topic
	sub   *subscription
	opts  driver.ConsumerOptions
	wake  chan struct{}
	stop  context.CancelFunc
	done  chan struct{} // closed when it has ended
}

// Consumer joins a subscription.
func (s *system) Consumer(_ context.Context, opts driver.ConsumerOptions) (driver.Consumer, error) {
	t, err := s.topic(opts.Topic)
	if err != nil {
		return nil, err
	}
	sub := t.subscriptions[opts.Subscription]
	if sub == nil {
		return nil, fmt.Errorf("topic %s has no subscription %s", opts.Topic, opts.Subscription)
	}
	c := &consumer{topic: t, sub: sub, opts: opts, wake: make(chan struct{}, 1), done: make(chan struct{})}
	ctx, stop := context.WithCancel(t.ctx)
	c.stop = stop
	sub.mu.Lock()
	if sub.members == nil {
		sub.members = map[*consumer]bool{}
	}
	sub.members[c] = true
	sub.mu.Unlock()
	poke(c.wake)
	s.wg.Go(func() { c.run(ctx, s) })
	return c, nil
}

// run delivers whatever there is until the consumer or the topic ends.
func (c *consumer) run(ctx context.Context, s *system) {
	defer close(c.done)
	for {
		changed, more := c.round(ctx, s)
		if ctx.Err() != nil {
			return
		}
		if more {
			continue
		}
		select {
		case <-c.wake:
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// round takes a run of messages from each partition whose leader serves and that no other consumer is at. It reports whether there
// may be more, and returns a channel that is closed when a node comes or goes.
func (c *consumer) round(ctx context.Context, s *system) (changed <-chan struct{}, more bool) {
	for i, p := range c.topic.partitions {
		serves, ch := s.serves(p.id)
		if i == 0 {
			changed = ch // the oldest, so that no change of this round is missed
		}
		if serves && c.deliver(ctx, p) {
			more = true
		}
	}
	return changed, more
}

// deliver delivers a run of messages of one partition, and reports whether there were any.
func (c *consumer) deliver(ctx context.Context, p *partition) bool {
	cur := &c.sub.cursors[p.id]
	if !cur.mu.TryLock() {
		return false // who holds it comes back for what is left
	}
	defer cur.mu.Unlock()
	offset := cur.next.Load()
	entries := p.log.read(offset)
	d := driver.Delivery{Partition: p.id}
	for i := range entries {
		if ctx.Err() != nil {
			break
		}
		if !entries[i].hidden {
			d.Offset, d.Payload = offset, entries[i].payload
			c.opts.Deliver(&d)
		}
		offset++
	}
	cur.next.Store(offset)
	if offset%chunkSize == 0 {
		c.topic.trim(p)
	}
	return len(entries) > 0
}

// trim drops what every subscription has had.
func (t *topic) trim(p *partition) {
	least := int64(math.MaxInt64)
	for _, sub := range t.subscriptions {
		least = min(least, sub.cursors[p.id].next.Load())
	}
	p.log.drop(least)
}

// Close ends delivery. Another consumer of the subscription goes on behind the last message delivered.
func (c *consumer) Close(context.Context) error {
	c.sub.mu.Lock()
	delete(c.sub.members, c)
	c.sub.mu.Unlock()
	c.stop()
	<-c.done
	c.sub.poke() // for what was left
	return nil
}
