package meta

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/protocol"
)

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
	version := head[len(snapshotMagic)]
	if version < snapshotFirst || version > snapshotStated {
		return nil, fmt.Errorf("read metadata snapshot: version %d, this broker reads %d to %d: start the broker version that "+
			"wrote it, or begin with an empty data_dir", version, snapshotFirst, snapshotStated)
	}
	d := &snapshotReader{decoder: newDecoder(in), version: version, stop: stop}
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
	version byte
	stop    <-chan struct{}
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
	extra := d.fields(counterFields + more(d.version, counterStated))
	im.Version, im.NextTopic = d.uint(), protocol.TopicID(d.uint())
	im.NextShard, s.nextProducer = d.uint(), d.uint()
	im.NextReplica, im.NextMove = d.uint(), d.uint()
	if d.version >= snapshotStated {
		im.Level = d.level()
	}
	d.rest(extra)
	d.list(MaxBrokers, func() { d.addBroker(im) })
	d.list(MaxRetired, func() { im.retired = append(im.retired, protocol.BrokerID(d.uint())) })
	im.Meta = d.placement(Metadata, im, MaxBrokers)
	d.list(MaxTopics, func() { d.addTopic(im) })
	d.list(MaxNamedProducers, func() { d.addProducer(s) })
	d.list(rememberedRequests, func() { d.addAnswer(s) })
	if d.err != nil {
		return nil
	}
	im.byName = slices.Clone(im.byID)
	slices.SortFunc(im.byName, func(a, b *Topic) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(im.moves, func(a, b Moving) int { return cmp.Compare(a.ID, b.ID) })
	if err := im.check(); err != nil {
		d.keep(err)
		return nil
	}
	s.image = im
	s.loads = loadsOf(im)
	return s
}

func (d *snapshotReader) addBroker(im *Image) {
	extra := d.fields(memberFields + more(d.version, memberStated))
	b := d.broker()
	b.State, b.MetaRemoved = d.brokerState(), d.bool()
	if d.version >= snapshotStated {
		b.Levels = d.levels()
	}
	d.rest(extra)
	im.brokers = append(im.brokers, b)
}

// placement reads where tp is placed, on at most most brokers, and notes its move in the image.
func (d *snapshotReader) placement(tp protocol.TopicPartition, im *Image, most int) Partition {
	extra := d.fields(placementFields)
	p := Partition{Shard: d.uint()}
	for range d.array(2*most) / 2 {
		p.Replicas = append(p.Replicas, d.replica())
	}
	for range d.array(protocol.MaxReplicas) {
		p.Founders = append(p.Founders, protocol.BrokerID(d.uint()))
	}
	if n := d.array(maxFields); n >= moveFields {
		p.Move = &Move{ID: d.uint(), Add: d.replica(), Remove: d.replica(), Undo: d.bool()}
		d.rest(n - moveFields)
		im.moves = append(im.moves, Moving{TP: tp, Shard: p.Shard, Move: *p.Move})
	} else {
		d.rest(n)
	}
	d.rest(extra)
	return p
}

func (d *snapshotReader) replica() Replica {
	return Replica{Broker: protocol.BrokerID(d.uint()), ReplicaID: d.uint()}
}

const configFields = 3

func (d *snapshotReader) addTopic(im *Image) {
	t := &Topic{}
	extra := d.fields(topicFields)
	t.ID, t.Name, t.CreateRequestID = protocol.TopicID(d.uint()), d.str(protocol.MaxNameBytes), d.uint()
	t.Replicas = int(d.uintMax(protocol.MaxReplicas))
	more := d.fields(configFields)
	t.Config = d.config()
	d.rest(more)
	d.list(protocol.MaxPartitions, func() {
		tp := protocol.TopicPartition{Topic: t.ID, Partition: protocol.Partition(len(t.Partitions))}
		t.Partitions = append(t.Partitions, d.placement(tp, im, protocol.MaxReplicas))
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
