package wire

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

func (m *BrokerInfo) encode(e *mpack.Encoder) {
	e.Array(6)
	e.Uint(uint64(m.ID))
	e.String(m.Listen)
	e.String(m.Admin)
	e.Bool(m.Alive)
	e.String(m.Zone)
	e.Uint(uint64(m.State))
}

func (m *BrokerInfo) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.ID = protocol.BrokerID(f.Uint64())
	m.Listen = f.String()
	m.Admin = f.String()
	m.Alive = f.Bool()
	m.Zone = f.String()
	m.State = protocol.BrokerState(f.Uint8())
	f.End()
}

func (m *TopicConfig) encode(e *mpack.Encoder) {
	e.Array(3)
	e.Uint(m.RetentionMillis)
	e.Uint(m.RetentionBytes)
	e.Uint(m.SegmentBytes)
}

func (m *TopicConfig) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.RetentionMillis = f.Uint64()
	m.RetentionBytes = f.Uint64()
	m.SegmentBytes = f.Uint64()
	f.End()
}

func (m *PartitionInfo) encode(e *mpack.Encoder) {
	e.Array(4)
	e.Uint(uint64(m.Partition))
	e.Array(len(m.Replicas))
	for _, id := range m.Replicas {
		e.Uint(uint64(id))
	}
	e.Uint(uint64(m.Leader))
	e.Uint(uint64(m.Epoch))
}

func (m *PartitionInfo) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Partition = protocol.Partition(f.Uint32())
	m.Replicas = mpack.List(&f, protocol.MaxReplicas, readBroker)
	m.Leader = protocol.BrokerID(f.Uint64())
	m.Epoch = protocol.Epoch(f.Uint64())
	f.End()
}

func (m *TopicInfo) encode(e *mpack.Encoder) {
	e.Array(5)
	e.Uint(uint64(m.ID))
	e.String(m.Name)
	m.Config.encode(e)
	e.Array(len(m.Partitions))
	for i := range m.Partitions {
		m.Partitions[i].encode(e)
	}
	e.Uint(uint64(m.Replicas))
}

func (m *TopicInfo) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.ID = protocol.TopicID(f.Uint64())
	m.Name = f.String()
	if f.Next() {
		m.Config.decode(d)
	}
	m.Partitions = mpack.List(&f, protocol.MaxPartitions, func(d *mpack.Decoder, m *PartitionInfo) { m.decode(d) })
	m.Replicas = f.Uint32()
	f.End()
}

// Append appends the encoded message to dst.
func (m *Metadata) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Metadata) Decode(b []byte) error {
	*m = Metadata{}
	return decode("Metadata", b, m.decode)
}

func (m *Metadata) encode(e *mpack.Encoder) {
	e.Array(3)
	e.Uint(m.Version)
	e.Array(len(m.Brokers))
	for i := range m.Brokers {
		m.Brokers[i].encode(e)
	}
	e.Array(len(m.Topics))
	for i := range m.Topics {
		m.Topics[i].encode(e)
	}
}

func (m *Metadata) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Version = f.Uint64()
	m.Brokers = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *BrokerInfo) { m.decode(d) })
	m.Topics = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *TopicInfo) { m.decode(d) })
	f.End()
}

func (m *Leader) encode(e *mpack.Encoder) {
	e.Array(4)
	e.Uint(uint64(m.Topic))
	e.Uint(uint64(m.Partition))
	e.Uint(uint64(m.Leader))
	e.Uint(uint64(m.Epoch))
}

func (m *Leader) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Topic = protocol.TopicID(f.Uint64())
	m.Partition = protocol.Partition(f.Uint32())
	m.Leader = protocol.BrokerID(f.Uint64())
	m.Epoch = protocol.Epoch(f.Uint64())
	f.End()
}

// Append appends the encoded message to dst.
func (m *LeaderChange) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *LeaderChange) Decode(b []byte) error {
	*m = LeaderChange{}
	return decode("LeaderChange", b, m.decode)
}

func (m *LeaderChange) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Array(len(m.Leaders))
	for i := range m.Leaders {
		m.Leaders[i].encode(e)
	}
}

func (m *LeaderChange) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Leaders = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *Leader) { m.decode(d) })
	f.End()
}
