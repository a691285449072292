package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/udp"
)

// ErrClosed is returned by Accept after Close.
var ErrClosed = errors.New("transport: listener closed")

// received is a socket that quic-go reads by a receiver.
type received struct {
	*net.UDPConn
	*udp.Receiver
}

// Listener accepts client connections on one UDP socket.
type Listener struct {
	socket *net.UDPConn
	quic   *quic.Transport
	accept *quic.Listener
	gate   *gate
	growth atomic.Int64 // bytes that may still be given to growing windows
	close  func() error // once
}

// Listen binds the socket and begins to accept.
func Listen(cfg Config) (*Listener, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	addr, err := net.ResolveUDPAddr("udp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("transport: resolve %q: %w", cfg.Listen, err)
	}
	socket, err := net.ListenUDP("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("transport: listen on %q: %w", cfg.Listen, err)
	}
	l := &Listener{socket: socket, gate: newGate(cfg)}
	l.growth.Store(int64(cfg.GrowBudget))
	l.quic = &quic.Transport{
		Conn:                received{socket, udp.NewReceiver(socket)},
		ConnContext:         l.gate.admit,
		VerifySourceAddress: l.gate.mustProve,
	}
	if cfg.ResetKey != nil {
		l.quic.StatelessResetKey = (*quic.StatelessResetKey)(cfg.ResetKey)
	}
	if cfg.TokenKey != nil {
		l.quic.TokenGeneratorKey = (*quic.TokenGeneratorKey)(cfg.TokenKey)
	}
	l.accept, err = l.quic.Listen(serverTLS(cfg.TLS), l.quicConfig(cfg))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("transport: listen: %w", err), socket.Close())
	}
	l.close = sync.OnceValue(l.shut)
	return l, nil
}

func (l *Listener) quicConfig(cfg Config) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout:           cfg.HandshakeTimeout,
		MaxIdleTimeout:                 cfg.IdleTimeout,
		InitialStreamReceiveWindow:     uint64(min(cfg.StreamWindow, 256<<10)),
		MaxStreamReceiveWindow:         uint64(cfg.StreamWindow),
		InitialConnectionReceiveWindow: uint64(cfg.ConnWindowNow),
		MaxConnectionReceiveWindow:     uint64(cfg.ConnWindow),
		AllowConnectionWindowIncrease:  l.grow,
		MaxIncomingStreams:             int64(cfg.MaxStreams),
		MaxIncomingUniStreams:          -1,
		RequireStreamCreditRelease:     true,
	}
}

// grow grants a connection window more bytes out of the listener's budget and takes them back when
// the connection ends. It is called inside quic-go and must not call any method of conn that locks.
func (l *Listener) grow(conn *quic.Conn, delta uint64) bool {
	if l.growth.Add(-int64(delta)) < 0 {
		l.growth.Add(int64(delta))
		return false
	}
	context.AfterFunc(conn.Context(), func() { l.growth.Add(int64(delta)) })
	return true
}

// serverTLS returns c with Trunkline's application protocol, also where c is replaced per client.
func serverTLS(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.NextProtos = []string{protocol.ALPN}
	c.MinVersion = tls.VersionTLS13
	if perClient := c.GetConfigForClient; perClient != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			cc, err := perClient(hello)
			if cc != nil {
				cc = serverTLS(cc)
			}
			return cc, err
		}
	}
	return c
}

// Addr returns the address that is bound.
func (l *Listener) Addr() net.Addr { return l.socket.LocalAddr() }

// Accept returns the next connection whose handshake is done. Its caller must come back at once: only
// 32 finished handshakes wait, more are refused.
func (l *Listener) Accept(ctx context.Context) (Conn, error) {
	c, err := l.accept.Accept(ctx)
	if err != nil {
		if errors.Is(err, quic.ErrServerClosed) {
			return nil, ErrClosed
		}
		return nil, fmt.Errorf("transport: accept: %w", err)
	}
	return &conn{quic: c}, nil
}

// Close stops accepting and closes the socket. Connections must have been closed before: those left
// are dropped without a word to their peers.
func (l *Listener) Close() error { return l.close() }

func (l *Listener) shut() error {
	return errors.Join(l.accept.Close(), l.quic.Close(), l.socket.Close())
}
