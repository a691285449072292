package wire

import (
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

func (m *From) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Kind))
	e.Uint(m.Value)
}

func (m *From) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Kind = FromKind(f.Uint8())
	m.Value = f.Uint64()
	f.End()
}

// Append appends the encoded message to dst.
func (m *ConsumeOpen) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *ConsumeOpen) Decode(b []byte) error {
	*m = ConsumeOpen{}
	return decode("ConsumeOpen", b, m.decode)
}

func (m *ConsumeOpen) encode(e *mpack.Encoder) {
	e.Array(9)
	e.Uint(uint64(m.Topic))
	e.Uint(uint64(m.Partition))
	e.String(m.Subscription)
	e.String(m.Consumer)
	m.From.encode(e)
	e.Uint(uint64(m.CreditBytes))
	e.Uint(uint64(m.GraceMillis))
	e.Bool(m.AnyReplica)
	e.Bool(m.StopAtEnd)
}

func (m *ConsumeOpen) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Topic = protocol.TopicID(f.Uint64())
	m.Partition = protocol.Partition(f.Uint32())
	m.Subscription = f.String()
	m.Consumer = f.String()
	if f.Next() {
		m.From.decode(d)
	}
	m.CreditBytes = f.Uint32()
	m.GraceMillis = f.Uint32()
	m.AnyReplica = f.Bool()
	m.StopAtEnd = f.Bool()
	f.End()
}

// Append appends the encoded message to dst.
func (m *ConsumeOpenOK) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *ConsumeOpenOK) Decode(b []byte) error {
	*m = ConsumeOpenOK{}
	return decode("ConsumeOpenOK", b, m.decode)
}

func (m *ConsumeOpenOK) encode(e *mpack.Encoder) {
	e.Array(4)
	e.Uint(uint64(m.Epoch))
	e.Uint(uint64(m.Start))
	e.Uint(uint64(m.From))
	e.Uint(uint64(m.Next))
}

func (m *ConsumeOpenOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Epoch = protocol.Epoch(f.Uint64())
	m.Start = protocol.Offset(f.Uint64())
	m.From = protocol.Offset(f.Uint64())
	m.Next = protocol.Offset(f.Uint64())
	f.End()
}

// Append appends the encoded message to dst.
func (m *Activate) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Activate) Decode(b []byte) error {
	*m = Activate{}
	return decode("Activate", b, m.decode)
}

func (m *Activate) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Activation))
	e.Uint(uint64(m.From))
}

func (m *Activate) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Activation = protocol.Activation(f.Uint64())
	m.From = protocol.Offset(f.Uint64())
	f.End()
}

// Append appends the encoded message to dst.
func (m *Credit) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Credit) Decode(b []byte) error {
	*m = Credit{}
	return decode("Credit", b, m.decode)
}

func (m *Credit) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.Bytes))
}

func (m *Credit) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Bytes = f.Uint32()
	f.End()
}

// Append appends the encoded message to dst.
func (m *Ack) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Ack) Decode(b []byte) error {
	*m = Ack{}
	return decode("Ack", b, m.decode)
}

func (m *Ack) encode(e *mpack.Encoder) {
	e.Array(3)
	e.Uint(uint64(m.Activation))
	e.Uint(uint64(m.Offset))
	e.Bool(m.Commit)
}

func (m *Ack) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Activation = protocol.Activation(f.Uint64())
	m.Offset = protocol.Offset(f.Uint64())
	m.Commit = f.Bool()
	f.End()
}

// Append appends the encoded message to dst.
func (m *AckOK) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *AckOK) Decode(b []byte) error {
	*m = AckOK{}
	return decode("AckOK", b, m.decode)
}

func (m *AckOK) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Activation))
	e.Uint(uint64(m.Offset))
}

func (m *AckOK) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Activation = protocol.Activation(f.Uint64())
	m.Offset = protocol.Offset(f.Uint64())
	f.End()
}

// Append appends the encoded message to dst.
func (m *Revoke) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Revoke) Decode(b []byte) error {
	*m = Revoke{}
	return decode("Revoke", b, m.decode)
}

func (m *Revoke) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.Activation))
	e.Uint(uint64(m.GraceMillis))
}

func (m *Revoke) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Activation = protocol.Activation(f.Uint64())
	m.GraceMillis = f.Uint32()
	f.End()
}

// Append appends the encoded message to dst.
func (m *Release) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Release) Decode(b []byte) error {
	*m = Release{}
	return decode("Release", b, m.decode)
}

func (m *Release) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.Activation))
}

func (m *Release) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Activation = protocol.Activation(f.Uint64())
	f.End()
}

// Append appends the encoded message to dst.
func (m *Deactivated) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Deactivated) Decode(b []byte) error {
	*m = Deactivated{}
	return decode("Deactivated", b, m.decode)
}

func (m *Deactivated) encode(e *mpack.Encoder) {
	e.Array(1)
	e.Uint(uint64(m.Activation))
}

func (m *Deactivated) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.Activation = protocol.Activation(f.Uint64())
	f.End()
}

// Append appends the encoded message to dst.
func (m *Gap) Append(dst []byte) []byte {
	e := mpack.Acquire(dst)
	m.encode(e)
	return e.Release()
}

// Decode replaces m by the message in b.
func (m *Gap) Decode(b []byte) error {
	*m = Gap{}
	return decode("Gap", b, m.decode)
}

func (m *Gap) encode(e *mpack.Encoder) {
	e.Array(2)
	e.Uint(uint64(m.From))
	e.Uint(uint64(m.To))
}

func (m *Gap) decode(d *mpack.Decoder) {
	f := d.Fields()
	m.From = protocol.Offset(f.Uint64())
	m.To = protocol.Offset(f.Uint64())
	f.End()
}
