package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// RebalanceKind says what happened to a partition.
type RebalanceKind uint8

// The kinds of rebalance events.
const (
	// Assigned: this consumer is the active one; records follow.
	Assigned RebalanceKind = 1
	// Revoking: no more records will be handed out; those that were may be acknowledged within Grace.
	Revoking RebalanceKind = 2
	// Released: the partition was given back in order; acknowledgements from now on are dropped.
	Released RebalanceKind = 3
	// Lost: the partition was taken; acknowledgements from now on are dropped, and those that were not
	// committed yet may be lost, so that another consumer receives these records again.
	Lost RebalanceKind = 4
	// Resumed: this consumer goes on after its stream was lost, or its partition's leader. What it was handed out may
	// still be acknowledged. An Activation that is more than one above the last says that another consumer may have had the
	// partition in between, and may have been handed some of the same records.
	Resumed RebalanceKind = 5
)

// String returns the kind's name.
func (k RebalanceKind) String() string {
	switch k {
	case Assigned:
		return "assigned"
	case Revoking:
		return "revoking"
	case Released:
		return "released"
	case Lost:
		return "lost"
	case Resumed:
		return "resumed"
	}
	return fmt.Sprintf("rebalance(%d)", uint8(k))
}

// Rebalance is told to OnRebalance.
type Rebalance struct {
	Kind       RebalanceKind
	Partition  protocol.Partition
	Activation protocol.Activation
	From       protocol.Offset // Assigned, Resumed: the next record's offset
	Grace      time.Duration   // Revoking
	Unacked    int             // records handed out and not acknowledged
}

// Gap is told to OnGap: records From to To-1 are gone by retention.
type Gap struct {
	Partition protocol.Partition
	From, To  protocol.Offset
}

// Subscription is one consumer of a durable subscription. All its methods may be called from any
// goroutine; messages of one partition are in order for one that receives alone.
//
// Each partition is handed out to one consumer of the subscription at a time, in offset order, beginning
// behind the last committed acknowledgement. What a consumer was given and did not get committed before
// it lost the partition, another one is given again (at least once). A consumer that merely loses a
// connection, or whose broker dies, goes on where it was: it is not given a record twice.
type Subscription struct{ s *consumer }

// Subscribe joins a subscription, and creates it if it is new. With StartAt(Latest()) or AtOffsets it
// returns when every partition's position is fixed: what is published after that is delivered. Otherwise it
// returns at once and joins in the background. Partitions that are added to the topic later begin with their
// first record.
func (c *Client) Subscribe(
	ctx context.Context, topic, subscription string, opts ...SubscribeOption,
) (*Subscription, error) {
	cfg := defaultConsume()
	for _, o := range opts {
		o.applySubscribe(&cfg)
	}
	if cfg.consumer == "" {
		cfg.consumer = "c-" + strings.ToLower(rand.Text())
	}
	if err := cfg.validate(subscription); err != nil {
		return nil, fmt.Errorf("trunkline: subscribe: %w", err)
	}
	t, err := c.cluster.Topic(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("trunkline: subscribe: %w", c.closedOr(err))
	}
	s := &Subscription{newConsumer(c, topic, t.ID, subscription, cfg)}
	if !c.register(s) {
		return nil, ErrClosed
	}
	var feeds []*feed
	for i := range t.Partitions {
		feeds = append(feeds, s.s.add(protocol.Partition(i), cfg.start))
	}
	s.s.wg.Go(s.watchTopic)
	if cfg.start.fixed() {
		if err := s.s.awaitOpened(ctx, feeds); err != nil {
			expired, stop := context.WithCancel(context.Background())
			stop()
			_ = s.Close(expired)
			return nil, fmt.Errorf("trunkline: subscribe: %w", err)
		}
	}
	return s, nil
}

func defaultConsume() consumeConfig {
	return consumeConfig{start: Earliest(), credit: 1 << 20, grace: time.Second, maxUnacked: 10_000}
}

func (c *consumeConfig) validate(subscription string) error {
	switch {
	case !protocol.ValidName(subscription):
		return invalidName("subscription", subscription)
	case !protocol.ValidName(c.consumer):
		return invalidName("consumer", c.consumer)
	case c.grace < 0:
		return fmt.Errorf("grace %v is negative", c.grace)
	case c.maxUnacked < 1:
		return fmt.Errorf("max unacked %d, at least 1", c.maxUnacked)
	}
	return c.validateCredit()
}

func (c *consumeConfig) validateCredit() error {
	if c.credit < 1 || c.credit > protocol.MaxDeliverBytes {
		return fmt.Errorf("credit %d bytes, allowed are 1 to %d", c.credit, protocol.MaxDeliverBytes)
	}
	return nil
}

// watchTopic joins partitions that are added.
func (s *Subscription) watchTopic() {
	for {
		image, changed := s.s.c.cluster.Image()
		if t, ok := image.TopicByID(s.s.topicID); ok {
			for i := range t.Partitions {
				s.s.add(protocol.Partition(i), Earliest())
			}
		}
		select {
		case <-changed:
		case <-s.s.ctx.Done():
			return
		}
	}
}

// Receive returns the next message, taking partitions in turn batch by batch. It waits until there is
// one, ctx ends, the subscription is closed (ErrClosed) or cannot go on (for example ErrTopicNotFound).
// The message's bytes may be kept; they share memory with their batch.
func (s *Subscription) Receive(ctx context.Context) (*Message, error) { return s.s.receive(ctx) }

// Messages iterates over Receive. An error is yielded once and ends it; Close ends it without one.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return s.s.messages(ctx)
}

// Ack acknowledges messages, in any order: what gets committed, soon after, is the end of the contiguous
// acknowledged prefix of each partition. Messages of a partition that was lost or released since they
// were handed out are ignored, OnRebalance has told so. Ack does not wait; see Commit.
func (s *Subscription) Ack(messages ...*Message) error {
	s.s.mu.Lock()
	defer s.s.mu.Unlock()
	if s.s.err != nil {
		return s.s.err
	}
	for _, m := range messages {
		t := m.turn
		if t == nil || t.f.s != s.s {
			return errors.New("trunkline: ack: the message is not from this subscription")
		}
		if t.ended {
			continue
		}
		full := t.win.Len() >= s.s.cfg.maxUnacked
		grew := t.win.Ack(m.Offset)
		if full && grew {
			s.s.offer(t.f)
		}
		t.f.acked(grew)
	}
	return nil
}

// acked wakes the writer when an acknowledgement is its business. Called with mu held.
func (f *feed) acked(grew bool) {
	switch {
	case !grew || !f.live:
	case f.ackSince.IsZero():
		f.ackSince = time.Now()
		f.poke()
	case f.turn.win.Prefix() >= f.ackSent+ackRecords, f.revoking:
		f.poke()
	}
}

// Assigned lists the partitions that this consumer is the active one of, and that are connected.
func (s *Subscription) Assigned() []protocol.Partition { return s.s.assigned() }

// Consumer returns the consumer's name.
func (s *Subscription) Consumer() string { return s.s.cfg.consumer }

// Close stops handing out, commits what was acknowledged until ctx ends, gives the partitions back so
// that others get them at once, and leaves no goroutine. It returns the commit's error. Another call waits for
// the first, and ends its commit when its own ctx ends.
func (s *Subscription) Close(ctx context.Context) error {
	defer s.s.c.unregister(s)
	return s.s.close(ctx, s.Commit)
}
