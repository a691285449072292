package client

import (
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/protocol"
)

// Outcome says what a failed publish means for the log.
type Outcome = protocol.Outcome

// The outcomes of a publish that did not succeed.
const (
	NotAppended = protocol.NotAppended // the record is definitely not in the log and will not get there
	Unknown     = protocol.Unknown     // the record may be in the log, or may still get there
)

// Errors for errors.Is. The second group are codes of the protocol: what comes from a broker is a
// *protocol.Error with the broker's own words.
var (
	// ErrClosed: the client, producer, subscription or reader was closed.
	ErrClosed = errors.New("trunkline: closed")
	// ErrNoBroker: no broker of the cluster can be reached.
	ErrNoBroker = cluster.ErrNoBroker
	// ErrPartitionLost: another consumer has, or may have, the partition now.
	ErrPartitionLost = errors.New("trunkline: partition lost to another consumer")
	// ErrBusy: the partition takes records more slowly than they come, and the buffer before it has been full for too long.
	// The record was not appended: send it later, or not at all. See WithMaxBlock.
	ErrBusy = errors.New("trunkline: busy")
	// ErrReplicaNotReady: a broker answers, and its replica of the partition is starting, or cannot start. See ReplicaState.
	ErrReplicaNotReady = errors.New("trunkline: the broker's replica is not ready")
	// ErrPoisoned: a named producer can not say any more what a partition holds; open it again.
	ErrPoisoned = errors.New("trunkline: producer cannot go on with this partition, open it again")

	// ErrFenced: a newer process opened the same named producer.
	ErrFenced error = protocol.ErrProducerFenced
	// ErrTopicNotFound: no topic of that name, or it was deleted (and perhaps created again).
	ErrTopicNotFound error = protocol.ErrTopicNotFound
	// ErrTopicExists: CreateTopic met a topic of that name.
	ErrTopicExists error = protocol.ErrTopicExists
	// ErrPartitionUnknown: the topic does not have that partition.
	ErrPartitionUnknown error = protocol.ErrPartitionUnknown
	// ErrRecordTooLarge: the record exceeds what the cluster accepts, or has no room in the largest batch.
	ErrRecordTooLarge error = protocol.ErrRecordTooLarge
	// ErrOffsetOutOfRange: a reader was asked to begin outside the log.
	ErrOffsetOutOfRange error = protocol.ErrOffsetOutOfRange
	// ErrUnauthorized: the token is missing or wrong.
	ErrUnauthorized error = protocol.ErrUnauthorized
	// ErrNotFound: no such subscription, broker or other named thing.
	ErrNotFound error = protocol.ErrNotFound
	// ErrInvalidName: a name of a topic, subscription, producer or consumer is not allowed.
	ErrInvalidName error = &protocol.Error{Code: protocol.CodeInvalidName}
)

// PublishError is the error of every publish that was not committed.
type PublishError struct {
	Outcome   Outcome
	Topic     string
	Partition protocol.Partition
	Err       error // why; holds the context's error when that ended the wait
}

// Error implements error.
func (e *PublishError) Error() string {
	what := "not appended"
	if e.Outcome == Unknown {
		what = "outcome unknown"
	}
	return fmt.Sprintf("trunkline: publish to %s/%d: %s: %v", e.Topic, e.Partition, what, e.Err)
}

// Unwrap returns the reason.
func (e *PublishError) Unwrap() error { return e.Err }
