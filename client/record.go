package client

import (
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// Header is one named value beside a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is what a producer publishes and a consumer receives.
//
// The producer keeps references to Key, Value and Headers until the record has its result: do not
// change them before.
type Record struct {
	Key       []byte
	Value     []byte
	Headers   []Header
	Timestamp time.Time // zero: the time of the call; kept in milliseconds

	// Partition forces the partition of a published record, see OnPartition. It is nil in a message.
	Partition *protocol.Partition
}

// OnPartition is for Record.Partition.
func OnPartition(p int) *protocol.Partition {
	return new(protocol.Partition(p))
}

// Receipt says where a committed record is.
type Receipt struct {
	Partition protocol.Partition
	Offset    protocol.Offset
	Epoch     protocol.Epoch // of the leader that acknowledged it
	Duplicate bool           // an earlier attempt was in the log already; Offset is where
}

// Message is a delivered record.
type Message struct {
	Record
	Topic         string
	Partition     protocol.Partition
	Offset        protocol.Offset
	Epoch         protocol.Epoch // of the leader that appended it
	AppendTime    time.Time      // by the leader's clock, monotonic within the partition
	ProducerID    protocol.ProducerID
	ProducerEpoch protocol.ProducerEpoch
	Sequence      protocol.Sequence // counts the producer's records on this partition from 0

	turn *turn // the activation it was delivered under; nil from a Reader
}

// Activation returns the one that Rebalance told when the consumer was assigned the message's partition: a message of another one was
// handed out before the partition went away and came back. It is 0 from a Reader.
func (m *Message) Activation() protocol.Activation {
	if m.turn == nil {
		return 0
	}
	return m.turn.assigned
}

// Compression is how a producer compresses its batches. Brokers keep batches as they are.
type Compression uint8

// The compressions.
const (
	NoCompression Compression = 0
	Zstd          Compression = 1
	S2            Compression = 2
)
