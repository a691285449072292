package client

import (
	"context"
	"fmt"
	"iter"

	"github.com/trunkline/trunkline/protocol"
)

// Reader reads a topic without a subscription: nothing is acknowledged or remembered, any number of
// readers get all records. Each partition's records come in offset order, none twice, through reconnects
// and leader changes.
type Reader struct{ s *consumer }

// Reader opens a reader. With StartAt(Latest()) or AtOffsets it returns when every partition's position is fixed.
func (c *Client) Reader(ctx context.Context, topic string, opts ...ReaderOption) (*Reader, error) {
	cfg := defaultConsume()
	for _, o := range opts {
		o.applyReader(&cfg)
	}
	if err := cfg.validateCredit(); err != nil {
		return nil, fmt.Errorf("trunkline: reader: %w", err)
	}
	t, err := c.cluster.Topic(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("trunkline: reader: %w", c.closedOr(err))
	}
	if len(cfg.partitions) == 0 {
		for i := range t.Partitions {
			cfg.partitions = append(cfg.partitions, protocol.Partition(i))
		}
	}
	for _, p := range cfg.partitions {
		if int64(p) >= int64(len(t.Partitions)) {
			return nil, fmt.Errorf("trunkline: reader: %w", protocol.Errorf(protocol.CodePartitionUnknown,
				"partition %d of a topic with %d", p, len(t.Partitions)))
		}
	}
	if cfg.replica != 0 && !c.knows(cfg.replica) {
		return nil, fmt.Errorf("trunkline: reader: %w", protocol.Errorf(protocol.CodeNotFound,
			"no broker %d in the cluster", cfg.replica))
	}
	r := &Reader{newConsumer(c, topic, t.ID, "", cfg)}
	if !c.register(r) {
		return nil, ErrClosed
	}
	var feeds []*feed
	for _, p := range cfg.partitions {
		feeds = append(feeds, r.s.add(p, cfg.start))
	}
	if cfg.start.fixed() {
		if err := r.s.awaitOpened(ctx, feeds); err != nil {
			expired, stop := context.WithCancel(context.Background())
			stop()
			_ = r.Close(expired)
			return nil, fmt.Errorf("trunkline: reader: %w", err)
		}
	}
	return r, nil
}

// knows reports whether the broker is in the newest image.
func (c *Client) knows(id protocol.BrokerID) bool {
	for _, b := range c.Brokers() {
		if b.ID == id {
			return true
		}
	}
	return false
}

// Receive returns the next message. With StopAtEnd it returns io.EOF after the last one.
func (r *Reader) Receive(ctx context.Context) (*Message, error) { return r.s.receive(ctx) }

// Messages iterates over Receive. An error is yielded once and ends it; io.EOF and Close end it without.
func (r *Reader) Messages(ctx context.Context) iter.Seq2[*Message, error] { return r.s.messages(ctx) }

// Close ends the reader.
func (r *Reader) Close(ctx context.Context) error {
	defer r.s.c.unregister(r)
	return r.s.close(ctx, nil)
}
