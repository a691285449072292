package meta

import (
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/protocol"
)

// A snapshot is of version 2 until the cluster is at LevelStated, and of version 3 from then on: brokers of before there were levels
// refuse it, and what they would lose in it, they cannot. A version is fixed: nothing is added to it, not even at an end.
//
// A snapshot is the text "TLMETA", one byte of version, then msgpack values, then the CRC32C of everything before it
// as a big-endian u32. The msgpack values are, in this order: [version, next topic, next shard, next producer, next
// replica, next move; from 3 on: level], the brokers by ID, the retired IDs, the metadata's placement, the topics by ID, the producers by
// name, the remembered answers oldest first. Equal states give equal bytes.
const (
	snapshotMagic  = "TLMETA"
	snapshotFirst  = 2 // the oldest version that is read
	snapshotStated = 3 // has level and levels
	snapshotHeader = len(snapshotMagic) + 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapshotWriter collects an encoder's output, passes it on in pieces and sums it up.
type snapshotWriter struct {
	*encoder
	version byte
	to      io.Writer
	sum     uint32
	err     error
	stop    <-chan struct{}
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
	w := &snapshotWriter{encoder: newEncoder(), version: versionAt(s.image.Level), to: to, stop: stop}
	w.buf.WriteString(snapshotMagic)
	w.buf.WriteByte(w.version)
	w.image(s.image, s.nextProducer)
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

// Fields of the counters and of a broker, and what snapshotStated adds to them.
const (
	counterFields = 6
	counterStated = 1
	memberFields  = brokerFields + 2
	memberStated  = 2
)

// versionAt is the version of snapshots at a level of the cluster.
func versionAt(level protocol.Level) byte {
	if level < LevelStated {
		return snapshotFirst
	}
	return snapshotStated
}

// more is added if the snapshot is of snapshotStated, 0 otherwise.
func more(version byte, added int) int {
	if version < snapshotStated {
		return 0
	}
	return added
}

func (w *snapshotWriter) image(im *Image, nextProducer uint64) {
	w.array(counterFields + more(w.version, counterStated))
	w.uint(im.Version)
	w.uint(uint64(im.NextTopic))
	w.uint(im.NextShard)
	w.uint(nextProducer)
	w.uint(im.NextReplica)
	w.uint(im.NextMove)
	if w.version >= snapshotStated {
		w.uint(uint64(im.Level))
	}
	w.array(len(im.brokers))
	for i := range im.brokers {
		b := &im.brokers[i]
		w.array(memberFields + more(w.version, memberStated))
		w.broker(b)
		w.uint(uint64(b.State))
		w.bool(b.MetaRemoved)
		if w.version >= snapshotStated {
			w.levels(b.Levels)
		}
	}
	w.array(len(im.retired))
	for _, id := range im.retired {
		w.uint(uint64(id))
	}
	w.placement(&im.Meta)
	w.array(len(im.byID))
	for _, t := range im.byID {
		w.topic(t)
		w.piece(false)
	}
}

const topicFields = 6

func (e *encoder) topic(t *Topic) {
	e.array(topicFields)
	e.uint(uint64(t.ID))
	e.str(t.Name)
	e.uint(t.CreateRequestID)
	e.uint(uint64(t.Replicas))
	e.array(configFields)
	e.config(t.Config)
	e.array(len(t.Partitions))
	for i := range t.Partitions {
		e.placement(&t.Partitions[i])
	}
}

const (
	placementFields = 4
	moveFields      = 6
)

// placement writes [shard, [broker, replica, ...], [founder, ...], move], where a move is [] for none or
// [id, broker and replica to add, broker and replica to remove, undo].
func (e *encoder) placement(p *Partition) {
	e.array(placementFields)
	e.uint(p.Shard)
	e.array(2 * len(p.Replicas))
	for _, r := range p.Replicas {
		e.replica(r)
	}
	e.array(len(p.Founders))
	for _, b := range p.Founders {
		e.uint(uint64(b))
	}
	if p.Move == nil {
		e.array(0)
		return
	}
	e.array(moveFields)
	e.uint(p.Move.ID)
	e.replica(p.Move.Add)
	e.replica(p.Move.Remove)
	e.bool(p.Move.Undo)
}

func (e *encoder) replica(r Replica) {
	e.uint(uint64(r.Broker))
	e.uint(r.ReplicaID)
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
