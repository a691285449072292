package conn

import (
	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Stream is one bidirectional stream. Its Reader belongs to one goroutine, Write to one other.
type Stream struct {
	*frame.Reader
	qs   *quic.Stream
	conn *Conn
}

// Write sends whole frames. It blocks while the broker does not read.
func (s *Stream) Write(b []byte) error {
	_, err := s.qs.Write(b)
	return s.conn.streamErr(err)
}

// WriteFrame sends one message.
func (s *Stream) WriteFrame(kind protocol.Kind, m interface{ Append([]byte) []byte }) error {
	return s.Write(wire.AppendFrame(nil, kind, m))
}

// Next reads the next frame; see frame.Reader.
func (s *Stream) Next() (protocol.Kind, []byte, error) {
	k, b, err := s.Reader.Next()
	return k, b, s.conn.streamErr(err)
}

// NextOwned reads the next frame into memory of the caller's own; see frame.Reader.
func (s *Stream) NextOwned() (protocol.Kind, []byte, error) {
	k, b, err := s.Reader.NextOwned()
	return k, b, s.conn.streamErr(err)
}

// Expect reads one frame that must be of the given kind. An error frame becomes its *protocol.Error.
func (s *Stream) Expect(kind protocol.Kind) ([]byte, error) {
	k, body, err := s.Next()
	if err != nil {
		return nil, err
	}
	if err := Unexpected(k, body, kind); err != nil {
		return nil, err
	}
	return body, nil
}

// Unexpected returns nil if the frame is of the wanted kind, what the broker says if it is an error
// frame, and CodeUnexpectedFrame otherwise.
func Unexpected(got protocol.Kind, body []byte, want protocol.Kind) error {
	switch got {
	case want:
		return nil
	case protocol.KindError:
		var e wire.Error
		if err := e.Decode(body); err != nil {
			return err
		}
		return e.Err()
	}
	return protocol.Errorf(protocol.CodeUnexpectedFrame, "broker sent %s, expected %s", got, want)
}

// CloseWrite tells the broker that nothing more will be sent. Not to be called during a Write.
func (s *Stream) CloseWrite() error { return s.conn.streamErr(s.qs.Close()) }

// Abort ends both directions at once; blocked calls return.
func (s *Stream) Abort() {
	s.qs.CancelRead(0)
	s.qs.CancelWrite(0)
}
