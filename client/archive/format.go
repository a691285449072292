package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/trunkline/trunkline/protocol"
)

const (
	fileMagic       = "TLPART"
	fileVersion     = 1
	fileHeaderSize  = 24
	chunkMagic      = "CHK"
	chunkHeaderSize = 32
	// chunkBytes is what a chunk is filled to; only a single larger batch exceeds it.
	chunkBytes = 1 << 20
	// maxChunkBytes bounds a chunk, packed or not.
	maxChunkBytes = protocol.MaxBatchBytesLimit
)

// packing says how a chunk is stored. The numbers are the file format: never renumber.
type packing uint8

const (
	plain      packing = 0
	zstdPacked packing = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileHeader says whose file it is.
type fileHeader struct {
	export    uint64
	partition protocol.Partition
}

func (h fileHeader) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, fileMagic...)
	dst = binary.BigEndian.AppendUint16(dst, fileVersion)
	dst = binary.BigEndian.AppendUint64(dst, h.export)
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.partition))
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseFileHeader reads a header of fileHeaderSize bytes.
func parseFileHeader(b []byte) (fileHeader, error) {
	be := binary.BigEndian
	switch {
	case string(b[:6]) != fileMagic:
		return fileHeader{}, errors.New("not a partition's file of an export")
	case be.Uint32(b[20:]) != crc32.Checksum(b[:20], castagnoli):
		return fileHeader{}, errors.New("wrong checksum of the file header")
	case be.Uint16(b[6:]) != fileVersion:
		return fileHeader{}, fmt.Errorf("file version %d, this program reads version %d", be.Uint16(b[6:]), fileVersion)
	}
	return fileHeader{export: be.Uint64(b[8:]), partition: protocol.Partition(be.Uint32(b[16:]))}, nil
}

// chunkHeader stands before a chunk's stored bytes.
type chunkHeader struct {
	packing packing
	stored  uint32 // bytes that follow
	length  uint32 // of the batches
	records uint32
	first   protocol.Offset
	crc     uint32 // of the stored bytes
}

// next is the offset behind the last record.
func (h *chunkHeader) next() protocol.Offset { return h.first + protocol.Offset(h.records) }

func (h *chunkHeader) append(dst []byte) []byte {
	start := len(dst)
	dst = append(append(dst, chunkMagic...), byte(h.packing))
	for _, v := range []uint32{h.stored, h.length, h.records} {
		dst = binary.BigEndian.AppendUint32(dst, v)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.first))
	dst = binary.BigEndian.AppendUint32(dst, h.crc)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseChunkHeader reads a header of chunkHeaderSize bytes and refuses what no writer of version 1 writes.
func parseChunkHeader(b []byte) (chunkHeader, error) {
	be := binary.BigEndian
	h := chunkHeader{
		packing: packing(b[3]), stored: be.Uint32(b[4:]), length: be.Uint32(b[8:]), records: be.Uint32(b[12:]),
		first: protocol.Offset(be.Uint64(b[16:])), crc: be.Uint32(b[24:]),
	}
	switch {
	case string(b[:3]) != chunkMagic:
		return h, errors.New("no chunk begins here")
	case be.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli):
		return h, errors.New("wrong checksum of the chunk header")
	case h.packing > zstdPacked:
		return h, fmt.Errorf("packing %d is not known", h.packing)
	case h.stored > maxChunkBytes || h.length > maxChunkBytes:
		return h, fmt.Errorf("chunk of %d bytes, packed %d; %d are possible", h.length, h.stored, maxChunkBytes)
	case h.packing == plain && h.stored != h.length:
		return h, fmt.Errorf("chunk of %d bytes is not packed but stored as %d", h.length, h.stored)
	case h.records == 0 || h.next() < h.first:
		return h, fmt.Errorf("chunk of %d records from offset %d", h.records, h.first)
	}
	return h, nil
}
