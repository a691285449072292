package hostile

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Where the fields of a batch are, see protocol/SPEC.md section 8.
const (
	posStampCRC = 32
	posBodyCRC  = 36
	posProducer = 40
	posCount    = 52
	posSequence = 56
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal writes both checksums, so that what is wrong with a batch is something else.
func seal(b []byte) []byte {
	if len(b) >= batch.HeaderSize {
		binary.BigEndian.PutUint32(b[posStampCRC:], crc32.Checksum(b[:posStampCRC], castagnoli))
		binary.BigEndian.PutUint32(b[posBodyCRC:], crc32.Checksum(b[posProducer:], castagnoli))
	}
	return b
}

// makeBombs packs 16 MiB of zeros, the most a batch may unpack to, and one byte more.
func makeBombs() (map[batch.Compression][2][]byte, error) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = enc.Close() }() // nothing is buffered: EncodeAll is whole
	var z, s [2][]byte
	for i := range z {
		zeros := make([]byte, protocol.MaxBatchBytesLimit+i)
		z[i], s[i] = enc.EncodeAll(zeros, nil), s2.Encode(nil, zeros)
	}
	return map[batch.Compression][2][]byte{batch.Zstd: z, batch.S2: s}, nil
}

// good returns a batch that any broker would take.
func (f *forge) good(p protocol.ProducerID, at protocol.Sequence) []byte {
	bd := batch.NewBuilder(batch.Compression(f.rnd.IntN(3)))
	for range 1 + f.rnd.IntN(3) {
		if bd.Add(batch.Record{Key: f.noise(10), Value: f.noise(100)}) != nil {
			break // never: the record is small
		}
	}
	b, err := bd.Build(nil, p, 0, at)
	if err != nil {
		return f.noise(100) // never: a record is in it
	}
	return b
}

// produce is a produce stream with n good batches, some in sequence.
func (f *forge) produce(topic protocol.TopicID, part protocol.Partition, n int) text {
	p := f.producer()
	var t text
	t.add(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: topic, Partition: part, Producer: p})
	at := protocol.Sequence(0)
	for range n {
		b := f.good(p, at)
		t.raw(protocol.KindProduce, b)
		if h, err := batch.ParseHeader(b); err == nil {
			at = h.NextSequence()
		}
	}
	return t
}

// badBatches is a produce stream whose batches are wrong in one way each; on the checked topic too, where none
// of them may get in.
func (f *forge) badBatches() text {
	topic, part := f.aims.target, f.partition()
	if led := f.aims.ledChecked[f.broker]; len(led) > 0 && f.chance(40) {
		topic, part = f.aims.checked, pick(f, led)
	}
	p := f.producer()
	var t text
	t.add(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: topic, Partition: part, Producer: p})
	for range 1 + f.rnd.IntN(3) {
		t.raw(protocol.KindProduce, f.bad(f.good(p, 0)))
	}
	return t
}

func (f *forge) bad(b []byte) []byte {
	be := binary.BigEndian
	switch f.rnd.IntN(10) {
	case 0:
		b[f.rnd.IntN(len(b))] ^= 1 << f.rnd.IntN(8) // checksum wrong
	case 1:
		be.PutUint32(b[posCount:], uint32(f.odd()))
		return seal(b)
	case 2:
		be.PutUint32(b, uint32(f.odd()))
		return seal(b)
	case 3:
		b[4+f.rnd.IntN(4)] = byte(f.rnd.UintN(256)) // version, attributes, reserved
		return seal(b)
	case 4:
		be.PutUint64(b[posSequence:], f.odd())
		return seal(b)
	case 5:
		return b[:f.rnd.IntN(len(b))]
	case 6:
		copy(b[batch.HeaderSize:], f.noise(len(b)-batch.HeaderSize)) // records that are none
		return seal(b)
	case 7:
		be.PutUint64(b[posProducer:], f.odd())
		return seal(b)
	case 8:
		return f.bomb(b[:batch.HeaderSize])
	case 9:
		return append(b, f.noise(50)...)
	}
	return b
}

// bomb gives a batch's header a small payload that unpacks to a lot, or claims to.
func (f *forge) bomb(header []byte) []byte {
	kind := pick(f, []batch.Compression{batch.Zstd, batch.S2})
	packed := f.aims.bombs[kind][f.rnd.IntN(2)]
	claim := pick(f, []uint32{protocol.MaxBatchBytesLimit, protocol.MaxBatchBytesLimit + 1, 1 << 10, 1<<32 - 1, 0})
	b := binary.BigEndian.AppendUint32(append([]byte(nil), header...), claim)
	b = append(b, packed...)
	b[5] = byte(kind)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	binary.BigEndian.PutUint32(b[posCount:], uint32(1+f.rnd.IntN(protocol.MaxBatchRecords)))
	return seal(b)
}

// disorder is a produce stream whose sequences jump, repeat and overlap.
func (f *forge) disorder() text {
	p := f.producer()
	open := wire.ProduceOpen{Topic: f.aims.target, Partition: f.partition(), Producer: p}
	if f.chance(10) {
		open.ProducerEpoch = protocol.ProducerEpoch(f.odd())
	}
	var t text
	t.add(protocol.KindProduceOpen, &open)
	for range 1 + f.rnd.IntN(70) { // more than may be in flight
		at := f.rnd.IntN(12)
		if f.chance(5) {
			at = int(f.odd() >> 1)
		}
		t.raw(protocol.KindProduce, f.good(p, protocol.Sequence(at)))
	}
	return t
}
