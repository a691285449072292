package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/trunkline/trunkline/protocol"
)

// HeaderSize is the size of the header of a batch.
const HeaderSize = 80

// version is the layout this package reads and writes.
const version = 1

// Positions of the header's fields.
const (
	posLength        = 0
	posVersion       = 4
	posAttributes    = 5
	posReserved      = 6
	posBaseOffset    = 8
	posEpoch         = 16
	posAppendTime    = 24
	posStampCRC      = 32
	posBodyCRC       = 36
	posProducer      = 40
	posProducerEpoch = 48
	posCount         = 52
	posBaseSequence  = 56
	posFirstTime     = 64
	posMaxTime       = 72
)

// sizePrefix is the length of the uncompressed size in front of a compressed payload.
const sizePrefix = 4

// Compression says how a payload is packed. The numbers are the wire format: never renumber.
type Compression uint8

// The compressions.
const (
	None Compression = 0
	Zstd Compression = 1
	S2   Compression = 2

	compressionMask = 3
)

// String returns the compression's name, or its number when it has none.
func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Zstd:
		return "zstd"
	case S2:
		return "s2"
	}
	return fmt.Sprintf("compression(%d)", uint8(c))
}

// Header is the parsed header of a batch. records[i] has offset BaseOffset+i and sequence BaseSequence+i.
type Header struct {
	Length         uint32 // whole batch, header included
	Compression    Compression
	BaseOffset     protocol.Offset // stamped by the broker
	Epoch          protocol.Epoch  // stamped by the broker
	AppendTime     int64           // stamped by the broker, Unix milliseconds
	Producer       protocol.ProducerID
	ProducerEpoch  protocol.ProducerEpoch
	Count          uint32
	BaseSequence   protocol.Sequence
	FirstTimestamp int64 // timestamp of records[0], Unix milliseconds
	MaxTimestamp   int64 // greatest timestamp, Unix milliseconds
}

// Next returns the offset after the last record.
func (h *Header) Next() protocol.Offset { return h.BaseOffset + protocol.Offset(h.Count) }

// NextSequence returns the sequence after the last record.
func (h *Header) NextSequence() protocol.Sequence { return h.BaseSequence + protocol.Sequence(h.Count) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func corrupt(format string, args ...any) *protocol.Error {
	return protocol.Errorf(protocol.CodeCorruptBatch, format, args...)
}

// ParseHeader reads and checks a header: version, attributes, lengths, count and the stamp's CRC. It
// needs only the first HeaderSize bytes of the batch and says nothing about the rest.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, corrupt("batch header needs %d bytes, got %d", HeaderSize, len(b))
	}
	be := binary.BigEndian
	if want, got := be.Uint32(b[posStampCRC:]), crc32.Checksum(b[:posStampCRC], castagnoli); want != got {
		return Header{}, corrupt("stamp CRC is %08x, the header says %08x", got, want)
	}
	if b[posVersion] != version {
		return Header{}, protocol.Errorf(protocol.CodeUnsupported, "batch version %d, this is version %d",
			b[posVersion], version)
	}
	h := Header{
		Length:         be.Uint32(b[posLength:]),
		Compression:    Compression(b[posAttributes] & compressionMask),
		BaseOffset:     protocol.Offset(be.Uint64(b[posBaseOffset:])),
		Epoch:          protocol.Epoch(be.Uint64(b[posEpoch:])),
		AppendTime:     int64(be.Uint64(b[posAppendTime:])),
		Producer:       protocol.ProducerID(be.Uint64(b[posProducer:])),
		ProducerEpoch:  protocol.ProducerEpoch(be.Uint32(b[posProducerEpoch:])),
		Count:          be.Uint32(b[posCount:]),
		BaseSequence:   protocol.Sequence(be.Uint64(b[posBaseSequence:])),
		FirstTimestamp: int64(be.Uint64(b[posFirstTime:])),
		MaxTimestamp:   int64(be.Uint64(b[posMaxTime:])),
	}
	return h, h.check(b)
}

// check refuses what no builder of version 1 writes.
func (h *Header) check(b []byte) error {
	smallest := HeaderSize + 1
	if h.Compression != None {
		smallest += sizePrefix
	}
	switch {
	case b[posAttributes]&^compressionMask != 0 || binary.BigEndian.Uint16(b[posReserved:]) != 0:
		return protocol.Errorf(protocol.CodeUnsupported, "batch attributes %#02x, reserved %#04x: not known",
			b[posAttributes], binary.BigEndian.Uint16(b[posReserved:]))
	case h.Compression > S2:
		return protocol.Errorf(protocol.CodeUnsupported, "batch with %s", h.Compression)
	case int64(h.Length) < int64(smallest):
		return corrupt("batch length %d is below the least, %d", h.Length, smallest)
	case h.Length > protocol.MaxBatchBytesLimit:
		return protocol.Errorf(protocol.CodeBatchTooLarge, "batch of %d bytes, at most %d are allowed",
			h.Length, protocol.MaxBatchBytesLimit)
	case h.Count == 0 || h.Count > protocol.MaxBatchRecords:
		return corrupt("batch of %d records, 1 to %d are allowed", h.Count, protocol.MaxBatchRecords)
	case uint64(h.BaseSequence)+uint64(h.Count) < uint64(h.BaseSequence):
		return corrupt("sequences from %d on overflow", h.BaseSequence)
	case uint64(h.BaseOffset)+uint64(h.Count) < uint64(h.BaseOffset):
		return corrupt("offsets from %d on overflow", h.BaseOffset)
	}
	return nil
}

// Check checks that b is exactly one batch of at most limit bytes with both CRCs right. It never
// unpacks the payload: whether the records in it are well-formed is between producer and consumer.
func Check(b []byte, limit int) (Header, error) {
	if len(b) > limit {
		return Header{}, protocol.Errorf(protocol.CodeBatchTooLarge,
			"batch of %d bytes, at most %d are allowed", len(b), limit)
	}
	h, err := ParseHeader(b)
	if err != nil {
		return Header{}, err
	}
	if int64(h.Length) != int64(len(b)) {
		return Header{}, corrupt("batch length %d, but %d bytes are there", h.Length, len(b))
	}
	want, got := binary.BigEndian.Uint32(b[posBodyCRC:]), crc32.Checksum(b[posProducer:], castagnoli)
	if want != got {
		return Header{}, corrupt("body CRC is %08x, the header says %08x", got, want)
	}
	if n := unpackedSize(b, &h); n > protocol.MaxBatchBytesLimit {
		return Header{}, protocol.Errorf(protocol.CodeBatchTooLarge, "batch unpacks to %d bytes, at most %d are allowed",
			n, protocol.MaxBatchBytesLimit)
	}
	return h, nil
}

// unpackedSize returns what the payload claims to hold once unpacked.
func unpackedSize(b []byte, h *Header) uint64 {
	if h.Compression == None {
		return uint64(len(b) - HeaderSize)
	}
	return uint64(binary.BigEndian.Uint32(b[HeaderSize:]))
}

// Stamp writes where and when the batch was appended, in place. b is a batch or only its header.
func Stamp(b []byte, base protocol.Offset, epoch protocol.Epoch, appendTime int64) {
	be := binary.BigEndian
	be.PutUint64(b[posBaseOffset:], uint64(base))
	be.PutUint64(b[posEpoch:], uint64(epoch))
	be.PutUint64(b[posAppendTime:], uint64(appendTime))
	be.PutUint32(b[posStampCRC:], crc32.Checksum(b[:posStampCRC], castagnoli))
}

// Split cuts the first batch off a concatenation of batches. It checks the header, not the body.
func Split(b []byte) (first, rest []byte, err error) {
	h, err := ParseHeader(b)
	if err != nil {
		return nil, nil, err
	}
	if int64(h.Length) > int64(len(b)) {
		return nil, nil, corrupt("batch of %d bytes is cut off after %d", h.Length, len(b))
	}
	return b[:h.Length:h.Length], b[h.Length:], nil
}
