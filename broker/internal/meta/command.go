package meta

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// A command is a msgpack array [version, kind, fields...]. Kinds are never renumbered. A change that older brokers
// would apply differently needs a new version or kind, which they stop on instead of diverging, so it is written only from a level
// on. Fields at the end that are numbers, text or flags may be added at any time if applying the command does not depend on them
// before some level: older brokers skip them.
const commandVersion = 2

type commandKind uint8

const (
	kindCreateTopic    commandKind = 1  // request, name, partitions, replicas, retention ms, retention bytes, segment bytes
	kindDeleteTopic    commandKind = 2  // request, name, topic id
	kindAlterTopic     commandKind = 3  // request, name, partitions?, retention ms?, retention bytes?, segment bytes?, replicas?
	kindInitProducer   commandKind = 4  // nonce, name
	kindRegisterBroker commandKind = 5  // id, listen, admin, raft address, directory id, zone, founder, lowest, highest level
	kindSetBrokerState commandKind = 6  // request, broker, from (0: any), to
	kindRetireBroker   commandKind = 7  // broker
	kindBeginMove      commandKind = 8  // request, topic, partition, add, remove, [brokers]
	kindFinishMove     commandKind = 9  // move
	kindUndoMove       commandKind = 10 // move
	kindUndoneMove     commandKind = 11 // move
	kindPreferLeader   commandKind = 12 // request, topic, partition, broker
	kindRaiseLevel     commandKind = 13 // level, [broker, lowest, highest, ...]; only if all brokers are known to understand the level

	lastKind = kindRaiseLevel
)

// Both stop the replica: skipping a command that other brokers understand would make the states differ.
var (
	errNewerCommand = errors.New("the metadata log holds a command of a newer version: upgrade this broker")
	errOlderCommand = errors.New("the metadata log holds commands that this version does not read any more: start with an " +
		"empty data_dir, or with the version that wrote it")
)

// command is one decoded command; exactly one field is set.
type command struct {
	create   *wire.CreateTopic
	remove   *removeTopic
	alter    *alterTopic
	producer *initProducer
	broker   *Broker
	state    *setState
	retire   *retireBroker
	begin    *beginMove
	step     *moveStep
	prefer   *preferLeader
	raise    *raiseLevel
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
		e.head(kindAlterTopic, 7)
		e.uint(r.request)
		e.str(r.Name)
		e.optional(widen(r.Partitions))
		e.optional(r.RetentionMillis)
		e.optional(r.RetentionBytes)
		e.optional(r.SegmentBytes)
		e.optional(widen(r.Replicas))
	case c.producer != nil:
		e.head(kindInitProducer, 2)
		e.uint(c.producer.nonce)
		e.str(c.producer.name)
	case c.broker != nil:
		e.register(c.broker)
	default:
		c.encodeMembership(e)
	}
	return e.buf.Bytes()
}

// encodeMembership writes the commands on brokers and replicas.
func (c *command) encodeMembership(e *encoder) {
	switch {
	case c.state != nil:
		e.head(kindSetBrokerState, 4)
		e.uint(c.state.request)
		e.uint(uint64(c.state.broker))
		e.uint(uint64(c.state.from))
		e.uint(uint64(c.state.to))
	case c.retire != nil:
		e.head(kindRetireBroker, 1)
		e.uint(uint64(c.retire.broker))
	case c.begin != nil:
		r := c.begin
		e.head(kindBeginMove, 6)
		e.uint(r.request)
		e.place(r.TP)
		e.uint(uint64(r.Add))
		e.uint(uint64(r.Remove))
		e.array(len(r.Brokers))
		for _, b := range r.Brokers {
			e.uint(uint64(b))
		}
	case c.step != nil:
		e.head(c.step.kind, 1)
		e.uint(c.step.id)
	case c.prefer != nil:
		e.head(kindPreferLeader, 4)
		e.uint(c.prefer.request)
		e.place(c.prefer.tp)
		e.uint(uint64(c.prefer.broker))
	case c.raise != nil:
		e.raise(c.raise)
	}
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

func (e *encoder) place(tp protocol.TopicPartition) {
	e.uint(uint64(tp.Topic))
	e.uint(uint64(tp.Partition))
}

// brokerFields is what a broker registers, with registerFields what it understands; snapshots add what the cluster keeps.
const (
	brokerFields   = 7
	registerFields = brokerFields + 2
)

// register leaves out Levels that are not stated, as brokers of before there were levels do.
func (e *encoder) register(b *Broker) {
	if b.Levels == (protocol.Levels{}) {
		e.head(kindRegisterBroker, brokerFields)
		e.broker(b)
		return
	}
	e.head(kindRegisterBroker, registerFields)
	e.broker(b)
	e.levels(b.Levels)
}

func (e *encoder) broker(b *Broker) {
	e.uint(uint64(b.ID))
	e.str(b.Listen)
	e.str(b.Admin)
	e.str(b.RaftAddr)
	e.bytes(b.DirID[:])
	e.str(b.Zone)
	e.bool(b.Founder)
}

func widen(v *uint32) *uint64 {
	if v == nil {
		return nil
	}
	w := uint64(*v)
	return &w
}

// decodeCommand reads one command. errNewerCommand and errOlderCommand mean that this version must not go on; any other
// error means that the bytes are not a command.
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
	if version > commandVersion || kind > uint64(lastKind) {
		return nil, fmt.Errorf("decode metadata command version %d kind %d: %w", version, kind, errNewerCommand)
	}
	if version < commandVersion {
		return nil, fmt.Errorf("decode metadata command version %d kind %d: %w", version, kind, errOlderCommand)
	}
	c := &command{}
	want := c.decodeFields(d, commandKind(kind), extra)
	if d.err == nil && extra < want {
		d.fail("%d fields where %d are needed", extra, want)
	}
	d.rest(extra - want)
	if d.err != nil {
		return nil, fmt.Errorf("decode metadata command kind %d: %w", kind, d.err)
	}
	return c, nil
}

// decodeFields reads the fields of one kind, of which there are n, and returns how many it read or needs.
func (c *command) decodeFields(d *decoder, kind commandKind, n int) int {
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
		c.alter.Partitions = d.narrow(protocol.MaxPartitions)
		c.alter.RetentionMillis, c.alter.RetentionBytes = d.optional(), d.optional()
		c.alter.SegmentBytes, c.alter.Replicas = d.optional(), d.narrow(protocol.MaxReplicas)
		return 7
	case kindInitProducer:
		c.producer = &initProducer{nonce: d.uint(), name: d.str(name)}
		return 2
	case kindRegisterBroker:
		b := d.broker()
		c.broker = &b
		if n < registerFields {
			return brokerFields
		}
		b.Levels = d.levels()
		return registerFields
	}
	return c.decodeMembership(d, kind)
}

// decodeMembership reads the commands on brokers and replicas.
func (c *command) decodeMembership(d *decoder, kind commandKind) int {
	switch kind {
	case kindSetBrokerState:
		c.state = &setState{request: d.uint(), broker: protocol.BrokerID(d.uint()), from: d.brokerState(), to: d.brokerState()}
		return 4
	case kindRetireBroker:
		c.retire = &retireBroker{broker: protocol.BrokerID(d.uint())}
		return 1
	case kindBeginMove:
		c.begin = &beginMove{request: d.uint()}
		c.begin.TP, c.begin.Add, c.begin.Remove = d.place(), protocol.BrokerID(d.uint()), protocol.BrokerID(d.uint())
		for range d.array(MaxBrokers) {
			c.begin.Brokers = append(c.begin.Brokers, protocol.BrokerID(d.uint()))
		}
		return 6
	case kindFinishMove, kindUndoMove, kindUndoneMove:
		c.step = &moveStep{kind: kind, id: d.uint()}
		return 1
	case kindPreferLeader:
		c.prefer = &preferLeader{request: d.uint(), tp: d.place(), broker: protocol.BrokerID(d.uint())}
		return 4
	case kindRaiseLevel:
		c.raise = d.raise()
		return levelFields
	}
	d.fail("kind is not known")
	return 0
}

func (d *decoder) config() wire.TopicConfig {
	return wire.TopicConfig{RetentionMillis: d.uint(), RetentionBytes: d.uint(), SegmentBytes: d.uint()}
}

func (d *decoder) place() protocol.TopicPartition {
	return protocol.TopicPartition{
		Topic: protocol.TopicID(d.uint()), Partition: protocol.Partition(d.uintMax(protocol.MaxPartitions)),
	}
}

func (d *decoder) brokerState() BrokerState { return BrokerState(d.uintMax(1<<8 - 1)) }

// narrow reads nil or a number of at most max, which fits into 32 bits.
func (d *decoder) narrow(max uint64) *uint32 {
	v := d.optional()
	if v == nil {
		return nil
	}
	if *v > max {
		d.fail("number %d is above %d", *v, max)
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
	b.Zone, b.Founder = d.str(MaxZoneBytes), d.bool()
	return b
}
