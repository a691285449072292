package journal

import (
	"encoding/binary"
	"fmt"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// entryHeaderBytes is what an entry takes beside its command. Its index is not stored: it is the record's index plus
// the entry's place.
const entryHeaderBytes = 48

// noCommand marks an entry whose command is nil, in the type's highest bit: nil and empty stay apart.
const noCommand uint32 = 1 << 31

// entriesSize is the length of the entries' body.
func entriesSize(entries []pb.Entry) int64 {
	size := int64(len(entries)) * entryHeaderBytes
	for i := range entries {
		size += int64(len(entries[i].Cmd))
	}
	return size
}

// putEntries writes the entries to b, which has entriesSize bytes.
func putEntries(b []byte, entries []pb.Entry) {
	be := binary.BigEndian
	for i := range entries {
		e := &entries[i]
		typ := uint32(e.Type)
		if e.Cmd == nil {
			typ |= noCommand
		}
		be.PutUint32(b, uint32(len(e.Cmd)))
		be.PutUint32(b[4:], typ)
		be.PutUint64(b[8:], e.Term)
		be.PutUint64(b[16:], e.Key)
		be.PutUint64(b[24:], e.ClientID)
		be.PutUint64(b[32:], e.SeriesID)
		be.PutUint64(b[40:], e.RespondedTo)
		copy(b[entryHeaderBytes:], e.Cmd)
		b = b[entryHeaderBytes+len(e.Cmd):]
	}
}

// entryReader walks through a body. index is that of the entry that next returns.
type entryReader struct {
	body  []byte
	index uint64
	left  uint32
}

// next reads one entry. Its command is the body's; it must be copied by whoever keeps it.
func (r *entryReader) next(e *pb.Entry) error {
	if r.left == 0 || len(r.body) < entryHeaderBytes {
		return fmt.Errorf("entry %d is missing", r.index)
	}
	be, b := binary.BigEndian, r.body
	length, typ := be.Uint32(b), be.Uint32(b[4:])
	if int64(length) > int64(len(b))-entryHeaderBytes {
		return fmt.Errorf("entry %d has %d bytes, %d are there", r.index, length, len(b)-entryHeaderBytes)
	}
	e.Type = pb.EntryType(typ &^ noCommand)
	e.Index = r.index
	e.Term = be.Uint64(b[8:])
	e.Key = be.Uint64(b[16:])
	e.ClientID = be.Uint64(b[24:])
	e.SeriesID = be.Uint64(b[32:])
	e.RespondedTo = be.Uint64(b[40:])
	e.Cmd = b[entryHeaderBytes : entryHeaderBytes+length : entryHeaderBytes+length]
	if typ&noCommand != 0 {
		e.Cmd = nil
	}
	r.body = b[entryHeaderBytes+length:]
	r.index++
	r.left--
	return nil
}

// checkEntries finds out whether body is count entries and nothing else.
func checkEntries(body []byte, first uint64, count uint32) error {
	r := entryReader{body: body, index: first, left: count}
	var e pb.Entry
	for r.left > 0 {
		if err := r.next(&e); err != nil {
			return err
		}
	}
	if len(r.body) > 0 {
		return fmt.Errorf("%d bytes follow the last entry", len(r.body))
	}
	return nil
}

// cutEntries returns the part of body with the entries low to high. It is there; see checkEntries.
func cutEntries(body []byte, first, low, high uint64) ([]byte, error) {
	r := entryReader{body: body, index: first, left: uint32(high - first + 1)}
	var e pb.Entry
	begin := 0
	for r.index <= high {
		if r.index == low {
			begin = len(body) - len(r.body)
		}
		if err := r.next(&e); err != nil {
			return nil, err
		}
	}
	return body[begin : len(body)-len(r.body)], nil
}
