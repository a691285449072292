package wire

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

func (m *InitProducer) encode(e *mpack.Encoder) {
	e.Array(1)
	e.String(m.Name)
}

func (m *InitProducer) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Name = f.String()
	f.End()
}

func (m *CreateTopic) encode(e *mpack.Encoder) {
	e.Array(5)
	e.String(m.Name)
	e.Uint(uint64(m.Partitions))
	e.Uint(uint64(m.Replicas))
	m.Config.encode(e)
	e.Uint(m.RequestID)
}

func (m *CreateTopic) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Name = f.String()
	m.Partitions = f.Uint32()
	m.Replicas = f.Uint32()
	if f.Next() {
		m.Config.decode(d)
	}
	m.RequestID = f.Uint64()
	f.End()
}

func (m *DeleteTopic) encode(e *mpack.Encoder) {
	e.Array(2)
	e.String(m.Name)
	e.Uint(uint64(m.ID))
}

func (m *DeleteTopic) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Name = f.String()
	m.ID = protocol.TopicID(f.Uint64())
	f.End()
}

func (m *AlterTopic) encode(e *mpack.Encoder) {
	e.Array(6)
	e.String(m.Name)
	mpack.OptUint(e, m.Partitions)
	mpack.OptUint(e, m.RetentionMillis)
	mpack.OptUint(e, m.RetentionBytes)
	mpack.OptUint(e, m.SegmentBytes)
	mpack.OptUint(e, m.Replicas)
}

func (m *AlterTopic) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Name = f.String()
	m.Partitions = f.OptUint32()
	m.RetentionMillis = f.OptUint64()
	m.RetentionBytes = f.OptUint64()
	m.SegmentBytes = f.OptUint64()
	m.Replicas = f.OptUint32()
	f.End()
}

func (*MetadataRequest) encode(e *mpack.Encoder) { e.Array(0) }

func (*MetadataRequest) decode(d *mpack.Decoder) {
	f := d.Fields()
	f.End()
}

func (m *PartitionStateRequest) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.Topic))
}

func (m *PartitionStateRequest) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Topic = protocol.TopicID(f.Uint64())
	f.End()
}

func (*ClusterStatusRequest) encode(e *mpack.Encoder) { e.Array(0) }

func (*ClusterStatusRequest) decode(d *mpack.Decoder) {
	f := d.Fields()
	f.End()
}

func (m *SubscriptionsRequest) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.Topic))
}

func (m *SubscriptionsRequest) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Topic = protocol.TopicID(f.Uint64())
	f.End()
}

func (m *SetBrokerState) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Broker))
	e.Uint(uint64(m.State))
}

func (m *SetBrokerState) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Broker = protocol.BrokerID(f.Uint64())
	m.State = protocol.BrokerState(f.Uint8())
	f.End()
}

func (*ListMoves) encode(e *mpack.Encoder) { e.Array(0) }

func (*ListMoves) decode(d *mpack.Decoder) {
	f := d.Fields()
	f.End()
}
