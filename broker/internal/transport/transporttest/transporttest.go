// Package transporttest has what tests need at the other end of package transport: certificates and a client.
package transporttest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/protocol"
)

// Certificates returns TLS configurations of a server on localhost and of a client that trusts it.
func Certificates(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{protocol.ALPN}}
}

// Listen starts a listener on loopback that is closed with the test.
func Listen(t testing.TB, cfg transport.Config) *transport.Listener {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	l, err := transport.Listen(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// Client is a client's connection.
type Client struct {
	*quic.Conn
	tr     *quic.Transport
	socket *net.UDPConn
}

// Stream is a client's stream.
type Stream struct{ *quic.Stream }

// Dial connects and closes the connection with the test.
func Dial(t testing.TB, addr net.Addr, conf *tls.Config) *Client {
	t.Helper()
	c, err := TryDial(addr, conf)
	require.NoError(t, err)
	t.Cleanup(c.Hangup)
	return c
}

// TryDial connects as a stranger.
func TryDial(addr net.Addr, conf *tls.Config) (*Client, error) { return TryDialKnown(addr, conf, nil) }

// TryDialKnown connects with a token out of tokens, if there is one.
func TryDialKnown(addr net.Addr, conf *tls.Config, tokens quic.TokenStore) (*Client, error) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	c := &Client{tr: &quic.Transport{Conn: socket}, socket: socket}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c.Conn, err = c.tr.Dial(ctx, addr, conf, &quic.Config{
		MaxIdleTimeout: 20 * time.Second, InitialConnectionReceiveWindow: 16 << 20, MaxConnectionReceiveWindow: 16 << 20,
		MaxStreamReceiveWindow: 2 << 20, TokenStore: tokens,
	})
	if err != nil {
		_ = c.tr.Close()
		_ = socket.Close()
		return nil, err
	}
	return c, nil
}

// deaf is a socket that understands nothing, as that of somebody who forges another's address. heard is called when something comes.
type deaf struct {
	net.PacketConn
	heard context.CancelFunc
}

func (d deaf) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := d.PacketConn.ReadFrom(b)
		if err != nil {
			return n, from, err
		}
		d.heard()
	}
}

// Knock begins a handshake, does not go on with it whatever the answer is, and returns when there was one.
func Knock(t testing.TB, addr net.Addr, conf *tls.Config) {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	tr := &quic.Transport{Conn: deaf{socket, cancel}}
	_, err = tr.Dial(ctx, addr, conf, &quic.Config{})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, errors.Join(tr.Close(), socket.Close()))
}

// Hangup ends the connection in order.
func (c *Client) Hangup() {
	_ = c.CloseWithError(quic.ApplicationErrorCode(protocol.CodeClosing), "bye")
	c.Vanish()
}

// Vanish ends the client without a word.
func (c *Client) Vanish() {
	_ = c.tr.Close()
	_ = c.socket.Close()
}

// Open opens a stream. The peer sees it with the first byte.
func (c *Client) Open(t testing.TB) *Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := c.OpenStreamSync(ctx)
	require.NoError(t, err)
	return &Stream{s}
}

// Reset gives up both directions.
func (s *Stream) Reset() {
	s.CancelWrite(0)
	s.CancelRead(0)
}

// CloseCode returns the code with which the peer closed the connection.
func CloseCode(err error) (protocol.Code, bool) {
	var ae *quic.ApplicationError
	if errors.As(err, &ae) && ae.Remote {
		return protocol.Code(ae.ErrorCode), true
	}
	return 0, false
}

// ResetCode returns the code with which the peer reset a stream.
func ResetCode(err error) (protocol.Code, bool) {
	var se *quic.StreamError
	if errors.As(err, &se) && se.Remote {
		return protocol.Code(se.ErrorCode), true
	}
	return 0, false
}

// Refused reports whether the peer refused the connection.
func Refused(err error) bool {
	var te *quic.TransportError
	return errors.As(err, &te) && te.ErrorCode == quic.ConnectionRefused
}

// IsStatelessReset reports whether the peer said that it does not know the connection.
func IsStatelessReset(err error) bool {
	var re *quic.StatelessResetError
	return errors.As(err, &re)
}

// IsTLS reports whether the TLS handshake failed.
func IsTLS(err error) bool {
	var te *quic.TransportError
	return errors.As(err, &te) && te.ErrorCode.IsCryptoError()
}
