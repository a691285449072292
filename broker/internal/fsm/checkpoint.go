package fsm

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/trunkline/trunkline/protocol"
)

// A checkpoint, integers big-endian. The head of a snapshot stream is the same with another magic and generation 0.
//
//	 0 u32 magic          4 u16 version=1       6 u16 zero         8 u32 length of all, CRC included
//	12 u64 topic         20 u32 partition      24 u64 generation
//	32 u64 applied       40 u64 epoch          48 u64 leader      56 u64 term       64 u64 attempt
//	72 u64 start         80 u64 next           88 i64 last append time
//	96 [32]byte hash    128 u64 retired activation
//	136 u32 producers, each: u64 id | u32 epoch | u64 next | u8 runs | runs * (u64 sequence | u64 offset | u64 count)
//	    named ones by id, then anonymous ones, least recently used first
//	 ... u32 cursors, each: u8 length | name | u64 offset | u64 activation, by name
//	 ... u32 CRC32C over all before
//
// The layout is frozen: a change is a new version.
const (
	checkpointMagic   = 0x544c4350 // "TLCP"
	snapshotMagic     = 0x544c5353 // "TLSS"
	checkpointVersion = 1

	checkpointPrefix = 12
	minCheckpoint    = 148 // no producers, no cursors

	producerFixed = 21
	runSize       = 24
	cursorFixed   = 17

	// maxCheckpointBytes bounds what is read into memory: 10 000 producers with all their runs take 15 MB.
	maxCheckpointBytes = 256 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendCheckpoint encodes s. The result depends on nothing but its arguments.
func appendCheckpoint(dst []byte, magic uint32, tp protocol.TopicPartition, generation uint64, s *state) []byte {
	be, at := binary.BigEndian, len(dst)
	dst = be.AppendUint32(dst, magic)
	dst = be.AppendUint16(dst, checkpointVersion)
	dst = be.AppendUint16(dst, 0)
	dst = be.AppendUint32(dst, 0) // the length, below
	dst = be.AppendUint64(dst, uint64(tp.Topic))
	dst = be.AppendUint32(dst, uint32(tp.Partition))
	for _, v := range [...]uint64{
		generation, s.applied, uint64(s.epoch), uint64(s.leader), s.term, s.attempt,
		uint64(s.start), uint64(s.next), uint64(s.lastAppend),
	} {
		dst = be.AppendUint64(dst, v)
	}
	dst = append(dst, s.hash[:]...)
	dst = be.AppendUint64(dst, uint64(s.cursors.retired))
	dst = appendProducers(dst, &s.producers)
	dst = appendCursors(dst, &s.cursors)
	be.PutUint32(dst[at+8:], uint32(len(dst)-at+4))
	return be.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

func appendProducers(dst []byte, t *producerTable) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(len(t.byID)))
	for _, p := range t.ordered() {
		dst = be.AppendUint64(dst, uint64(p.id))
		dst = be.AppendUint32(dst, uint32(p.epoch))
		dst = be.AppendUint64(dst, uint64(p.next))
		dst = append(dst, byte(len(p.runs)))
		for _, r := range p.runs {
			dst = be.AppendUint64(dst, uint64(r.seq))
			dst = be.AppendUint64(dst, uint64(r.offset))
			dst = be.AppendUint64(dst, r.count)
		}
	}
	return dst
}

func appendCursors(dst []byte, t *cursorTable) []byte {
	be := binary.BigEndian
	dst = be.AppendUint32(dst, uint32(len(t.byName)))
	for _, name := range t.names() {
		c := t.byName[name]
		dst = append(dst, byte(len(name)))
		dst = append(dst, name...)
		dst = be.AppendUint64(dst, uint64(c.Offset))
		dst = be.AppendUint64(dst, uint64(c.Activation))
	}
	return dst
}

// damage is what a decoder found wrong, and where in its input.
type damage struct {
	position int
	reason   string
}

func (d *damage) Error() string { return fmt.Sprintf("at byte %d: %s", d.position, d.reason) }

// checkpointLength checks the first checkpointPrefix bytes and returns the length of the whole.
func checkpointLength(b []byte, magic uint32) (int, error) {
	be := binary.BigEndian
	switch {
	case len(b) < checkpointPrefix:
		return 0, &damage{len(b), "shorter than its prefix"}
	case be.Uint32(b) != magic:
		return 0, &damage{0, fmt.Sprintf("magic is %08x, not %08x", be.Uint32(b), magic)}
	case be.Uint16(b[4:]) != checkpointVersion || be.Uint16(b[6:]) != 0:
		return 0, &damage{4, fmt.Sprintf("version is %d, this broker reads %d", be.Uint32(b[4:])>>16, checkpointVersion)}
	}
	n := be.Uint32(b[8:])
	if n < minCheckpoint || n > maxCheckpointBytes {
		return 0, &damage{8, fmt.Sprintf("length is %d", n)}
	}
	return int(n), nil
}

// decodeCheckpoint fills s, which must be new, from b. It refuses everything that appendCheckpoint would not write for
// this partition.
func decodeCheckpoint(b []byte, magic uint32, tp protocol.TopicPartition, s *state) (generation uint64, err error) {
	n, err := checkpointLength(b, magic)
	if err != nil {
		return 0, err
	}
	if n != len(b) {
		return 0, &damage{8, fmt.Sprintf("length is %d, but %d bytes are there", n, len(b))}
	}
	want, got := binary.BigEndian.Uint32(b[n-4:]), crc32.Checksum(b[:n-4], castagnoli)
	if want != got {
		return 0, &damage{n - 4, fmt.Sprintf("CRC is %08x, the file says %08x", got, want)}
	}
	d := decoder{b: b[:n-4], at: checkpointPrefix}
	found := protocol.TopicPartition{Topic: protocol.TopicID(d.u64()), Partition: protocol.Partition(d.u32())}
	if found != tp {
		return 0, &damage{checkpointPrefix, fmt.Sprintf("belongs to partition %s, not %s", found, tp)}
	}
	generation = d.u64()
	s.applied, s.epoch, s.leader = d.u64(), protocol.Epoch(d.u64()), protocol.BrokerID(d.u64())
	s.term, s.attempt = d.u64(), d.u64()
	s.start, s.next, s.lastAppend = protocol.Offset(d.u64()), protocol.Offset(d.u64()), int64(d.u64())
	copy(s.hash[:], d.bytes(len(s.hash)))
	s.cursors.retired = protocol.Activation(d.u64())
	if s.start > s.next {
		d.fail("start %d is above next %d", s.start, s.next)
	}
	d.producers(s)
	d.cursors(s)
	if d.err == nil && d.at != len(d.b) {
		d.fail("%d bytes too many", len(d.b)-d.at)
	}
	if d.err != nil {
		return 0, d.err
	}
	return generation, nil
}

// decoder reads fields one after the other. After the first error all of them read as zero.
type decoder struct {
	b   []byte
	at  int
	err *damage
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = &damage{d.at, fmt.Sprintf(format, args...)}
	}
}

// bytes returns the next n bytes, which alias the input.
func (d *decoder) bytes(n int) []byte {
	if d.err != nil || n > len(d.b)-d.at {
		d.fail("ends inside a field of %d bytes", n)
		return nil
	}
	d.at += n
	return d.b[d.at-n : d.at]
}

func (d *decoder) u8() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count reads the number of elements that take at least size bytes each.
func (d *decoder) count(size int) int {
	n := int64(d.u32())
	if n*int64(size) > int64(len(d.b)-d.at) {
		d.fail("%d elements do not fit into the rest", n)
		return 0
	}
	return int(n)
}

func (d *decoder) producers(s *state) {
	var last *producer
	for range d.count(producerFixed) {
		p := &producer{id: protocol.ProducerID(d.u64()), epoch: protocol.ProducerEpoch(d.u32())}
		p.next = protocol.Sequence(d.u64())
		p.runs = d.runs(p.next, s.next)
		_, twice := s.producers.byID[p.id]
		misplaced := last != nil && p.id.Named() && (!last.id.Named() || last.id >= p.id)
		if twice || misplaced {
			d.fail("producer %s is out of order", p.id)
		}
		if d.err != nil {
			return
		}
		last = s.producers.insert(p)
	}
}

// runs reads the runs of a producer whose next sequence is next, on a log that ends at end.
func (d *decoder) runs(next protocol.Sequence, end protocol.Offset) []run {
	n := int(d.u8())
	if n > runsPerProducer {
		d.fail("%d runs, at most %d are kept", n, runsPerProducer)
		return nil
	}
	raw := d.bytes(n * runSize)
	if raw == nil {
		return nil
	}
	be, runs := binary.BigEndian, make([]run, n)
	var seq protocol.Sequence
	var offset protocol.Offset
	for i := range runs {
		b := raw[i*runSize:]
		r := run{seq: protocol.Sequence(be.Uint64(b)), offset: protocol.Offset(be.Uint64(b[8:])), count: be.Uint64(b[16:])}
		contiguous := i == 0 || r.seq == seq
		fits := r.count > 0 && r.count <= uint64(next) && uint64(r.seq) <= uint64(next)-r.count &&
			r.count <= uint64(end) && uint64(r.offset) <= uint64(end)-r.count
		if !contiguous || !fits || r.offset < offset {
			d.fail("run %d of a producer is impossible", i)
			return nil
		}
		runs[i] = r
		seq, offset = r.seq+protocol.Sequence(r.count), r.offset+protocol.Offset(r.count)
	}
	if seq != next { // the newest run is always kept
		d.fail("runs end at sequence %d, not at %d", seq, next)
	}
	return runs
}

func (d *decoder) cursors(s *state) {
	last := ""
	for range d.count(cursorFixed) {
		name := string(d.bytes(int(d.u8())))
		c := &Cursor{Offset: protocol.Offset(d.u64()), Activation: protocol.Activation(d.u64())}
		switch {
		case !protocol.ValidName(name) || name <= last:
			d.fail("subscription %q is out of order", name)
		case c.Offset > s.next:
			d.fail("cursor of %s is %d, above next %d", name, c.Offset, s.next)
		}
		if d.err != nil {
			return
		}
		s.cursors.byName[name] = c
		last = name
	}
}
