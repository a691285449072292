package journal

import (
	"fmt"
	"io"

	pb "github.com/lni/dragonboat/v4/raftpb"
)

// scanBytes is what a scanner reads at once. Larger rounds are read by themselves.
const scanBytes = 1 << 20

// scanner reads the rounds of one file. Anything may be in it.
type scanner struct {
	f    *file
	size int64
	buf  []byte // the file's bytes from at on
	at   int64
}

func newScanner(f *file, buf []byte) (*scanner, error) {
	size, err := f.f.Size()
	if err != nil {
		return nil, err
	}
	return &scanner{f: f, size: size, buf: buf[:0]}, nil
}

// bytes returns n bytes at off until the next call. They are in the file: off+n <= size.
func (s *scanner) bytes(off, n int64) ([]byte, error) {
	if off >= s.at && off+n <= s.at+int64(len(s.buf)) {
		return s.buf[off-s.at : off-s.at+n], nil
	}
	b := s.buf[:0]
	if n > int64(cap(b)) {
		b = make([]byte, 0, n)
	} else {
		s.at = off
		s.buf = b[:min(int64(cap(b)), s.size-off)]
		b = s.buf
	}
	b = b[:max(n, int64(len(b)))]
	if got, err := s.f.f.ReadAt(b, off); got < len(b) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		s.buf = s.buf[:0]
		return nil, err
	}
	return b[:n], nil
}

// header reads the round header at off; ok is false when none was ever written whole there by this file's epoch.
func (s *scanner) header(off int64, epoch uint64) (h roundHeader, ok bool, err error) {
	room := s.size - off
	if room < roundHeaderBytes {
		return h, false, nil
	}
	b, err := s.bytes(off, roundHeaderBytes)
	if err != nil {
		return h, false, err
	}
	h, ok = parseRoundHeader(b, room)
	if !ok || h.file != s.f.id || h.epoch != epoch {
		return h, false, nil
	}
	if b, err = s.bytes(off, h.headersSize()); err != nil {
		return h, false, err
	}
	return h, h.valid(b), nil
}

// round reads the whole round at off. ok is false when a part of it is not what was written.
func (s *scanner) round(off int64, epoch uint64) (h roundHeader, records []record, ok bool, err error) {
	h, ok, err = s.header(off, epoch)
	if err != nil || !ok {
		return h, nil, false, err
	}
	b, err := s.bytes(off, roundHeaderBytes+int64(h.payload))
	if err != nil {
		return h, nil, false, err
	}
	return s.parse(off, h, b)
}

// parse reads the records of a round whose header is valid: then it is torn, or it makes sense.
func (s *scanner) parse(off int64, h roundHeader, b []byte) (roundHeader, []record, bool, error) {
	records := make([]record, h.records)
	pos := h.headersSize()
	for i := range records {
		rec := &records[i]
		var err error
		rec.recordHeader, err = parseRecordHeader(b[roundHeaderBytes+i*recordHeaderBytes:])
		if err == nil && int64(rec.length) > int64(len(b))-pos {
			err = fmt.Errorf("a record has %d bytes, %d are left", rec.length, int64(len(b))-pos)
		}
		if err != nil {
			return h, nil, false, s.damage(off, err.Error())
		}
		body := b[pos : pos+int64(rec.length)]
		if checksum(body) != rec.crc {
			return h, nil, false, nil
		}
		if err := rec.decode(body); err != nil {
			return h, nil, false, s.damage(off, err.Error())
		}
		rec.file, rec.offset = s.f, off+pos
		pos += int64(rec.length)
	}
	if pos != int64(len(b)) {
		return h, nil, false, s.damage(off, fmt.Sprintf("%d bytes follow the last record", int64(len(b))-pos))
	}
	return h, records, true, nil
}

// decode takes what the index keeps out of the body, and checks the rest.
func (rec *record) decode(body []byte) error {
	switch rec.typ {
	case recordEntries, recordRelocated:
		return checkEntries(body, rec.index, rec.count)
	case recordState:
		rec.state = parseState(body)
	case recordSnapshot:
		var s pb.Snapshot
		if err := s.Unmarshal(body); err != nil {
			return err
		}
		if s.Index != rec.index || s.Index == 0 {
			return fmt.Errorf("a snapshot has index %d, its record says %d", s.Index, rec.index)
		}
	case recordBootstrap:
		var info pb.Bootstrap
		if err := info.Unmarshal(body); err != nil {
			return err
		}
	}
	if rec.typ == recordSnapshot || rec.typ == recordBootstrap {
		rec.body = append(make([]byte, 0, len(body)), body...)
	}
	return nil
}

func (s *scanner) damage(off int64, reason string) error {
	return &CorruptionError{File: s.f.path, Offset: off, Reason: reason}
}
