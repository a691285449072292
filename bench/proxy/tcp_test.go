package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newTCP(t *testing.T, cfg TCPConfig) *TCP {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	p, err := NewTCP(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp4", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	return c
}

// echoed sends something and waits for it to come back.
func echoed(t *testing.T, c net.Conn, n int) time.Duration {
	t.Helper()
	began := time.Now()
	out := bytes.Repeat([]byte("trunk"), n/5)
	go func() { _, _ = c.Write(out) }()
	in := make([]byte, len(out))
	_, err := io.ReadFull(c, in)
	require.NoError(t, err)
	require.True(t, bytes.Equal(out, in))
	return time.Since(began)
}

func TestTCPPassesBytesAndEnds(t *testing.T) {
	p := newTCP(t, TCPConfig{Target: echoTCP(t, "127.0.0.1:0").Addr().String()})
	c := dialTCP(t, p.Addr())
	echoed(t, c, 10<<20)
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "the target closes when it has read the end")
	require.EqualValues(t, 10<<20/5*5, p.Counts()["to_client_bytes"])
}

func TestTCPDelays(t *testing.T) {
	p := newTCP(t, TCPConfig{Target: echoTCP(t, "127.0.0.1:0").Addr().String()})
	way := Way{Delay: 50 * time.Millisecond, Jitter: 20 * time.Millisecond}
	require.NoError(t, p.Set(TCPSettings{Ways: Ways{way, way}}))
	c := dialTCP(t, p.Addr())
	require.GreaterOrEqual(t, echoed(t, c, 100), 60*time.Millisecond)
	// Bytes are under way together: it is a delay, not a wait for each piece.
	require.Less(t, echoed(t, c, 2<<20), 2*time.Second)
	require.Positive(t, p.Counts()["to_client_delayed"])
}

func TestTCPSharesARate(t *testing.T) {
	p := newTCP(t, TCPConfig{Target: echoTCP(t, "127.0.0.1:0").Addr().String()})
	require.NoError(t, p.Set(TCPSettings{BytesPerSecond: 1 << 20}))
	began := time.Now()
	one, two := dialTCP(t, p.Addr()), dialTCP(t, p.Addr())
	done := make(chan struct{})
	go func() { defer close(done); echoed(t, one, 128<<10) }()
	echoed(t, two, 128<<10)
	<-done
	took := time.Since(began)
	require.Greater(t, took, 220*time.Millisecond, "256 KiB at 1 MiB/s")
	require.Less(t, took, 2*time.Second)
}

func TestTCPStallsOneDirectionOfOneDialler(t *testing.T) {
	var who atomic.Int64
	p := newTCP(t, TCPConfig{
		Target: echoTCP(t, "127.0.0.1:0").Addr().String(),
		Who:    func(netip.AddrPort) int { return int(who.Add(1)) },
	})
	first := dialTCP(t, p.Addr())
	echoed(t, first, 10)
	second := dialTCP(t, p.Addr())
	echoed(t, second, 10)
	require.NoError(t, p.Set(TCPSettings{From: map[int]Ways{1: {ToClient: Way{Stall: true}}}}))
	_, err := first.Write([]byte("held"))
	require.NoError(t, err)
	require.NoError(t, first.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err = first.Read(make([]byte, 4))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	echoed(t, second, 10)
	require.NoError(t, p.Set(TCPSettings{}))
	require.NoError(t, first.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = io.ReadFull(first, make([]byte, 4))
	require.NoError(t, err, "the connection stays, and goes on")
	require.EqualValues(t, 1, p.Counts()["to_client_stalled"])
}

// TestTCPStallPushesBack writes into a stalled direction until nothing more is taken.
func TestTCPStallPushesBack(t *testing.T) {
	p := newTCP(t, TCPConfig{Target: echoTCP(t, "127.0.0.1:0").Addr().String()})
	require.NoError(t, p.Set(TCPSettings{Ways: Ways{ToTarget: Way{Stall: true}}}))
	c := dialTCP(t, p.Addr())
	require.NoError(t, c.(*net.TCPConn).SetWriteBuffer(64<<10))
	require.NoError(t, c.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
	n, err := c.Write(make([]byte, 64<<20))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Less(t, n, 2*windowBytes)
}

// TestTCPStallWithholdsTheEnd resets one end of a stalled connection: the other must not learn of it.
func TestTCPStallWithholdsTheEnd(t *testing.T) {
	accepted, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer accepted.Close()
	p := newTCP(t, TCPConfig{Target: accepted.Addr().String()})
	c := dialTCP(t, p.Addr())
	target, err := accepted.Accept()
	require.NoError(t, err)
	require.NoError(t, p.Set(TCPSettings{Ways: Ways{ToClient: Way{Stall: true}}}))
	abort(target.(*net.TCPConn))
	_, err = c.Write([]byte("to nobody"))
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(150*time.Millisecond)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, p.Set(TCPSettings{}))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it learns of the end with the end of the stall")
}

func TestTCPCuts(t *testing.T) {
	p := newTCP(t, TCPConfig{Target: echoTCP(t, "127.0.0.1:0").Addr().String()})
	c := dialTCP(t, p.Addr())
	echoed(t, c, 10)
	p.Cut(5)
	echoed(t, c, 10)
	p.Cut()
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
	echoed(t, dialTCP(t, p.Addr()), 10)
	require.EqualValues(t, 1, p.Counts()["cut"])
}

func TestTCPRefuses(t *testing.T) {
	p := newTCP(t, TCPConfig{Target: echoTCP(t, "127.0.0.1:0").Addr().String()})
	c := dialTCP(t, p.Addr())
	echoed(t, c, 10)
	require.NoError(t, p.Set(TCPSettings{Refuse: true}))
	_, err := net.Dial("tcp4", p.Addr())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	echoed(t, c, 10)
	require.NoError(t, p.Set(TCPSettings{}))
	echoed(t, dialTCP(t, p.Addr()), 10)
}

// TestTCPFrontDiesWithItsTarget lets the target go away and come back.
func TestTCPFrontDiesWithItsTarget(t *testing.T) {
	target := echoTCP(t, "127.0.0.1:0")
	p := newTCP(t, TCPConfig{Target: target.Addr().String()})
	echoed(t, dialTCP(t, p.Addr()), 10)
	require.NoError(t, target.Close())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp4", p.Addr())
		if err == nil {
			_ = c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	}, 5*time.Second, time.Millisecond)
	echoTCP(t, target.Addr().String())
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp4", p.Addr())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 5*time.Second, 5*time.Millisecond)
}

func TestTCPConnectionsAreBounded(t *testing.T) {
	p := newTCP(t, TCPConfig{Target: echoTCP(t, "127.0.0.1:0").Addr().String(), MaxConnections: 1})
	echoed(t, dialTCP(t, p.Addr()), 10)
	c, err := net.Dial("tcp4", p.Addr())
	if err == nil {
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.EqualValues(t, 1, p.Counts()["surplus"])
}

func TestDialledBy(t *testing.T) {
	l := echoTCP(t, "127.0.0.1:0")
	c := dialTCP(t, l.Addr().String())
	from, to := c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
	pid, err := DialledBy(from, to, []int{1, os.Getpid()})
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), pid)
	pid, err = DialledBy(from, to, []int{1})
	require.NoError(t, err)
	require.Zero(t, pid)
}
