package batch

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/internal/mpack"
)

// recordFields is how many values the array of a record has: key, value, headers, timestamp.
const recordFields = 4

// Record is one record as producers give it and consumers get it.
type Record struct {
	Key       []byte // nil: no key; not the same as empty
	Value     []byte // nil: no value; not the same as empty
	Headers   []HeaderField
	Timestamp int64 // Unix milliseconds
}

// HeaderField is one header of a record. Keys may repeat; the order is kept.
type HeaderField struct {
	Key   string
	Value []byte
}

// Builder collects records and packs them into a batch. It belongs to one goroutine and keeps its
// buffers through Reset. Build may be called again after more records were added.
type Builder struct {
	compression Compression
	enc         *mpack.Encoder
	payload     []byte
	count       int
	first       int64 // timestamp of the first record
	latest      int64 // greatest timestamp
}

// NewBuilder returns an empty Builder that packs with c.
func NewBuilder(c Compression) *Builder {
	return &Builder{compression: c, enc: mpack.NewEncoder()}
}

// Add appends a copy of r. It refuses a record with too many headers, and one that would make the batch
// exceed the protocol's limits: build what there is, Reset and add it again.
func (b *Builder) Add(r Record) error {
	if len(r.Headers) > protocol.MaxRecordHeaders {
		return protocol.Errorf(protocol.CodeInvalidRequest, "record with %d headers, at most %d are allowed",
			len(r.Headers), protocol.MaxRecordHeaders)
	}
	size := EncodedSize(&r)
	if HeaderSize+size > protocol.MaxBatchBytesLimit {
		return protocol.Errorf(protocol.CodeRecordTooLarge, "record of %d bytes, at most %d are possible",
			size, protocol.MaxBatchBytesLimit-HeaderSize)
	}
	if b.count == protocol.MaxBatchRecords || b.Size()+size > protocol.MaxBatchBytesLimit {
		return protocol.Errorf(protocol.CodeBatchTooLarge, "batch is full with %d records and %d bytes", b.count, b.Size())
	}
	b.enc.SetOutput(b.payload)
	appendRecord(b.enc, &r)
	b.payload = b.enc.Output()
	if b.count == 0 {
		b.first, b.latest = r.Timestamp, r.Timestamp
	}
	b.latest = max(b.latest, r.Timestamp)
	b.count++
	return nil
}

func appendRecord(e *mpack.Encoder, r *Record) {
	e.Array(recordFields)
	e.Bytes(r.Key)
	e.Bytes(r.Value)
	if len(r.Headers) == 0 {
		e.Nil()
	} else {
		e.Array(len(r.Headers))
		for i := range r.Headers {
			e.Array(2)
			e.String(r.Headers[i].Key)
			e.Bytes(r.Headers[i].Value)
		}
	}
	e.Int(r.Timestamp)
}

// Len returns the number of records.
func (b *Builder) Len() int { return b.count }

// Size returns the size of the batch if it were built without compression.
func (b *Builder) Size() int { return HeaderSize + len(b.payload) }

// Build appends the batch to dst. Its stamp is zero until a broker writes it. A payload that compression
// would not make smaller is stored as it is.
func (b *Builder) Build(
	dst []byte, producer protocol.ProducerID, epoch protocol.ProducerEpoch, base protocol.Sequence,
) ([]byte, error) {
	if b.count == 0 {
		return dst, protocol.Errorf(protocol.CodeInvalidRequest, "batch without records")
	}
	start := len(dst)
	dst, used := b.appendPayload(append(dst, make([]byte, HeaderSize)...))
	h, be := dst[start:], binary.BigEndian
	be.PutUint32(h[posLength:], uint32(len(h)))
	h[posVersion] = version
	h[posAttributes] = byte(used)
	be.PutUint64(h[posProducer:], uint64(producer))
	be.PutUint32(h[posProducerEpoch:], uint32(epoch))
	be.PutUint32(h[posCount:], uint32(b.count))
	be.PutUint64(h[posBaseSequence:], uint64(base))
	be.PutUint64(h[posFirstTime:], uint64(b.first))
	be.PutUint64(h[posMaxTime:], uint64(b.latest))
	be.PutUint32(h[posBodyCRC:], crc32.Checksum(h[posProducer:], castagnoli))
	Stamp(h, 0, 0, 0)
	return dst, nil
}

// appendPayload appends the payload after the header and returns the compression it really has.
func (b *Builder) appendPayload(dst []byte) ([]byte, Compression) {
	if b.compression != None {
		start := len(dst)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.payload)))
		dst = pack(dst, b.compression, b.payload)
		if len(dst)-start < len(b.payload) {
			return dst, b.compression
		}
		dst = dst[:start]
	}
	return append(dst, b.payload...), None
}

// Reset forgets the records and keeps the buffer.
func (b *Builder) Reset() {
	b.payload, b.count = b.payload[:0], 0
}

// EncodedSize returns by how much adding r makes Size grow.
func EncodedSize(r *Record) int {
	n := 1 + binSize(r.Key) + binSize(r.Value) + 1 + intSize(r.Timestamp)
	if len(r.Headers) == 0 {
		return n
	}
	n += arraySize(len(r.Headers)) - 1
	for i := range r.Headers {
		n += 1 + strSize(r.Headers[i].Key) + binSize(r.Headers[i].Value)
	}
	return n
}

func arraySize(n int) int {
	switch {
	case n < 16:
		return 1
	case n <= 0xffff:
		return 3
	}
	return 5
}

func binSize(b []byte) int {
	switch n := len(b); {
	case b == nil:
		return 1
	case n <= 0xff:
		return 2 + n
	case n <= 0xffff:
		return 3 + n
	default:
		return 5 + n
	}
}

func strSize(s string) int {
	switch n := len(s); {
	case n < 32:
		return 1 + n
	case n <= 0xff:
		return 2 + n
	case n <= 0xffff:
		return 3 + n
	default:
		return 5 + n
	}
}

func intSize(v int64) int {
	switch {
	case -32 <= v && v <= 0x7f:
		return 1
	case -0x80 <= v && v <= 0xff:
		return 2
	case -0x8000 <= v && v <= 0xffff:
		return 3
	case -0x80000000 <= v && v <= 0xffffffff:
		return 5
	}
	return 9
}
