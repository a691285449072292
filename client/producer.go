package client

import (
	"context"

	"github.com/trunkline/trunkline/protocol"
)

// Producer publishes to one topic.
type Producer struct{}

// Producer opens a producer. A named one is opened on every partition before the call returns.
func (c *Client) Producer(ctx context.Context, topic string, opts ...ProducerOption) (*Producer, error) {
	return nil, errTODO
}

// Publish publishes one record and waits for its result. An error is a *PublishError.
func (p *Producer) Publish(ctx context.Context, r Record) (Receipt, error) {
	return Receipt{}, errTODO
}

// Send queues a record and returns. done is called once with its result.
func (p *Producer) Send(ctx context.Context, r Record, done func(Receipt, error)) error {
	return errTODO
}

// Flush sends what lingers and waits until every record given to Send or Publish before has its result.
func (p *Producer) Flush(ctx context.Context) error { return errTODO }

// Close flushes until ctx ends, then fails what is left and closes the producer.
func (p *Producer) Close(ctx context.Context) error { return errTODO }

// NextSequence returns the sequence the next record of a partition will get.
func (p *Producer) NextSequence(partition protocol.Partition) protocol.Sequence { return 0 }

// ID returns the identity that the producer's records carry.
func (p *Producer) ID() (protocol.ProducerID, protocol.ProducerEpoch) { return 0, 0 }
