package transport_test

import (
	"context"
	"crypto/tls"
	"io"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/broker/internal/transport/transporttest"
	"github.com/trunkline/trunkline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo serves every stream of every connection by sending back what it reads.
func echo(t *testing.T, l *transport.Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() {
		for {
			c, err := l.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				for {
					s, err := c.AcceptStream(ctx)
					if err != nil {
						return
					}
					go func() {
						defer s.Release()
						_, _ = io.Copy(s, s)
						_ = s.Close()
					}()
				}
			}()
		}
	}()
}

func speak(t *testing.T, c *transporttest.Client) {
	t.Helper()
	s := c.Open(t)
	require.NoError(t, s.SetDeadline(time.Now().Add(10*time.Second)))
	_, err := s.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	b, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, "hello", string(b))
}

func TestStreams(t *testing.T) {
	server, client := transporttest.Certificates(t)
	l := transporttest.Listen(t, transport.Config{
		TLS: server, MaxStreams: 4, Registerer: prometheus.NewPedanticRegistry(),
	})
	echo(t, l)
	c := transporttest.Dial(t, l.Addr(), client)
	for range 20 { // more than may be open at once
		speak(t, c)
	}
}

// comeAndGo is a stranger who connects and leaves.
func comeAndGo(l *transport.Listener, conf *tls.Config) error {
	c, err := transporttest.TryDial(l.Addr(), conf)
	if err == nil {
		c.Hangup()
	}
	return err
}

func TestConnectionLimits(t *testing.T) {
	server, client := transporttest.Certificates(t)
	l := transporttest.Listen(t, transport.Config{TLS: server, MaxConnections: 3, MaxPerIP: 2})
	echo(t, l)
	a, b := transporttest.Dial(t, l.Addr(), client), transporttest.Dial(t, l.Addr(), client)
	speak(t, a) // also after a Retry, which handshakes need when half of the connections are in use
	speak(t, b)
	_, err := transporttest.TryDial(l.Addr(), client)
	require.True(t, transporttest.Refused(err), "%v", err)
	b.Hangup()
	require.Eventually(t, func() bool { return comeAndGo(l, client) == nil }, 5*time.Second, 10*time.Millisecond, "a place is free again")
}

// TestStrangersAreRationed: those who were connected before do not wait for them.
func TestStrangersAreRationed(t *testing.T) {
	server, client := transporttest.Certificates(t)
	l := transporttest.Listen(t, transport.Config{TLS: server, HandshakesPerSecond: 1})
	echo(t, l)
	tokens := quic.NewLRUTokenStore(1, 4)
	first, err := transporttest.TryDialKnown(l.Addr(), client, tokens)
	require.NoError(t, err)
	speak(t, first) // a token comes with the end of the handshake, before an answer
	first.Hangup()
	require.Eventually(t, func() bool { return transporttest.Refused(comeAndGo(l, client)) }, 5*time.Second, time.Millisecond, "two strangers in one second")
	again, err := transporttest.TryDialKnown(l.Addr(), client, tokens)
	require.NoError(t, err, "no stranger")
	speak(t, again)
	again.Hangup()
	require.Eventually(t, func() bool { return comeAndGo(l, client) == nil }, 5*time.Second, 100*time.Millisecond, "another second, another stranger")
}

// TestForgedAddressesKeepNobodyOut: who never answers gets half of the ration, and a stranger who does the rest.
func TestForgedAddressesKeepNobodyOut(t *testing.T) {
	server, client := transporttest.Certificates(t)
	l := transporttest.Listen(t, transport.Config{TLS: server, HandshakesPerSecond: 4})
	echo(t, l)
	for range 30 {
		transporttest.Knock(t, l.Addr(), client)
	}
	c := transporttest.Dial(t, l.Addr(), client)
	speak(t, c)
}

func TestApplicationProtocol(t *testing.T) {
	server, client := transporttest.Certificates(t)
	per := server.Clone()
	server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return per, nil }
	l := transporttest.Listen(t, transport.Config{TLS: server})
	echo(t, l)
	speak(t, transporttest.Dial(t, l.Addr(), client))
	other := client.Clone()
	other.NextProtos = []string{"trunkline/2"}
	_, err := transporttest.TryDial(l.Addr(), other)
	require.True(t, transporttest.IsTLS(err), "%v", err)
}

func TestRestartResetsLostConnections(t *testing.T) {
	server, client := transporttest.Certificates(t)
	key := transport.Key{1, 2, 3}
	cfg := transport.Config{TLS: server, ResetKey: &key, TokenKey: &key}
	l := transporttest.Listen(t, cfg)
	echo(t, l)
	c := transporttest.Dial(t, l.Addr(), client)
	speak(t, c)
	cfg.Listen = l.Addr().String()
	require.NoError(t, l.Close()) // without closing the connection: as a crash would
	require.NoError(t, l.Close())
	_, err := l.Accept(t.Context())
	require.ErrorIs(t, err, transport.ErrClosed)
	transporttest.Listen(t, cfg)
	s := c.Open(t)
	_, err = s.Write(make([]byte, protocol.MinPingBytes))
	require.NoError(t, err)
	require.NoError(t, s.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = io.ReadAll(s)
	require.True(t, transporttest.IsStatelessReset(err), "%v", err)
}

// Streams that nobody reads must leave room for the others.
func TestStalledStreamsDoNotStallOthers(t *testing.T) {
	server, client := transporttest.Certificates(t)
	l := transporttest.Listen(t, transport.Config{TLS: server})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := transporttest.Dial(t, l.Addr(), client)
	sc, err := l.Accept(ctx)
	require.NoError(t, err)
	for range 12 {
		s := c.Open(t)
		require.NoError(t, s.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
		_, err := s.Write(make([]byte, 8<<20)) // stays unread
		require.Error(t, err)
		_, err = sc.AcceptStream(ctx)
		require.NoError(t, err)
	}
	go func() {
		s, err := sc.AcceptStream(ctx)
		if err == nil {
			_, _ = io.Copy(s, s)
			_ = s.Close()
		}
	}()
	speak(t, c)
}

func TestClosePassesTheCode(t *testing.T) {
	server, client := transporttest.Certificates(t)
	l := transporttest.Listen(t, transport.Config{TLS: server})
	c := transporttest.Dial(t, l.Addr(), client)
	sc, err := l.Accept(t.Context())
	require.NoError(t, err)
	require.NoError(t, sc.Close(protocol.CodeHeartbeatLost, "silent"))
	<-c.Context().Done()
	code, ok := transporttest.CloseCode(context.Cause(c.Context()))
	require.True(t, ok)
	require.Equal(t, protocol.CodeHeartbeatLost, code)
}

func TestBadConfigs(t *testing.T) {
	server, _ := transporttest.Certificates(t)
	for _, cfg := range []transport.Config{
		{Listen: "127.0.0.1:0"},
		{Listen: "nowhere:http:s", TLS: server},
		{Listen: "127.0.0.1:0", TLS: server, MaxStreams: -1},
		{Listen: "127.0.0.1:0", TLS: server, StreamWindow: 1},
		{Listen: "127.0.0.1:0", TLS: server, StreamWindow: 1 << 20, ConnWindow: 4 << 20},
		{Listen: "127.0.0.1:0", TLS: server, ConnWindow: 16 << 20, ConnWindowNow: 32 << 20},
	} {
		_, err := transport.Listen(cfg)
		require.Error(t, err)
	}
}
