package meta

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/protocol"
)

// A snapshot is the text "TLMETA", one byte of version, then msgpack values, then the CRC32C of everything before it
// as a big-endian u32. The msgpack values are, in this order: [version, next topic, next shard, next producer], the
// brokers by ID, the topics by ID, the producers by name, the remembered answers oldest first. Equal states give
// equal bytes.
const (
	snapshotMagic   = "TLMETA"
	snapshotVersion = 1
	snapshotHeader  = len(snapshotMagic) + 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotWriter collects an encoder's output, passes it on in pieces and sums it up.
type snapshotWriter struct {
	*encoder
	to   io.Writer
	sum  uint32
	err  error
	stop <-chan struct{}
}

const snapshotPiece = 64 << 10

// piece writes what was encoded when it is enough, or always when all is set. It reports whether to go on.
func (w *snapshotWriter) piece(all bool) bool {
	if w.err != nil || !all && w.buf.Len() < snapshotPiece {
		return w.err == nil
	}
	select {
	case <-w.stop:
		w.err = statemachine.ErrSnapshotStopped
		return false
	default:
	}
	w.sum = crc32.Update(w.sum, castagnoli, w.buf.Bytes())
	if _, err := w.to.Write(w.buf.Bytes()); err != nil {
		w.err = fmt.Errorf("write metadata snapshot: %w", err)
	}
	w.buf.Reset()
	return w.err == nil
}

func saveSnapshot(to io.Writer, s *state, stop <-chan struct{}) error {
	w := &snapshotWriter{encoder: newEncoder(), to: to, stop: stop}
	w.buf.WriteString(snapshotMagic)
	w.buf.WriteByte(snapshotVersion)
	w.array(4)
	w.uint(s.image.Version)
	w.uint(uint64(s.image.NextTopic))
	w.uint(s.image.NextShard)
	w.uint(s.nextProducer)
	w.array(len(s.image.brokers))
	for i := range s.image.brokers {
		w.array(brokerFields)
		w.broker(&s.image.brokers[i])
	}
	w.array(len(s.image.byID))
	for _, t := range s.image.byID {
		w.topic(t)
		w.piece(false)
	}
	w.array(len(s.producers))
	for _, name := range slices.Sorted(maps.Keys(s.producers)) {
		w.producer(name, s.producers[name])
		w.piece(false)
	}
	w.array(len(s.answers.ring))
	s.answers.each(func(a *answer) {
		w.answer(a)
		w.piece(false)
	})
	if !w.piece(true) {
		return w.err
	}
	sum := w.sum
	if _, err := to.Write([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}); err != nil {
		return fmt.Errorf("write metadata snapshot: %w", err)
	}
	return nil
}

const topicFields = 5

func (e *encoder) topic(t *Topic) {
	e.array(topicFields)
	e.uint(uint64(t.ID))
	e.str(t.Name)
	e.uint(t.CreateRequestID)
	e.array(configFields)
	e.config(t.Config)
	e.array(len(t.Partitions))
	for _, p := range t.Partitions {
		e.array(1 + 2*len(p.Replicas))
		e.uint(p.Shard)
		for _, r := range p.Replicas {
			e.uint(uint64(r.Broker))
			e.uint(r.ReplicaID)
		}
	}
}

const producerFields = 3 + rememberedNonces

func (e *encoder) producer(name string, p *producer) {
	e.array(producerFields)
	e.str(name)
	e.uint(uint64(p.id))
	e.uint(uint64(p.epoch))
	for _, n := range p.nonces {
		e.uint(n)
	}
}

const answerFields = 8

func (e *encoder) answer(a *answer) {
	e.array(answerFields)
	e.uint(a.request)
	e.uint(uint64(a.kind))
	e.str(a.name)
	e.uint(uint64(a.result.code))
	e.str(a.result.message)
	e.uint(a.result.version)
	e.uint(a.result.a)
	e.uint(a.result.b)
}

// sumReader sums up what is read through it, byte by byte, so that the sum covers exactly what was decoded.
type sumReader struct {
	r   *bufio.Reader
	sum uint32
	one [1]byte
}

func (s *sumReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.sum = crc32.Update(s.sum, castagnoli, p[:n])
	return n, err
}

func (s *sumReader) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.one[0] = b
		s.sum = crc32.Update(s.sum, castagnoli, s.one[:])
	}
	return b, err
}

// UnreadByte makes the decoder use this reader without a buffer of its own; it only peeks at optional fields, which
// a snapshot does not have.
func (s *sumReader) UnreadByte() error { return errors.New("meta: snapshot: unread") }

func loadSnapshot(r io.Reader, stop <-chan struct{}) (*state, error) {
	in := &sumReader{r: bufio.NewReaderSize(r, snapshotPiece)}
	var head [snapshotHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, fmt.Errorf("read metadata snapshot: %w", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("read metadata snapshot: it begins with %q: not a metadata snapshot", head[:])
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("read metadata snapshot: version %d, this broker reads %d: upgrade this broker",
			v, snapshotVersion)
	}
	d := &snapshotReader{decoder: newDecoder(in), stop: stop}
	s := d.state()
	if errors.Is(d.err, statemachine.ErrSnapshotStopped) {
		return nil, statemachine.ErrSnapshotStopped
	}
	if d.err != nil {
		return nil, fmt.Errorf("read metadata snapshot: %w", d.err)
	}
	want := in.sum
	var sum [4]byte
	if _, err := io.ReadFull(in, sum[:]); err != nil {
		return nil, fmt.Errorf("read metadata snapshot: checksum: %w", err)
	}
	if got := uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3]); got != want {
		return nil, fmt.Errorf("read metadata snapshot: checksum %08x, its content has %08x", got, want)
	}
	return s, nil
}

type snapshotReader struct {
	*decoder
	stop <-chan struct{}
}

// list reads an array of at most max elements with one call of each.
func (d *snapshotReader) list(max int, each func()) {
	for n := d.array(max); n > 0 && d.err == nil; n-- {
		select {
		case <-d.stop:
			d.err = statemachine.ErrSnapshotStopped
			return
		default:
		}
		each()
	}
}

func (d *snapshotReader) state() *state {
	s := newState()
	im := newImage()
	extra := d.fields(4)
	im.Version, im.NextTopic = d.uint(), protocol.TopicID(d.uint())
	im.NextShard, s.nextProducer = d.uint(), d.uint()
	d.rest(extra)
	d.list(MaxBrokers, func() {
		extra := d.fields(brokerFields)
		im.brokers = append(im.brokers, d.broker())
		d.rest(extra)
	})
	d.list(MaxTopics, func() { d.addTopic(im) })
	d.list(MaxNamedProducers, func() { d.addProducer(s) })
	d.list(rememberedRequests, func() { d.addAnswer(s) })
	if d.err != nil {
		return nil
	}
	im.byName = slices.Clone(im.byID)
	slices.SortFunc(im.byName, func(a, b *Topic) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	if err := im.check(); err != nil {
		d.keep(err)
		return nil
	}
	s.image = im
	s.loads = loadsOf(im)
	return s
}

const configFields = 3

func (d *snapshotReader) addTopic(im *Image) {
	t := &Topic{}
	extra := d.fields(topicFields)
	t.ID, t.Name, t.CreateRequestID = protocol.TopicID(d.uint()), d.str(protocol.MaxNameBytes), d.uint()
	more := d.fields(configFields)
	t.Config = d.config()
	d.rest(more)
	d.list(protocol.MaxPartitions, func() {
		n := d.array(1 + 2*protocol.MaxReplicas)
		p := Partition{Shard: d.uint()}
		for range (n - 1) / 2 {
			p.Replicas = append(p.Replicas, Replica{Broker: protocol.BrokerID(d.uint()), ReplicaID: d.uint()})
		}
		t.Partitions = append(t.Partitions, p)
	})
	d.rest(extra)
	t.Partitions = slices.Clip(t.Partitions)
	im.byID = append(im.byID, t.withInfo())
	im.Partitions += len(t.Partitions)
}

func (d *snapshotReader) addProducer(s *state) {
	extra := d.fields(producerFields)
	name := d.str(protocol.MaxNameBytes)
	p := &producer{id: protocol.ProducerID(d.uint()), epoch: protocol.ProducerEpoch(d.uintMax(1<<32 - 1))}
	for i := range p.nonces {
		p.nonces[i] = d.uint()
	}
	d.rest(extra)
	s.producers[name] = p
}

func (d *snapshotReader) addAnswer(s *state) {
	extra := d.fields(answerFields)
	a := answer{request: d.uint(), kind: commandKind(d.uintMax(255)), name: d.str(protocol.MaxNameBytes)}
	a.result = result{code: protocol.Code(d.uintMax(1<<16 - 1)), message: d.str(maxMessageBytes)}
	a.result.version, a.result.a, a.result.b = d.uint(), d.uint(), d.uint()
	d.rest(extra)
	if _, twice := s.answers.get(a.request); twice {
		d.fail("answer to request %d twice", a.request)
		return
	}
	s.answers.put(a)
}

// check reports what of a decoded image breaks the package's invariants.
func (im *Image) check() error {
	for i := 1; i < len(im.brokers); i++ {
		if im.brokers[i-1].ID >= im.brokers[i].ID {
			return fmt.Errorf("broker %d is out of order", im.brokers[i].ID)
		}
	}
	if im.Partitions > MaxTotalPartitions {
		return fmt.Errorf("%d partitions, at most %d are allowed", im.Partitions, MaxTotalPartitions)
	}
	for i, t := range im.byID {
		if i > 0 && im.byID[i-1].ID >= t.ID || i > 0 && im.byName[i-1].Name == im.byName[i].Name || t.ID >= im.NextTopic {
			return fmt.Errorf("topic %d (%q) is out of order or not unique", t.ID, t.Name)
		}
		if err := im.checkPartitions(t); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) checkPartitions(t *Topic) error {
	for i, p := range t.Partitions {
		if p.Shard < FirstShard || p.Shard >= im.NextShard || len(p.Replicas) == 0 {
			return fmt.Errorf("partition %d/%d: shard %d with %d replicas, next shard is %d",
				t.ID, i, p.Shard, len(p.Replicas), im.NextShard)
		}
		for _, r := range p.Replicas {
			if _, ok := im.findBroker(r.Broker); !ok {
				return fmt.Errorf("partition %d/%d: broker %d is not registered", t.ID, i, r.Broker)
			}
		}
	}
	if len(t.Partitions) == 0 {
		return fmt.Errorf("topic %d (%q) has no partitions", t.ID, t.Name)
	}
	return nil
}
