package session

import (
	"context"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Meta is the metadata of the cluster, as this broker has it.
type Meta interface {
	// Metadata returns the newest image, without leaders and without who is alive. It is shared: the
	// caller must not change what it points to.
	Metadata() wire.Metadata
	// Topic returns one topic of the newest image.
	Topic(protocol.TopicID) (wire.TopicInfo, bool)
	// Changed returns a channel that is closed when the image has changed after the call.
	Changed() <-chan struct{}

	CreateTopic(context.Context, wire.CreateTopic) (wire.TopicInfo, error)
	DeleteTopic(context.Context, wire.DeleteTopic) (protocol.TopicID, error)
	AlterTopic(context.Context, wire.AlterTopic) (wire.TopicInfo, error)
	InitProducer(ctx context.Context, name string) (wire.InitProducerOK, error)
}

// Leaders is this broker's table of who leads which partition.
type Leaders interface {
	// Leader returns the newest leader known, 0 if none.
	Leader(protocol.TopicPartition) (protocol.BrokerID, protocol.Epoch)
	// Subscribe returns a channel of changes and a function that ends it.
	Subscribe() (changes <-chan []wire.Leader, stop func())
}

// Partitions finds the replicas that this broker hosts.
type Partitions interface {
	Partition(protocol.TopicPartition) (Partition, bool)
}

// Ack is how an append ended.
type Ack struct {
	Offset    protocol.Offset // of the first record
	Epoch     protocol.Epoch
	Duplicate bool            // it was in the log already
	Err       *protocol.Error // nil: committed and applied
}

// Partition is one replica on this broker.
type Partition interface {
	feed.Partition

	// Append queues one checked batch, which belongs to the partition until done. It blocks while
	// the partition has too much to do. An error means that nothing was queued and done is not called;
	// else done is called once, in the order of Append's calls, and must not block.
	Append(ctx context.Context, b []byte, h batch.Header, done func(Ack)) error
	// OpenProducer makes the producer known and returns the sequence it goes on with.
	OpenProducer(context.Context, protocol.ProducerID, protocol.ProducerEpoch) (protocol.Sequence, protocol.Epoch, error)
	// State describes the replica. Its Partition is filled in by the caller.
	State() wire.PartitionState
	// Cursors returns all cursors of the partition.
	Cursors() map[string]feed.Cursor
}
