package wire

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

func (m *InitProducerOK) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Producer))
	e.Uint(uint64(m.Epoch))
}

func (m *InitProducerOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Producer = protocol.ProducerID(f.Uint64())
	m.Epoch = protocol.ProducerEpoch(f.Uint32())
	f.End()
}

func (m *DeleteTopicOK) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.ID))
}

func (m *DeleteTopicOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.ID = protocol.TopicID(f.Uint64())
	f.End()
}

func (m *PartitionState) encode(e *mpack.Encoder) {
	e.Array(8)
	e.Uint(uint64(m.Partition))
	e.Uint(uint64(m.Leader))
	e.Uint(uint64(m.Epoch))
	e.Bool(m.Leading)
	e.Uint(uint64(m.Start))
	e.Uint(uint64(m.Next))
	e.Uint(m.Bytes)
	e.Uint(m.Applied)
}

func (m *PartitionState) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Partition = protocol.Partition(f.Uint32())
	m.Leader = protocol.BrokerID(f.Uint64())
	m.Epoch = protocol.Epoch(f.Uint64())
	m.Leading = f.Bool()
	m.Start = protocol.Offset(f.Uint64())
	m.Next = protocol.Offset(f.Uint64())
	m.Bytes = f.Uint64()
	m.Applied = f.Uint64()
	f.End()
}

func (m *PartitionStates) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Broker))
	e.Array(len(m.Partitions))
	for i := range m.Partitions {
		m.Partitions[i].encode(e)
	}
}

func (m *PartitionStates) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Broker = protocol.BrokerID(f.Uint64())
	m.Partitions = mpack.List(&f, protocol.MaxPartitions, func(d *mpack.Decoder, m *PartitionState) { m.decode(d) })
	f.End()
}

func (m *PeerView) encode(e *mpack.Encoder) {
	e.Array(6)
	e.Uint(uint64(m.Broker))
	e.String(m.State)
	e.Uint(m.SinceMillis)
	e.Uint(m.SilentMillis)
	e.Bool(m.StalledDisk)
	e.Bool(m.Starved)
}

func (m *PeerView) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Broker = protocol.BrokerID(f.Uint64())
	m.State = f.String()
	m.SinceMillis = f.Uint64()
	m.SilentMillis = f.Uint64()
	m.StalledDisk = f.Bool()
	m.Starved = f.Bool()
	f.End()
}

func (m *SubscriptionState) encode(e *mpack.Encoder) {
	e.Array(6)
	e.Uint(uint64(m.Partition))
	e.String(m.Subscription)
	e.Uint(uint64(m.Cursor))
	e.Uint(uint64(m.Activation))
	e.String(m.Active)
	e.Array(len(m.Consumers))
	for _, s := range m.Consumers {
		e.String(s)
	}
}

func (m *SubscriptionState) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Partition = protocol.Partition(f.Uint32())
	m.Subscription = f.String()
	m.Cursor = protocol.Offset(f.Uint64())
	m.Activation = protocol.Activation(f.Uint64())
	m.Active = f.String()
	m.Consumers = mpack.List(&f, unlimited, readString)
	f.End()
}

func (m *Subscriptions) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Broker))
	e.Array(len(m.Subscriptions))
	for i := range m.Subscriptions {
		m.Subscriptions[i].encode(e)
	}
}

func (m *Subscriptions) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Broker = protocol.BrokerID(f.Uint64())
	m.Subscriptions = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *SubscriptionState) { m.decode(d) })
	f.End()
}

func (*SetBrokerStateOK) encode(e *mpack.Encoder) { e.Array(0) }

func (*SetBrokerStateOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	f.End()
}

func (m *Move) encode(e *mpack.Encoder) {
	e.Array(7)
	e.Uint(uint64(m.Topic))
	e.Uint(uint64(m.Partition))
	e.Uint(m.Shard)
	e.Uint(m.ID)
	e.Uint(uint64(m.Add))
	e.Uint(uint64(m.Remove))
	e.Bool(m.Undo)
}

func (m *Move) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Topic = protocol.TopicID(f.Uint64())
	m.Partition = protocol.Partition(f.Uint32())
	m.Shard = f.Uint64()
	m.ID = f.Uint64()
	m.Add = protocol.BrokerID(f.Uint64())
	m.Remove = protocol.BrokerID(f.Uint64())
	m.Undo = f.Bool()
	f.End()
}

func (m *Moves) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Array(len(m.Moves))
	for i := range m.Moves {
		m.Moves[i].encode(e)
	}
}

func (m *Moves) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Moves = mpack.List(&f, unlimited, func(d *mpack.Decoder, m *Move) { m.decode(d) })
	f.End()
}
