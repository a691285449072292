package protocol

import (
	"fmt"
	"strconv"
)

// ALPN is the TLS application protocol of Trunkline's client connections. It carries the major
// version: a peer that speaks another major version fails in the TLS handshake.
const ALPN = "trunkline/1"

// Versions of the messages inside ALPN trunkline/1. A client sends the range it speaks in Hello and
// the broker answers with the version both will use.
const (
	MinVersion uint16 = 1
	MaxVersion uint16 = 1
)

// BrokerID names one broker of a cluster. It is chosen by the operator, is at least 1 and never
// changes during the life of the broker's data directory.
type BrokerID uint64

// BrokerState says what may be placed on a broker. 0 means that it is not known.
type BrokerState uint8

// The states of a broker. Never renumber.
const (
	BrokerActive  BrokerState = 1 // leads and gets replicas
	BrokerDrained BrokerState = 2 // leads nothing and gets nothing new: for upgrades and repairs
	BrokerLeaving BrokerState = 3 // its replicas are moved away, then it is retired for good
)

// Known reports whether s is one of the states above.
func (s BrokerState) Known() bool { return s >= BrokerActive && s <= BrokerLeaving }

// String returns "active", "drained" or "leaving".
func (s BrokerState) String() string {
	switch s {
	case BrokerActive:
		return "active"
	case BrokerDrained:
		return "drained"
	case BrokerLeaving:
		return "leaving"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// TopicID is the identity of a topic. It is assigned by the metadata shard and never reused: a topic
// deleted and created again under the same name has another TopicID.
type TopicID uint64

// Partition is the index of a partition inside its topic, counted from 0.
type Partition uint32

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     TopicID
	Partition Partition
}

// String returns "topic/partition" in numbers, for logs.
func (tp TopicPartition) String() string {
	return strconv.FormatUint(uint64(tp.Topic), 10) + "/" + strconv.FormatUint(uint64(tp.Partition), 10)
}

// Offset is the position of a record in its partition. Offsets are dense from 0.
type Offset uint64

// Epoch is a leader epoch of one partition: it grows by one each time a leader begins to serve.
// 0 means that no leader has served yet.
type Epoch uint64

// ProducerID identifies a producer. Named producers get theirs from the metadata shard and have
// NamedProducerBit set; anonymous ones draw 63 random bits.
type ProducerID uint64

// NamedProducerBit is set in the ID of every named producer.
const NamedProducerBit ProducerID = 1 << 63

// Named reports whether id belongs to a named producer.
func (id ProducerID) Named() bool { return id&NamedProducerBit != 0 }

// String returns the ID in hexadecimal.
func (id ProducerID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// ProducerEpoch counts the openings of a named producer. A higher epoch fences all lower ones.
type ProducerEpoch uint32

// Sequence numbers the records of one producer on one partition, dense from 0.
type Sequence uint64

// Activation numbers the turns of consumers on one partition of one subscription. It grows by one
// each time another consumer becomes the active one; an acknowledgement of an older one is refused.
type Activation uint64
