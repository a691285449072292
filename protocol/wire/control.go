package wire

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

// Append appends the encoded message to dst.
func (m *Hello) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Hello) Decode(b []byte) error {
	*m = Hello{}
	return decode("Hello", b, m.decode)
}

func (m *Hello) encode(e *mpack.Encoder) {
	e.Array(6)
	e.String(m.ClientName)
	e.String(m.ClientVersion)
	e.Uint(uint64(m.MinVersion))
	e.Uint(uint64(m.MaxVersion))
	e.Array(len(m.Features))
	for _, s := range m.Features {
		e.String(s)
	}
	e.Bytes(m.Token)
}

func (m *Hello) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.ClientName = f.String()
	m.ClientVersion = f.String()
	m.MinVersion = f.Uint16()
	m.MaxVersion = f.Uint16()
	m.Features = mpack.List(&f, maxFeatures, readString)
	m.Token = f.Bytes()
	f.End()
}

// Append appends the encoded message to dst.
func (m *HelloOK) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *HelloOK) Decode(b []byte) error {
	*m = HelloOK{}
	return decode("HelloOK", b, m.decode)
}

func (m *HelloOK) encode(e *mpack.Encoder) {
	e.Array(10)
	e.Uint(uint64(m.Version))
	e.String(m.Cluster)
	e.Uint(uint64(m.Broker))
	e.String(m.BrokerVersion)
	e.Array(len(m.Features))
	for _, s := range m.Features {
		e.String(s)
	}
	e.Uint(uint64(m.MaxRecordBytes))
	e.Uint(uint64(m.MaxBatchBytes))
	e.Uint(uint64(m.MaxInFlightBatches))
	e.Uint(uint64(m.HeartbeatMillis))
	e.Uint(uint64(m.HeartbeatLostMillis))
}

func (m *HelloOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Version = f.Uint16()
	m.Cluster = f.String()
	m.Broker = protocol.BrokerID(f.Uint64())
	m.BrokerVersion = f.String()
	m.Features = mpack.List(&f, maxFeatures, readString)
	m.MaxRecordBytes = f.Uint32()
	m.MaxBatchBytes = f.Uint32()
	m.MaxInFlightBatches = f.Uint32()
	m.HeartbeatMillis = f.Uint32()
	m.HeartbeatLostMillis = f.Uint32()
	f.End()
}

// Append appends the encoded message to dst.
func (m *Ping) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Ping) Decode(b []byte) error {
	*m = Ping{}
	return decode("Ping", b, m.decode)
}

func (m *Ping) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Bytes(m.Payload)
}

func (m *Ping) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Payload = f.Bytes()
	f.End()
}

// Append appends the encoded message to dst.
func (m *MetadataSubscribe) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *MetadataSubscribe) Decode(b []byte) error {
	*m = MetadataSubscribe{}
	return decode("MetadataSubscribe", b, m.decode)
}

func (*MetadataSubscribe) encode(e *mpack.Encoder) { e.Array(0) }

func (*MetadataSubscribe) decode(d *mpack.Decoder) {
	f := d.Fields()
	f.End()
}

// Append appends the encoded message to dst.
func (m *GoAway) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *GoAway) Decode(b []byte) error {
	*m = GoAway{}
	return decode("GoAway", b, m.decode)
}

func (m *GoAway) encode(e *mpack.Encoder) {
	e.Array(2)
	e.String(cut(m.Reason, maxErrorText))
	e.Uint(uint64(m.GraceMillis))
}

func (m *GoAway) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Reason = f.String()
	m.GraceMillis = f.Uint32()
	f.End()
}

// Append appends the encoded message to dst.
func (m *Error) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Error) Decode(b []byte) error {
	*m = Error{}
	return decode("Error", b, m.decode)
}

func (m *Error) encode(e *mpack.Encoder) {
	e.Array(4)
	e.Uint(uint64(m.Code))
	e.String(cut(m.Message, maxErrorText))
	e.Uint(uint64(m.Leader))
	e.Uint(uint64(m.Epoch))
}

func (m *Error) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Code = protocol.Code(f.Uint16())
	m.Message = f.String()
	m.Leader = protocol.BrokerID(f.Uint64())
	m.Epoch = protocol.Epoch(f.Uint64())
	f.End()
}
