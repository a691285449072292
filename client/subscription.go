package client

import (
	"context"
	"fmt"
	"iter"
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
	}
	return fmt.Sprintf("rebalance(%d)", uint8(k))
}

// Rebalance is told to OnRebalance.
type Rebalance struct {
	Kind       RebalanceKind
	Partition  protocol.Partition
	Activation protocol.Activation
	From       protocol.Offset // Assigned: the next record's offset
	Grace      time.Duration   // Revoking
	Unacked    int             // records handed out and not acknowledged
}

// Gap is told to OnGap: records From to To-1 are gone by retention.
type Gap struct {
	Partition protocol.Partition
	From, To  protocol.Offset
}

type turn struct{}

// Subscription is one consumer of a durable subscription.
type Subscription struct{}

// Subscribe joins a subscription, and creates it if it is new.
func (c *Client) Subscribe(
	ctx context.Context, topic, subscription string, opts ...SubscribeOption,
) (*Subscription, error) {
	return nil, errTODO
}

// Receive returns the next message.
func (s *Subscription) Receive(ctx context.Context) (*Message, error) { return nil, errTODO }

// Messages iterates over Receive. An error is yielded once and ends it; Close ends it without one.
func (s *Subscription) Messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(func(*Message, error) bool) {}
}

// Ack acknowledges messages, in any order.
func (s *Subscription) Ack(m ...*Message) error { return errTODO }

// Commit waits until everything acknowledged before is committed.
func (s *Subscription) Commit(ctx context.Context) error { return errTODO }

// Assigned lists the partitions this consumer is active on.
func (s *Subscription) Assigned() []protocol.Partition { return nil }

// Consumer returns the consumer's name.
func (s *Subscription) Consumer() string { return "" }

// Close commits what was acknowledged until ctx ends and gives the partitions back.
func (s *Subscription) Close(ctx context.Context) error { return errTODO }
