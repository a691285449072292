package session

import (
	"context"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Meta is the metadata of the cluster, as this broker has it.
type Meta interface {
	// Metadata returns the newest image, without leaders and with everybody alive. It is shared: the
	// caller must not change what it points to.
	Metadata() wire.Metadata
	// Topic returns one topic of the newest image.
	Topic(protocol.TopicID) (wire.TopicInfo, bool)
	// Deleted reports whether the topic existed and is gone for good.
	Deleted(protocol.TopicID) bool
	// Changed returns a channel that is closed when the image has changed after the call.
	Changed() <-chan struct{}

	CreateTopic(context.Context, wire.CreateTopic) (wire.TopicInfo, error)
	DeleteTopic(context.Context, wire.DeleteTopic) (protocol.TopicID, error)
	AlterTopic(context.Context, wire.AlterTopic) (wire.TopicInfo, error)
	InitProducer(ctx context.Context, name string) (wire.InitProducerOK, error)
	SetBrokerState(context.Context, wire.SetBrokerState) error
	// Moves returns the moves of replicas that are under way in the newest image.
	Moves() []wire.Move
}

// Leaders is this broker's table of who leads which partition.
type Leaders interface {
	// Leader returns the newest leader known, 0 if none.
	Leader(protocol.TopicPartition) (protocol.BrokerID, protocol.Epoch)
	// Follow returns a place in the stream of changes, before everything known now.
	Follow() LeaderChanges
}

// LeaderChanges is one follower's place in the stream of leader changes. One goroutine uses it; nothing must
// be closed.
type LeaderChanges interface {
	// Ready returns a channel that is closed as soon as Take has something to return.
	Ready() <-chan struct{}
	// Take returns what changed since the last Take, each partition once.
	Take() []wire.Leader
}

// Partitions finds the replicas that this broker hosts.
type Partitions interface {
	Partition(protocol.TopicPartition) (Partition, bool)
}

// Ack is how an append ended.
type Ack = partition.Ack

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
