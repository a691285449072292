package conn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

const (
	// idleTimeout ends a connection on which nothing was heard.
	idleTimeout = 1500 * time.Millisecond
	// maxPingEvery is the longest time between two pings; a broker may ask for more.
	maxPingEvery = 500 * time.Millisecond
	// silentPings is how many pings in a row may pass without a word of the broker. Pings are counted,
	// not time: a process that was stopped does not blame the broker for it.
	silentPings = 2
	// refusedDeadline is how long an answer may take when the port seems to be closed.
	refusedDeadline = 150 * time.Millisecond
	// openTimeout bounds the wait for the broker's stream limit.
	openTimeout = 3 * time.Second
	// maxStreamWindow is far above the credit of a subscription, and everything that arrives is read
	// at once, so neither window ever stops a stream.
	maxStreamWindow = 24 << 20
	maxConnWindow   = 128 << 20
)

// Errors that end a connection from this side.
var (
	ErrRefused  = errors.New("nobody listens at the broker's address")
	ErrSilent   = errors.New("the broker does not answer pings")
	ErrReplaced = errors.New("connection not needed any more")
)

// Events receives what a broker pushes. Calls come from the connection's goroutine in the order of the
// frames and must not block.
type Events interface {
	Metadata(c *Conn, m *wire.Metadata)
	Leaders(c *Conn, leaders []wire.Leader)
	GoAway(c *Conn, g *wire.GoAway)
}

// Config says who the client is.
type Config struct {
	TLS     *tls.Config // NextProtos is set by Dial, ServerName too if it is empty
	Name    string
	Version string
	Token   []byte
	Known   *Known // nil: a stranger at every dial
}

// Permanent reports whether a failed dial would fail again: certificates, versions, credentials.
func Permanent(err error) bool {
	var te *quic.TransportError
	if errors.As(err, &te) && te.ErrorCode.IsCryptoError() {
		return true
	}
	var ve *quic.VersionNegotiationError
	if errors.As(err, &ve) {
		return true
	}
	var pe *protocol.Error
	return errors.As(err, &pe) && !pe.Code.Retryable()
}

// Dial connects to the broker at addr, says hello and subscribes to metadata. Nothing is read or
// watched until Start. A refused packet ends the attempt at once.
func Dial(ctx context.Context, addr string, cfg *Config) (*Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &Conn{addr: addr, suspect: make(chan struct{}, 1), pongs: make(chan []byte, 4)}
	c.onRefused = func() { cancel(ErrRefused) }
	if err := c.dial(ctx, cfg); err != nil {
		c.release()
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	if err := c.hello(ctx, cfg); err != nil {
		_ = c.qc.CloseWithError(quic.ApplicationErrorCode(protocol.CodeClosing), "hello failed")
		c.release()
		return nil, fmt.Errorf("hello to %s: %w", addr, err)
	}
	c.mu.Lock()
	c.onRefused = c.hint
	c.mu.Unlock()
	c.done = c.qc.Context().Done()
	return c, nil
}

// refused is called by the socket.
func (c *Conn) refused() {
	c.mu.Lock()
	f := c.onRefused
	c.mu.Unlock()
	f()
}

// Start begins heartbeats and the delivery of events. It is called once, before Close.
func (c *Conn) Start(ev Events) {
	c.events = ev
	c.wg.Go(c.readControl)
	c.wg.Go(c.writeControl)
}

// dial makes the QUIC connection.
func (c *Conn) dial(ctx context.Context, cfg *Config) error {
	var err error
	if c.sock, err = openSocket(ctx, c.addr, c.refused); err != nil {
		return err
	}
	t := cfg.TLS.Clone()
	t.NextProtos = []string{protocol.ALPN}
	if t.ServerName == "" {
		if t.ServerName, _, err = net.SplitHostPort(c.addr); err != nil {
			return err
		}
	}
	c.tr = &quic.Transport{Conn: c.sock}
	q := quicConfig()
	if cfg.Known != nil {
		q.TokenStore = cfg.Known.at(c.addr)
	}
	c.qc, err = c.tr.Dial(ctx, c.sock.RemoteAddr(), t, q)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           5 * time.Second,
		MaxIdleTimeout:                 idleTimeout,
		InitialStreamReceiveWindow:     1 << 20,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: 8 << 20,
		MaxConnectionReceiveWindow:     maxConnWindow,
		MaxIncomingStreams:             -1,
		MaxIncomingUniStreams:          -1,
	}
}

// hello opens the control stream and introduces the client.
func (c *Conn) hello(ctx context.Context, cfg *Config) error {
	qs, err := c.qc.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { qs.CancelRead(0) })
	defer stop()
	qs.SetPriority(0, false)
	c.control = &Stream{qs: qs, conn: c, Reader: frame.NewReader(qs)}
	hello := &wire.Hello{
		ClientName: cfg.Name, ClientVersion: cfg.Version,
		MinVersion: protocol.MinVersion, MaxVersion: protocol.MaxVersion, Token: cfg.Token,
	}
	if err := c.control.WriteFrame(protocol.KindHello, hello); err != nil {
		return c.reason(ctx, err)
	}
	body, err := c.control.Expect(protocol.KindHelloOK)
	if err != nil {
		return c.reason(ctx, err)
	}
	if err := c.ok.Decode(body); err != nil {
		return err
	}
	if c.ok.Version < protocol.MinVersion || c.ok.Version > protocol.MaxVersion {
		return protocol.Errorf(protocol.CodeUnsupported, "broker chose version %d", c.ok.Version)
	}
	return c.control.WriteFrame(protocol.KindMetadataSubscribe, &wire.MetadataSubscribe{})
}

// reason prefers the context's end over what it caused, and what the broker said on closing over both.
func (c *Conn) reason(ctx context.Context, err error) error {
	var ae *quic.ApplicationError
	if cause := context.Cause(c.qc.Context()); errors.As(cause, &ae) && ae.Remote {
		return translate(cause)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
