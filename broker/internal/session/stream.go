package session

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	// maxAckMessage and maxErrorMessage keep frames that carry a message below their kinds' caps.
	maxAckMessage   = 512
	maxErrorMessage = 4 << 10
)

// stream is a transport stream with deadlines that cannot be undone once the connection is to end.
type stream struct {
	transport.Stream
	writeTimeout time.Duration
	metrics      *metrics
	head         [frame.HeaderSize]byte // owned by the reader

	written atomic.Bool // writing is over: closed or reset

	mu  sync.Mutex
	cut bool // reading is over for good; guarded by mu
}

// Close sends what was written and then the end.
func (s *stream) Close() error {
	s.written.Store(true)
	return s.Stream.Close()
}

// Reset gives up writing.
func (s *stream) Reset(code protocol.Code) {
	s.written.Store(true)
	s.Stream.Reset(code)
}

// Release ends what its handler, which must have returned, left open in either direction, and lets the peer open another stream. A
// direction that ended by a deadline, or because the peer gave it up, goes on counting until somebody ends it on this side too.
func (s *stream) Release() {
	if !s.written.Load() {
		s.Reset(protocol.CodeClosing)
	}
	s.StopReading(protocol.CodeClosing)
	s.Stream.Release()
}

var longAgo = time.Unix(1, 0)

// readBy sets the deadline for reading; zero means none.
func (s *stream) readBy(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.cut {
		_ = s.SetReadDeadline(t) // fails only on streams that are over, and then reading says so
	}
}

// cutReading makes every read fail from now on.
func (s *stream) cutReading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = true
	_ = s.SetReadDeadline(longAgo) // as above
}

// header reads the header of the next frame and not one byte more. io.EOF means that there is none.
func (s *stream) header() (frame.Header, error) {
	if _, err := io.ReadFull(s, s.head[:]); err != nil {
		return frame.Header{}, err
	}
	return frame.ParseHeader(s.head[:])
}

// write writes b or gives the stream up: a peer that takes nothing for writeTimeout is not served.
func (s *stream) write(b []byte) error {
	for {
		_ = s.SetWriteDeadline(time.Now().Add(s.writeTimeout)) // as in readBy
		n, err := s.Write(b)
		if err == nil {
			return nil
		}
		if b = b[n:]; n == 0 || !isTimeout(err) {
			if isTimeout(err) {
				s.metrics.refused(protocol.CodeTimeout)
			}
			s.Reset(protocol.CodeTimeout)
			return err
		}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// writeFrame writes one frame.
func (s *stream) writeFrame(k protocol.Kind, m interface{ Append([]byte) []byte }) error {
	return s.write(wire.AppendFrame(nil, k, m))
}

// end sends the end of the stream and reads no more.
func (s *stream) end(code protocol.Code) {
	_ = s.Close() // fails only if the stream is over already
	s.StopReading(code)
}

// fail says why the stream ends and ends it.
func (s *stream) fail(err *protocol.Error) {
	if s.write(appendError(nil, err)) == nil {
		s.end(err.Code)
		return
	}
	s.StopReading(err.Code)
}

func appendError(dst []byte, err *protocol.Error) []byte {
	return wire.AppendFrame(dst, protocol.KindError, &wire.Error{
		Code: err.Code, Message: clip(err.Message, maxErrorMessage), Leader: err.Leader, Epoch: err.Epoch,
	})
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n-3] + "..."
}

// readError returns what to tell the peer about an error of reading, or nil if there is nobody to tell: the
// peer ended or reset the stream, or the connection is gone.
func readError(err error) *protocol.Error {
	var pe *protocol.Error
	switch {
	case errors.As(err, &pe):
		return pe
	case errors.Is(err, io.ErrUnexpectedEOF):
		return protocol.Errorf(protocol.CodeInvalidRequest, "the stream ended inside a frame")
	case isTimeout(err):
		return protocol.Errorf(protocol.CodeTimeout, "the rest of a frame did not come in time")
	}
	return nil
}

// asError returns err as what the peer is told.
func asError(err error) *protocol.Error {
	e := wire.ErrorFrom(err)
	return e.Err()
}
