package frame

import (
	"errors"
	"io"
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

const (
	// smallBuffer is what an idle Reader holds: some hundred acks are read with one call.
	smallBuffer = 4 << 10
	// eagerBytes is how much of a claimed length is allocated before its bytes arrive.
	eagerBytes = 256 << 10
	// shrinkAfter is how many frames in a row must be small before a grown buffer is given back, so
	// that a stream of large frames with a few small ones between does not allocate each time.
	shrinkAfter = 64
	// keepBuffer is the most an idle Reader holds: a larger buffer lives for one frame only.
	keepBuffer = 1 << 20
	// maxEmptyReads is how many reads in a row may bring nothing.
	maxEmptyReads = 100
)

// Reader cuts a byte stream into frames.
type Reader struct {
	src    io.Reader
	only   []protocol.Kind       // kinds that may come, nil for all
	limits map[protocol.Kind]int // lower caps, nil until SetLimit
	buf    []byte                // buf[r:w] was read from src and not handed out
	r, w   int
	small  int // frames in a row that would have fitted smallBuffer
	err    error
}

// NewReader returns a Reader of src. It reads ahead: nothing else may read src.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src}
}

// SetLimit lowers the cap on bodies of kind k. A limit above the protocol's own has no effect.
func (r *Reader) SetLimit(k protocol.Kind, maxBody int) {
	if r.limits == nil {
		r.limits = make(map[protocol.Kind]int, 1)
	}
	r.limits[k] = maxBody
}

// Only refuses frames of all kinds but these, with CodeUnexpectedFrame and before their bodies come. Without it a peer
// can make the Reader hold a buffer for the largest frame of the protocol.
func (r *Reader) Only(kinds ...protocol.Kind) { r.only = kinds }

// Next returns the next frame. The body is valid until the following call of Next or NextOwned.
func (r *Reader) Next() (protocol.Kind, []byte, error) {
	h, err := r.header()
	if err != nil {
		return 0, nil, err
	}
	if err := r.fill(h.Length); err != nil {
		return 0, nil, r.fail(inside(err))
	}
	body := r.buf[r.r : r.r+h.Length : r.r+h.Length]
	r.r += h.Length
	return h.Kind, body, nil
}

// NextOwned returns the next frame with a body that belongs to the caller.
func (r *Reader) NextOwned() (protocol.Kind, []byte, error) {
	h, err := r.header()
	if err != nil {
		return 0, nil, err
	}
	body := make([]byte, min(h.Length, max(eagerBytes, r.w-r.r)))
	n := copy(body, r.buf[r.r:r.w])
	r.r += n
	for n < h.Length {
		if n == len(body) {
			grown := make([]byte, min(h.Length, 4*len(body)))
			copy(grown, body)
			body = grown
		}
		m, err := io.ReadFull(r.src, body[n:])
		n += m
		if err != nil {
			return 0, nil, r.fail(inside(err))
		}
	}
	return h.Kind, body, nil
}

// header consumes the next header and checks it.
func (r *Reader) header() (Header, error) {
	if r.err != nil {
		return Header{}, r.err
	}
	r.shrink()
	if err := r.fill(HeaderSize); err != nil {
		if r.w > r.r {
			err = inside(err)
		}
		return Header{}, r.fail(err)
	}
	h, err := ParseHeader(r.buf[r.r:r.w])
	if err != nil {
		return Header{}, r.fail(err)
	}
	if r.only != nil && !slices.Contains(r.only, h.Kind) {
		return Header{}, r.fail(protocol.Errorf(protocol.CodeUnexpectedFrame,
			"a %s frame where only %v may come", h.Kind, r.only))
	}
	if limit, ok := r.limits[h.Kind]; ok && h.Length > limit {
		return Header{}, r.fail(tooLarge(h.Kind, uint64(h.Length), limit))
	}
	r.r += HeaderSize
	if h.Length <= smallBuffer {
		r.small++
	} else {
		r.small = 0
	}
	return h, nil
}

// fill reads until buf[r:w] holds n bytes. The buffer grows at most to four times what has arrived.
func (r *Reader) fill(n int) error {
	for empty := 0; r.w-r.r < n; {
		if r.w == len(r.buf) || r.r == r.w || len(r.buf)-r.r < min(n, eagerBytes) {
			r.makeRoom(n)
		}
		m, err := r.src.Read(r.buf[r.w:])
		r.w += m
		if err != nil && r.w-r.r < n {
			return err
		}
		if m > 0 {
			empty = 0
		} else if empty++; empty == maxEmptyReads {
			return io.ErrNoProgress
		}
	}
	return nil
}

// makeRoom moves the unread bytes to the front of a buffer with room for more of n bytes.
func (r *Reader) makeRoom(n int) {
	have := r.w - r.r
	want := max(smallBuffer, min(n, max(eagerBytes, 4*have)))
	if len(r.buf) >= want {
		copy(r.buf, r.buf[r.r:r.w])
	} else {
		grown := make([]byte, want)
		copy(grown, r.buf[r.r:r.w])
		r.buf = grown
	}
	r.r, r.w = 0, have
}

// shrink gives a grown buffer back after a run of small frames, a huge one at once.
func (r *Reader) shrink() {
	if len(r.buf) <= smallBuffer || r.w-r.r > smallBuffer || (r.small < shrinkAfter && len(r.buf) <= keepBuffer) {
		return
	}
	small := make([]byte, smallBuffer)
	r.w = copy(small, r.buf[r.r:r.w])
	r.r, r.buf = 0, small
}

// fail makes err permanent.
func (r *Reader) fail(err error) error {
	r.err = err
	return err
}

// inside turns the end of the stream within a frame into io.ErrUnexpectedEOF.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
