package meta

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// A command is a msgpack array [version, kind, fields...]. Kinds are never renumbered. A change that older brokers
// would apply differently needs a new version or kind: they stop on it instead of diverging.
const commandVersion = 1

type commandKind uint8

const (
	kindCreateTopic    commandKind = 1 // request, name, partitions, replicas, retention ms, retention bytes, segment bytes
	kindDeleteTopic    commandKind = 2 // request, name, topic id
	kindAlterTopic     commandKind = 3 // request, name, partitions?, retention ms?, retention bytes?, segment bytes?
	kindInitProducer   commandKind = 4 // nonce, name
	kindRegisterBroker commandKind = 5 // id, listen, admin, raft address, directory id
)

// errNewerCommand stops the replica: skipping a command that other brokers understand would make the states differ.
var errNewerCommand = errors.New("the metadata log holds a command of a newer version: upgrade this broker")

// command is one decoded command; exactly one field is set.
type command struct {
	create   *wire.CreateTopic
	remove   *removeTopic
	alter    *alterTopic
	producer *initProducer
	broker   *Broker
}

type removeTopic struct {
	request uint64
	wire.DeleteTopic
}

type alterTopic struct {
	request uint64
	wire.AlterTopic
}

type initProducer struct {
	nonce uint64
	name  string
}

func (c *command) encode() []byte {
	e := newEncoder()
	switch {
	case c.create != nil:
		r := c.create
		e.head(kindCreateTopic, 7)
		e.uint(r.RequestID)
		e.str(r.Name)
		e.uint(uint64(r.Partitions))
		e.uint(uint64(r.Replicas))
		e.config(r.Config)
	case c.remove != nil:
		e.head(kindDeleteTopic, 3)
		e.uint(c.remove.request)
		e.str(c.remove.Name)
		e.uint(uint64(c.remove.ID))
	case c.alter != nil:
		r := c.alter
		e.head(kindAlterTopic, 6)
		e.uint(r.request)
		e.str(r.Name)
		e.optional(widen(r.Partitions))
		e.optional(r.RetentionMillis)
		e.optional(r.RetentionBytes)
		e.optional(r.SegmentBytes)
	case c.producer != nil:
		e.head(kindInitProducer, 2)
		e.uint(c.producer.nonce)
		e.str(c.producer.name)
	case c.broker != nil:
		e.head(kindRegisterBroker, brokerFields)
		e.broker(c.broker)
	}
	return e.buf.Bytes()
}

func (e *encoder) head(k commandKind, fields int) {
	e.array(2 + fields)
	e.uint(commandVersion)
	e.uint(uint64(k))
}

func (e *encoder) config(c wire.TopicConfig) {
	e.uint(c.RetentionMillis)
	e.uint(c.RetentionBytes)
	e.uint(c.SegmentBytes)
}

const brokerFields = 5

func (e *encoder) broker(b *Broker) {
	e.uint(uint64(b.ID))
	e.str(b.Listen)
	e.str(b.Admin)
	e.str(b.RaftAddr)
	e.bytes(b.DirID[:])
}

func widen(v *uint32) *uint64 {
	if v == nil {
		return nil
	}
	w := uint64(*v)
	return &w
}

// decodeCommand reads one command. errNewerCommand means that this version must not go on; any other error means that
// the bytes are not a command of this version.
func decodeCommand(b []byte) (*command, error) {
	if len(b) > maxCommandBytes {
		return nil, fmt.Errorf("decode metadata command: %d bytes, at most %d are allowed", len(b), maxCommandBytes)
	}
	d := newDecoder(bytes.NewReader(b))
	extra := d.fields(2)
	version, kind := d.uint(), d.uint()
	if d.err != nil {
		return nil, fmt.Errorf("decode metadata command: %w", d.err)
	}
	if version > commandVersion || kind > uint64(kindRegisterBroker) {
		return nil, fmt.Errorf("decode metadata command version %d kind %d: %w", version, kind, errNewerCommand)
	}
	c := &command{}
	want := c.decodeFields(d, commandKind(kind))
	if d.err == nil && extra < want {
		d.fail("%d fields where %d are needed", extra, want)
	}
	d.rest(extra - want)
	if d.err != nil {
		return nil, fmt.Errorf("decode metadata command kind %d: %w", kind, d.err)
	}
	return c, nil
}

// decodeFields reads the fields of one kind and returns how many it read.
func (c *command) decodeFields(d *decoder, kind commandKind) int {
	const name = protocol.MaxNameBytes
	switch kind {
	case kindCreateTopic:
		c.create = &wire.CreateTopic{
			RequestID: d.uint(), Name: d.str(name),
			Partitions: uint32(d.uintMax(protocol.MaxPartitions)),
			Replicas:   uint32(d.uintMax(protocol.MaxReplicas)),
			Config:     d.config(),
		}
		return 7
	case kindDeleteTopic:
		c.remove = &removeTopic{request: d.uint()}
		c.remove.Name, c.remove.ID = d.str(name), protocol.TopicID(d.uint())
		return 3
	case kindAlterTopic:
		c.alter = &alterTopic{request: d.uint()}
		c.alter.Name = d.str(name)
		c.alter.Partitions = d.narrow()
		c.alter.RetentionMillis, c.alter.RetentionBytes = d.optional(), d.optional()
		c.alter.SegmentBytes = d.optional()
		return 6
	case kindInitProducer:
		c.producer = &initProducer{nonce: d.uint(), name: d.str(name)}
		return 2
	case kindRegisterBroker:
		b := d.broker()
		c.broker = &b
		return brokerFields
	}
	d.fail("kind is not known")
	return 0
}

func (d *decoder) config() wire.TopicConfig {
	return wire.TopicConfig{RetentionMillis: d.uint(), RetentionBytes: d.uint(), SegmentBytes: d.uint()}
}

func (d *decoder) narrow() *uint32 {
	v := d.optional()
	if v == nil {
		return nil
	}
	if *v > protocol.MaxPartitions {
		d.fail("%d partitions", *v)
		return nil
	}
	n := uint32(*v)
	return &n
}

func (d *decoder) broker() Broker {
	b := Broker{ID: protocol.BrokerID(d.uint())}
	b.Listen, b.Admin, b.RaftAddr = d.str(MaxAddressBytes), d.str(MaxAddressBytes), d.str(MaxAddressBytes)
	dir := d.blob(len(b.DirID))
	if d.err == nil && len(dir) != len(b.DirID) {
		d.fail("directory id of %d bytes", len(dir))
	}
	copy(b.DirID[:], dir)
	return b
}

// result is the answer to a command, encoded as a msgpack array [code, message, version, a, b].
type result struct {
	code    protocol.Code // 0: done
	message string
	version uint64 // image version at which the effect is visible
	a, b    uint64 // topic ID; or producer ID and epoch
}

func refuse(err *protocol.Error) result {
	m := err.Message
	if len(m) > maxMessageBytes {
		m = m[:maxMessageBytes]
	}
	return result{code: err.Code, message: m}
}

func (r *result) err() error {
	if r.code == 0 {
		return nil
	}
	return &protocol.Error{Code: r.code, Message: r.message}
}

const resultFields = 5

func (r *result) encode() []byte {
	e := newEncoder()
	e.array(resultFields)
	e.uint(uint64(r.code))
	e.str(r.message)
	e.uint(r.version)
	e.uint(r.a)
	e.uint(r.b)
	return e.buf.Bytes()
}

func decodeResult(b []byte) (result, error) {
	d := newDecoder(bytes.NewReader(b))
	extra := d.fields(resultFields)
	r := result{code: protocol.Code(d.uintMax(1<<16 - 1)), message: d.str(maxMessageBytes)}
	r.version, r.a, r.b = d.uint(), d.uint(), d.uint()
	d.rest(extra)
	if d.err != nil {
		return result{}, fmt.Errorf("decode metadata result: %w", d.err)
	}
	return r, nil
}
