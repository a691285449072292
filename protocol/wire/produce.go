package wire

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

// Append appends the encoded message to dst.
func (m *ProduceOpen) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *ProduceOpen) Decode(b []byte) error {
	*m = ProduceOpen{}
	return decode("ProduceOpen", b, m.decode)
}

func (m *ProduceOpen) encode(e *mpack.Encoder) {
	e.Array(4)
	e.Uint(uint64(m.Topic))
	e.Uint(uint64(m.Partition))
	e.Uint(uint64(m.Producer))
	e.Uint(uint64(m.ProducerEpoch))
}

func (m *ProduceOpen) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Topic = protocol.TopicID(f.Uint64())
	m.Partition = protocol.Partition(f.Uint32())
	m.Producer = protocol.ProducerID(f.Uint64())
	m.ProducerEpoch = protocol.ProducerEpoch(f.Uint32())
	f.End()
}

// Append appends the encoded message to dst.
func (m *ProduceOpenOK) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *ProduceOpenOK) Decode(b []byte) error {
	*m = ProduceOpenOK{}
	return decode("ProduceOpenOK", b, m.decode)
}

func (m *ProduceOpenOK) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Epoch))
	e.Uint(uint64(m.NextSequence))
}

func (m *ProduceOpenOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Epoch = protocol.Epoch(f.Uint64())
	m.NextSequence = protocol.Sequence(f.Uint64())
	f.End()
}

// Append appends the encoded message to dst.
func (m *ProduceAck) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *ProduceAck) Decode(b []byte) error {
	*m = ProduceAck{}
	return decode("ProduceAck", b, m.decode)
}

func (m *ProduceAck) encode(e *mpack.Encoder) {
	e.Array(8)
	e.Uint(uint64(m.BaseSequence))
	e.Uint(uint64(m.Count))
	e.Uint(uint64(m.BaseOffset))
	e.Uint(uint64(m.Epoch))
	e.Bool(m.Duplicate)
	e.Uint(uint64(m.Code))
	e.String(cut(m.Message, maxAckText))
	e.Uint(uint64(m.Leader))
}

func (m *ProduceAck) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.BaseSequence = protocol.Sequence(f.Uint64())
	m.Count = f.Uint32()
	m.BaseOffset = protocol.Offset(f.Uint64())
	m.Epoch = protocol.Epoch(f.Uint64())
	m.Duplicate = f.Bool()
	m.Code = protocol.Code(f.Uint16())
	m.Message = f.String()
	m.Leader = protocol.BrokerID(f.Uint64())
	f.End()
}
