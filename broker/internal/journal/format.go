package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// Sizes and numbers on disk; see the drawings in the package's document. Never renumber.
const (
	blockBytes        = 4096
	fileHeaderBytes   = 80
	roundHeaderBytes  = 64
	recordHeaderBytes = 40
	stateBytes        = 24

	fileMagic     uint64 = 0x54524c4a57414c31 // "TRLJWAL1"
	roundMagic    uint32 = 0x54524c52         // "TRLR"
	formatVersion uint32 = 1
)

// recordType says what a record holds.
type recordType uint8

// The types of records. Never renumber.
const (
	recordEntries   recordType = 1 + iota // entries that follow, or replace, those known
	recordState                           // term, vote, commit
	recordSnapshot                        // the newest snapshot's metadata
	recordBootstrap                       // the replica exists here
	recordCompacted                       // entries up to an index are not needed
	recordRemoved                         // the replica is gone; what follows is of a new one
	recordRelocated                       // entries copied forward from an older file
	recordTypes
)

// Flags of records.
const (
	flagReset     uint8 = 1 << iota // entries, snapshot: the log that was known is void
	flagInstalled                   // snapshot: came from another replica; entries above its index are void
	flagsKnown    = flagReset | flagInstalled
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// padded rounds n up to whole blocks.
func padded(n int64) int64 { return (n + blockBytes - 1) &^ (blockBytes - 1) }

// journalID tells the files of one journal from those of any other.
type journalID [16]byte

// fileHeader begins each file.
type fileHeader struct {
	journal journalID
	worker  uint32
	first   bool // of its epoch
	id      uint64
	epoch   uint64 // counts the times that the WAL was opened
	start   uint64 // sequence number of the epoch's first round
}

// appendTo appends a whole block.
func (h *fileHeader) appendTo(b []byte) []byte {
	at := len(b)
	b = binary.BigEndian.AppendUint64(b, fileMagic)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint32(b, h.worker)
	b = append(b, h.journal[:]...)
	b = binary.BigEndian.AppendUint64(b, h.id)
	b = binary.BigEndian.AppendUint64(b, h.epoch)
	b = binary.BigEndian.AppendUint64(b, h.start)
	var first uint32
	if h.first {
		first = 1
	}
	b = binary.BigEndian.AppendUint32(b, first)
	b = append(b, make([]byte, fileHeaderBytes-4-(len(b)-at))...)
	b = binary.BigEndian.AppendUint32(b, checksum(b[at:]))
	return append(b, make([]byte, blockBytes-fileHeaderBytes)...)
}

func parseFileHeader(b []byte) (fileHeader, error) {
	if len(b) < fileHeaderBytes {
		return fileHeader{}, fmt.Errorf("the file header has %d bytes", len(b))
	}
	b = b[:fileHeaderBytes]
	be := binary.BigEndian
	switch {
	case be.Uint64(b) != fileMagic:
		return fileHeader{}, fmt.Errorf("the file does not begin as a journal file does")
	case be.Uint32(b[fileHeaderBytes-4:]) != checksum(b[:fileHeaderBytes-4]):
		return fileHeader{}, fmt.Errorf("the file header's checksum is wrong")
	case be.Uint32(b[8:]) != formatVersion:
		return fileHeader{}, fmt.Errorf("the file has format %d, this program knows %d", be.Uint32(b[8:]), formatVersion)
	}
	h := fileHeader{
		worker: be.Uint32(b[12:]),
		id:     be.Uint64(b[32:]),
		epoch:  be.Uint64(b[40:]),
		start:  be.Uint64(b[48:]),
		first:  be.Uint32(b[56:]) == 1,
	}
	copy(h.journal[:], b[16:])
	return h, nil
}

// roundHeader begins each round.
type roundHeader struct {
	file    uint64
	epoch   uint64
	seq     uint64
	durable uint64 // every round up to this one was durable when this one was written
	oldest  uint64 // the file with which recovery has to begin
	payload uint32 // bytes behind this header: record headers, then bodies
	records uint32
}

// put writes the header to b, whose record headers are there already.
func (h *roundHeader) put(b []byte) {
	be := binary.BigEndian
	be.PutUint32(b, roundMagic)
	be.PutUint32(b[4:], formatVersion)
	be.PutUint64(b[8:], h.file)
	be.PutUint64(b[16:], h.epoch)
	be.PutUint64(b[24:], h.seq)
	be.PutUint64(b[32:], h.durable)
	be.PutUint64(b[40:], h.oldest)
	be.PutUint32(b[48:], h.payload)
	be.PutUint32(b[52:], h.records)
	be.PutUint32(b[56:], 0)
	be.PutUint32(b[60:], h.checksum(b))
}

// checksum covers the header and the record headers, which hold the checksums of the bodies.
func (h *roundHeader) checksum(b []byte) uint32 {
	sum := checksum(b[:60])
	end := roundHeaderBytes + int(h.records)*recordHeaderBytes
	return crc32.Update(sum, castagnoli, b[roundHeaderBytes:end])
}

// size is what the round takes of a file.
func (h *roundHeader) size() int64 { return padded(roundHeaderBytes + int64(h.payload)) }

// headersSize is what must be there to check the header.
func (h *roundHeader) headersSize() int64 {
	return roundHeaderBytes + int64(h.records)*recordHeaderBytes
}

// parseRoundHeader reads the fixed part; whether it is one at all only the checksum tells. room is how much of the
// file is left.
func parseRoundHeader(b []byte, room int64) (roundHeader, bool) {
	be := binary.BigEndian
	if len(b) < roundHeaderBytes || be.Uint32(b) != roundMagic || be.Uint32(b[4:]) != formatVersion {
		return roundHeader{}, false
	}
	h := roundHeader{
		file:    be.Uint64(b[8:]),
		epoch:   be.Uint64(b[16:]),
		seq:     be.Uint64(b[24:]),
		durable: be.Uint64(b[32:]),
		oldest:  be.Uint64(b[40:]),
		payload: be.Uint32(b[48:]),
		records: be.Uint32(b[52:]),
	}
	fits := roundHeaderBytes+int64(h.payload) <= room && int64(h.records)*recordHeaderBytes <= int64(h.payload)
	return h, fits
}

// valid reports whether b, the header with the record headers, is what was written.
func (h *roundHeader) valid(b []byte) bool {
	return int64(len(b)) >= h.headersSize() && binary.BigEndian.Uint32(b[60:]) == h.checksum(b)
}

// nodeID names a replica.
type nodeID struct{ shard, replica uint64 }

// recordHeader describes one body of a round.
type recordHeader struct {
	typ    recordType
	flags  uint8
	length uint32 // of the body
	node   nodeID
	index  uint64 // entries, relocated: of the first one; snapshot, compacted: its index
	count  uint32 // entries
	crc    uint32 // of the body
}

func (h *recordHeader) put(b []byte) {
	be := binary.BigEndian
	b[0], b[1], b[2], b[3] = byte(h.typ), h.flags, 0, 0
	be.PutUint32(b[4:], h.length)
	be.PutUint64(b[8:], h.node.shard)
	be.PutUint64(b[16:], h.node.replica)
	be.PutUint64(b[24:], h.index)
	be.PutUint32(b[32:], h.count)
	be.PutUint32(b[36:], h.crc)
}

func putState(b []byte, s pb.State) {
	binary.BigEndian.PutUint64(b, s.Term)
	binary.BigEndian.PutUint64(b[8:], s.Vote)
	binary.BigEndian.PutUint64(b[16:], s.Commit)
}

// parseState reads stateBytes.
func parseState(b []byte) pb.State {
	return pb.State{
		Term:   binary.BigEndian.Uint64(b),
		Vote:   binary.BigEndian.Uint64(b[8:]),
		Commit: binary.BigEndian.Uint64(b[16:]),
	}
}

// parseRecordHeader checks what one header can tell by itself.
func parseRecordHeader(b []byte) (recordHeader, error) {
	be := binary.BigEndian
	h := recordHeader{
		typ: recordType(b[0]), flags: b[1],
		length: be.Uint32(b[4:]),
		node:   nodeID{be.Uint64(b[8:]), be.Uint64(b[16:])},
		index:  be.Uint64(b[24:]),
		count:  be.Uint32(b[32:]),
		crc:    be.Uint32(b[36:]),
	}
	switch {
	case h.typ == 0 || h.typ >= recordTypes || h.flags&^flagsKnown != 0 || b[2] != 0 || b[3] != 0:
		return h, fmt.Errorf("a record has type %d and flags %d, which this program does not know", h.typ, h.flags)
	case h.typ == recordState && h.length != stateBytes:
		return h, fmt.Errorf("a state has %d bytes", h.length)
	case h.typ == recordEntries || h.typ == recordRelocated:
		if h.count == 0 || h.index == 0 || h.index+uint64(h.count) < h.index {
			return h, fmt.Errorf("%d entries from %d on are no log", h.count, h.index)
		}
		if int64(h.count)*entryHeaderBytes > int64(h.length) {
			return h, fmt.Errorf("%d entries in %d bytes", h.count, h.length)
		}
	}
	return h, nil
}
