package seglog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// scanner walks over the batches of a segment file. It is a value on one goroutine's stack: with a buffer given it
// allocates only for a batch that is longer, and for errors.
type scanner struct {
	f    storefs.File
	dir  string // with base, the name of the file for errors
	base protocol.Offset
	end  int64 // the bytes of the file that count

	buf    []byte // buf[:filled] are the bytes at window
	filled int
	window int64
}

// damage returns the error for what is wrong at pos.
func (s *scanner) damage(pos int64, format string, args ...any) error {
	return &CorruptionError{File: fileName(s.dir, s.base, logSuffix), Position: pos, Reason: fmt.Sprintf(format, args...)}
}

// at returns n bytes at pos; they are valid until the next call. pos+n is at most end.
func (s *scanner) at(pos int64, n int) ([]byte, error) {
	if pos >= s.window && pos+int64(n) <= s.window+int64(s.filled) {
		lo := int(pos - s.window)
		return s.buf[lo : lo+n], nil
	}
	if n > len(s.buf) {
		s.buf = make([]byte, n)
	}
	fill := int(min(int64(len(s.buf)), s.end-pos))
	s.window, s.filled = pos, 0
	if err := s.readAt(s.buf[:fill], pos); err != nil {
		return nil, err
	}
	s.filled = fill
	return s.buf[:n], nil
}

// header reads the header of the batch at pos, which must begin at offset want and end before the file does.
func (s *scanner) header(pos int64, want protocol.Offset) (batch.Header, error) {
	b, err := s.at(pos, int(min(batch.HeaderSize, s.end-pos)))
	if err != nil {
		return batch.Header{}, err
	}
	return s.parse(b, pos, want)
}

// body checks all of the batch at pos, whose header is h.
func (s *scanner) body(pos int64, h *batch.Header) error {
	b, err := s.at(pos, int(h.Length))
	if err != nil {
		return err
	}
	if _, err := batch.Check(b, protocol.MaxBatchBytesLimit); err != nil {
		return s.damage(pos, "%v", err)
	}
	return nil
}

// read appends the batches from the one at pos, which begins at offset, that begin below limit and fit into
// maxBytes, at least one, to dst, and checks them. It returns the offset after them. The scanner's own buffer is
// not used.
func (s *scanner) read(
	pos int64, offset, limit protocol.Offset, maxBytes int, dst []byte,
) ([]byte, protocol.Offset, error) {
	keep := len(dst)
	dst, err := s.fill(pos, int(min(int64(max(maxBytes, batch.HeaderSize)), s.end-pos)), keep, dst)
	if err != nil {
		return dst, 0, err
	}
	at := keep
	for offset < limit {
		if at > keep && len(dst)-at < batch.HeaderSize {
			break
		}
		h, err := s.parse(dst[at:], pos+int64(at-keep), offset)
		end := at + int(h.Length)
		if err == nil && end > len(dst) {
			if at > keep {
				break // does not fit, and is not the first
			}
			dst, err = s.fill(pos, int(h.Length), keep, dst)
		}
		if err == nil {
			if _, cerr := batch.Check(dst[at:end], protocol.MaxBatchBytesLimit); cerr != nil {
				err = s.damage(pos+int64(at-keep), "%v", cerr)
			}
		}
		if err != nil {
			if at > keep {
				break // what is good before it is read; the next read tells
			}
			return dst, 0, err
		}
		at, offset = end, h.Next()
	}
	return dst[:at], offset, nil
}

// fill makes dst[keep:] the n bytes at pos, those that are there already excepted.
func (s *scanner) fill(pos int64, n, keep int, dst []byte) ([]byte, error) {
	have := len(dst)
	dst = slices.Grow(dst, keep+n-have)[:keep+n]
	return dst, s.readAt(dst[have:], pos+int64(have-keep))
}

// readAt fills b from pos.
func (s *scanner) readAt(b []byte, pos int64) error {
	err := readFull(s.f, b, pos)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return s.damage(pos, "file ends early: %v", err)
	}
	if errors.Is(err, syscall.EIO) {
		return s.damage(pos, "the disk cannot read it: %v", err)
	}
	if err != nil {
		return fmt.Errorf("seglog: read segment: %w", err)
	}
	return nil
}

// parse reads the header at the beginning of b, which is at pos and must begin at offset want and end before the
// file does.
func (s *scanner) parse(b []byte, pos int64, want protocol.Offset) (batch.Header, error) {
	if left := s.end - pos; left < batch.HeaderSize {
		return batch.Header{}, s.damage(pos, "%d bytes where a batch header of %d should be", left, batch.HeaderSize)
	}
	h, err := batch.ParseHeader(b)
	if err != nil {
		return batch.Header{}, s.damage(pos, "%v", err)
	}
	if h.BaseOffset != want {
		return batch.Header{}, s.damage(pos, "batch begins at offset %d, %d is expected", h.BaseOffset, want)
	}
	if left := s.end - pos; int64(h.Length) > left {
		return batch.Header{}, s.damage(pos, "batch of %d bytes, only %d are left", h.Length, left)
	}
	return h, nil
}

// find walks from the batch at pos, which begins at offset, to the one k seeks. ok is false, and pos the end, when
// there is none.
func (s *scanner) find(pos int64, offset protocol.Offset, k key) (at int64, h batch.Header, ok bool, err error) {
	for pos < s.end {
		h, err = s.header(pos, offset)
		if err != nil {
			return 0, h, false, err
		}
		if k.found(&h) {
			return pos, h, true, nil
		}
		pos, offset = pos+int64(h.Length), h.Next()
	}
	return pos, h, false, nil
}

// progress is how far a scan of whole batches came.
type progress struct {
	pos  int64
	next protocol.Offset
	time int64 // append time of the last batch scanned, monotonic
}

// scan goes on from p over all batches that begin below stop, checks them (their bodies too with bodies set), and
// gives their positions to ix, if there is one. At the first damage it returns the error and how far it was good.
func (s *scanner) scan(p progress, stop protocol.Offset, bodies bool, ix *indexBuilder) (progress, error) {
	for p.pos < s.end && p.next < stop {
		h, err := s.header(p.pos, p.next)
		if err == nil && bodies {
			err = s.body(p.pos, &h)
		}
		if err == nil && h.Next() > stop {
			err = s.damage(p.pos, "batch of offsets %d to %d reaches over %d, where the checkpoint ends",
				h.BaseOffset, h.Next()-1, stop)
		}
		if err != nil {
			return p, err
		}
		p.time = max(p.time, h.AppendTime)
		if ix != nil {
			ix.add(p.pos, p.next, p.time)
		}
		p.pos, p.next = p.pos+int64(h.Length), h.Next()
	}
	return p, nil
}
