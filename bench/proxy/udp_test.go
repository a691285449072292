package proxy

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newUDP(t *testing.T, cfg UDPConfig) *UDP {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	u, err := NewUDP(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, u.Close()) })
	return u
}

func dialUDP(t *testing.T, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.Dial("udp4", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	enlarge(c.(*net.UDPConn))
	return c.(*net.UDPConn)
}

// numbered is a datagram of 100 bytes that says its number.
func numbered(n int) []byte {
	b := make([]byte, 100)
	binary.BigEndian.PutUint32(b, uint32(n))
	return b
}

// answers reads numbered datagrams until none comes for a while.
func answers(t *testing.T, c *net.UDPConn, quiet time.Duration) (got [][]byte) {
	t.Helper()
	buf := make([]byte, packetBytes)
	for {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(quiet)))
		n, err := c.Read(buf)
		if err != nil {
			return got
		}
		got = append(got, bytes.Clone(buf[:n]))
	}
}

func number(b []byte) int { return int(binary.BigEndian.Uint32(b)) }

const sent = 1000

// exchange sends numbered datagrams through a fresh proxy with these settings and returns the answers.
func exchange(t *testing.T, s UDPSettings) ([][]byte, map[string]int64) {
	t.Helper()
	target, _ := echoUDP(t)
	u := newUDP(t, UDPConfig{Target: target, Seed: 7})
	u.Set(s)
	c := dialUDP(t, u.Addr())
	for i := range sent {
		_, err := c.Write(numbered(i))
		require.NoError(t, err)
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	got := answers(t, c, 250*time.Millisecond)
	return got, u.Counts()
}

func TestUDPPassesEverythingInOrder(t *testing.T) {
	got, counts := exchange(t, UDPSettings{})
	require.Len(t, got, sent)
	for i, b := range got {
		require.Equal(t, numbered(i), b)
	}
	require.EqualValues(t, sent, counts["to_target_forwarded"])
	require.EqualValues(t, sent, counts["to_client_forwarded"])
}

func TestUDPLoses(t *testing.T) {
	got, counts := exchange(t, UDPSettings{ToTarget: Road{Loss: 0.2}, ToClient: Road{Loss: 0.1}})
	require.InDelta(t, 0.2*sent, counts["to_target_lost"], 60)
	require.InDelta(t, 0.08*sent, counts["to_client_lost"], 40)
	require.EqualValues(t, sent, int64(len(got))+counts["to_target_lost"]+counts["to_client_lost"])
}

func TestUDPDuplicates(t *testing.T) {
	got, counts := exchange(t, UDPSettings{ToClient: Road{Duplicate: 0.2}})
	require.InDelta(t, 0.2*sent, counts["to_client_duplicated"], 60)
	require.EqualValues(t, sent+counts["to_client_duplicated"], len(got))
}

func TestUDPReorders(t *testing.T) {
	got, counts := exchange(t, UDPSettings{ToTarget: Road{Reorder: 0.1}})
	require.Len(t, got, sent)
	overtaken, highest := int64(0), -1
	for _, b := range got {
		if number(b) < highest {
			overtaken++
		}
		highest = max(highest, number(b))
	}
	require.InDelta(t, 0.1*sent, counts["to_target_reordered"], 50)
	// The last ones have nobody behind them.
	require.InDelta(t, counts["to_target_reordered"], overtaken, 40)
}

func TestUDPCorrupts(t *testing.T) {
	got, counts := exchange(t, UDPSettings{ToClient: Road{Corrupt: 0.3}})
	require.Len(t, got, sent)
	damaged := int64(0)
	for i, b := range got {
		flipped := 0
		for at, want := range numbered(i) {
			flipped += bits.OnesCount8(b[at] ^ want)
		}
		require.LessOrEqual(t, flipped, 8)
		if flipped > 0 {
			damaged++
		}
	}
	require.InDelta(t, 0.3*sent, damaged, 70)
	require.Equal(t, counts["to_client_corrupted"], damaged)
}

func TestUDPDelaysInOrder(t *testing.T) {
	target, _ := echoUDP(t)
	u := newUDP(t, UDPConfig{Target: target})
	u.Set(UDPSettings{ToTarget: Road{Delay: 60 * time.Millisecond, Jitter: 30 * time.Millisecond}})
	c := dialUDP(t, u.Addr())
	began := time.Now()
	for i := range 200 {
		_, err := c.Write(numbered(i))
		require.NoError(t, err)
	}
	buf := make([]byte, packetBytes)
	_, err := c.Read(buf)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)
	require.Zero(t, number(buf))
	u.Set(UDPSettings{}) // those that come now must not overtake those that wait
	for i := range 100 {
		_, err := c.Write(numbered(200 + i))
		require.NoError(t, err)
	}
	got := answers(t, c, 250*time.Millisecond)
	require.Len(t, got, 299)
	for i, b := range got {
		require.Equal(t, i+1, number(b))
	}
}

func TestUDPQueueIsBounded(t *testing.T) {
	target, _ := echoUDP(t)
	u := newUDP(t, UDPConfig{Target: target, QueueBytes: 1000})
	u.Set(UDPSettings{ToTarget: Road{Delay: 100 * time.Millisecond}})
	c := dialUDP(t, u.Addr())
	for i := range 50 {
		_, err := c.Write(numbered(i))
		require.NoError(t, err)
	}
	require.Len(t, answers(t, c, 300*time.Millisecond), 10)
	require.EqualValues(t, 40, u.Counts()["to_target_overflowed"])
	u.Set(UDPSettings{})
	_, err := c.Write(numbered(1))
	require.NoError(t, err)
	require.Len(t, answers(t, c, 100*time.Millisecond), 1, "what was dropped does not block the others")
}

func TestUDPBlackholesOneDirection(t *testing.T) {
	got, counts := exchange(t, UDPSettings{ToClient: Road{Blackhole: true}})
	require.Empty(t, got)
	require.EqualValues(t, sent, counts["to_target_forwarded"])
	require.EqualValues(t, sent, counts["to_client_blackholed"])
}

func TestUDPRebinds(t *testing.T) {
	target, from := echoUDP(t)
	u := newUDP(t, UDPConfig{Target: target})
	c := dialUDP(t, u.Addr())
	ping := func() string {
		_, err := c.Write(numbered(1))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, err = c.Read(make([]byte, packetBytes))
		require.NoError(t, err)
		return <-from
	}
	first := ping()
	require.Equal(t, first, ping())
	require.NoError(t, u.Rebind(""))
	second := ping()
	require.NotEqual(t, first, second)
	require.NoError(t, u.Rebind("127.0.0.9"))
	host, _, err := net.SplitHostPort(ping())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.9", host)
	require.EqualValues(t, 2, u.Counts()["rebound"])
}

func TestUDPForgetsTheIdlestClient(t *testing.T) {
	target, _ := echoUDP(t)
	u := newUDP(t, UDPConfig{Target: target, MaxClients: 2})
	var clients []*net.UDPConn
	for i := range 3 {
		c := dialUDP(t, u.Addr())
		clients = append(clients, c)
		_, err := c.Write(numbered(i))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
		_, err = c.Read(make([]byte, packetBytes))
		require.NoError(t, err)
	}
	require.EqualValues(t, 1, u.Counts()["evicted"])
	_, err := clients[0].Write(numbered(0))
	require.NoError(t, err)
	require.Len(t, answers(t, clients[0], 100*time.Millisecond), 1, "it comes back as a new client")
	require.EqualValues(t, 4, u.Counts()["clients"])
}

func TestFateFollowsFromTheSeed(t *testing.T) {
	road := Road{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, Corrupt: 0.1, Delay: time.Second, Jitter: time.Second}
	fates := func(seed, client uint64) (all []fate) {
		l, now := newLane(seed, client, ToClient), time.Unix(0, 0)
		for range 100 {
			all = append(all, l.next(&road, now))
		}
		return all
	}
	require.Equal(t, fates(1, 2), fates(1, 2))
	require.NotEqual(t, fates(1, 2), fates(2, 2))
	require.NotEqual(t, fates(1, 2), fates(1, 3))
}

// BenchmarkUDP is the proxy's own speed: datagrams of 1200 bytes there, and back.
func BenchmarkUDP(b *testing.B) {
	target, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(b, err)
	enlarge(target)
	defer target.Close()
	u, err := NewUDP(UDPConfig{Listen: "127.0.0.1:0", Target: target.LocalAddr().String()})
	require.NoError(b, err)
	defer u.Close()
	c, err := net.Dial("udp4", u.Addr())
	require.NoError(b, err)
	defer c.Close()
	window := make(chan struct{}, 256)
	datagram, buf := make([]byte, 1200), make([]byte, packetBytes)
	go func() {
		for range b.N {
			window <- struct{}{}
			_, _ = c.Write(datagram)
		}
	}()
	b.ResetTimer()
	for range b.N {
		if _, err := target.Read(buf); err != nil {
			b.Fatal(err)
		}
		<-window
	}
}
