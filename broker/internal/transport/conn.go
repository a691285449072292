package transport

import (
	"context"
	"io"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
)

// Conn is one client connection.
type Conn interface {
	// AcceptStream returns the next stream that the peer opened, in the order of their opening.
	AcceptStream(ctx context.Context) (Stream, error)
	// Context is done when the connection has ended.
	Context() context.Context
	RemoteAddr() net.Addr
	// Close ends the connection with a code for the peer. What is still on the way in either
	// direction is lost, so it is not the way to say a last word.
	Close(code protocol.Code, reason string) error
}

// Stream is one bidirectional stream that the peer opened.
type Stream interface {
	io.Reader
	io.Writer
	// Close sends what was written and then the end. The other direction goes on.
	Close() error
	// StopReading tells the peer that nothing more will be read.
	StopReading(code protocol.Code)
	// Reset gives up writing; what was written may be lost.
	Reset(code protocol.Code)
	// Release lets the peer open another stream in place of this one, once both directions are over.
	Release()
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
	// Prefer sends this stream's data before that of streams which are not preferred.
	Prefer()
	// Context is done when writing is over: after Close or Reset, or when the peer reads no more.
	Context() context.Context
}

// Source is where connections come from.
type Source interface {
	Accept(ctx context.Context) (Conn, error)
	Addr() net.Addr
	Close() error
}

var (
	_ Conn   = (*conn)(nil)
	_ Stream = (*stream)(nil)
	_ Source = (*Listener)(nil)
)

type conn struct {
	quic *quic.Conn
}

func (c *conn) AcceptStream(ctx context.Context) (Stream, error) {
	s, err := c.quic.AcceptStream(ctx)
	if err != nil {
		return nil, err
	}
	return &stream{s}, nil
}

func (c *conn) Context() context.Context { return c.quic.Context() }
func (c *conn) RemoteAddr() net.Addr     { return c.quic.RemoteAddr() }

func (c *conn) Close(code protocol.Code, reason string) error {
	return c.quic.CloseWithError(quic.ApplicationErrorCode(code), reason)
}

type stream struct {
	*quic.Stream
}

// mostUrgent is the highest of QUIC's eight urgencies; 3 is what streams begin with.
const mostUrgent = 0

func (s *stream) StopReading(code protocol.Code) { s.CancelRead(quic.StreamErrorCode(code)) }
func (s *stream) Reset(code protocol.Code)       { s.CancelWrite(quic.StreamErrorCode(code)) }
func (s *stream) Release()                       { s.ReleaseStreamCredit() }
func (s *stream) Prefer()                        { s.SetPriority(mostUrgent, false) }
