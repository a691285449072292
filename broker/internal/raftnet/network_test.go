package raftnet

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/protocol"
)

func TestMessagesTravelOnTwoLanes(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	conn := bs[0].conn(t, Target(2))
	batch := batchOf(heartbeat(1), replicate(5, 100<<10), heartbeat(2))
	batch.SourceAddress = Target(1)
	require.NoError(t, conn.SendMessageBatch(batch))
	got := map[pb.MessageType]pb.MessageBatch{}
	for range 2 {
		b := recv(t, bs[1].messages)
		got[b.Requests[0].Type] = b
		require.Equal(t, Target(1), b.SourceAddress)
		require.Equal(t, uint64(testCluster), b.DeploymentId)
	}
	require.Len(t, got[pb.Heartbeat].Requests, 2)
	require.Len(t, got[pb.Replicate].Requests[0].Entries[0].Cmd, 100<<10)
	conn.Close()
	require.NoError(t, conn.SendMessageBatch(batchOf()))
	require.NoError(t, bs[0].conn(t, Target(9)).SendMessageBatch(batch), "an unknown broker is no error")
}

func TestWhatWouldMakeDragonboatPanicIsRemoved(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	batch := batchOf(
		pb.Message{Type: pb.Heartbeat, ShardID: 7, From: 1}, // to nobody
		pb.Message{Type: pb.Election, ShardID: 7, From: 1, To: 2},
		pb.Message{Type: pb.InstallSnapshot, ShardID: 7, From: 1, To: 2},
		heartbeat(9))
	batch.SourceAddress = Target(3)
	require.NoError(t, bs[0].conn(t, Target(2)).SendMessageBatch(batch))
	b := recv(t, bs[1].messages)
	require.Empty(t, b.SourceAddress)
	require.Len(t, b.Requests, 1)
	require.Equal(t, uint64(9), b.Requests[0].Commit)
}

func TestDeliver(t *testing.T) {
	c := newCluster(t, 1)
	b := c.start(c.config(1, 1))
	b.Deliver(pb.MessageBatch{Requests: []pb.Message{{Type: pb.TimeoutNow, ShardID: 3, To: 1, From: 1, Term: 4}}})
	got := recv(t, b.messages)
	require.Equal(t, uint64(testCluster), got.DeploymentId)
	require.NotZero(t, got.BinVer)
	require.NoError(t, b.tr.Close())
	b.Deliver(got)
	require.Empty(t, b.messages, "nothing after Close")
}

func TestHandshakeRefusals(t *testing.T) {
	c := newCluster(t, 3)
	cfg := c.config(1, 1)
	cfg.CheckPeer = func(h PeerHello) *Reject {
		if h.DirID != dirID(h.Broker) {
			return &Reject{RejectWipedDirectory, "not the directory it registered with"}
		}
		return nil
	}
	one := c.start(cfg)
	cases := map[string]struct {
		change func(*Config)
		want   RejectCode
	}{
		"foreign cluster": {func(cfg *Config) { cfg.ClusterID++ }, RejectForeignCluster},
		"wiped directory": {func(cfg *Config) { cfg.DirID[3] = 9 }, RejectWipedDirectory},
		"other's name":    {func(cfg *Config) { cfg.TLS = c.source(pki.BrokerName(3)) }, RejectCertificate},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := c.config(2, 1)
			tc.change(&cfg)
			two := c.start(cfg)
			r := recv(t, two.rejected)
			require.Equal(t, tc.want, r.Code)
			require.NotEmpty(t, r.Reason)
			require.NoError(t, two.Close())
			one.quietAbout(t, "up 2.1")
		})
	}
	t.Run("foreign authority", func(t *testing.T) {
		cfg := c.config(2, 1)
		var err error
		cfg.TLS, err = newTestSource(t.TempDir(), pki.BrokerName(2))
		require.NoError(t, err)
		two := c.start(cfg)
		_, r, err := two.Probe(context.Background(), c.addrs[1])
		require.Nil(t, r)
		require.ErrorContains(t, err, "certificate")
		require.NoError(t, two.Close())
		one.quietAbout(t, "up 2.1")
	})
	t.Run("accepted", func(t *testing.T) {
		c.start(c.config(2, 2))
		for recv(t, one.events) != "up 2.2" {
			continue
		}
	})
}

// TestSomebodyElseAtAPeersAddress says nothing about this broker, whatever he says.
func TestSomebodyElseAtAPeersAddress(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"of this cluster": func(*Config) {},
		"of another":      func(cfg *Config) { cfg.ClusterID++ },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 3)
			cfg := c.config(1, 1)
			change(&cfg)
			c.start(cfg)
			cfg = c.config(2, 1)
			cfg.Peers = map[protocol.BrokerID]string{3: c.addrs[1]}
			two := c.start(cfg)
			require.Eventually(t, func() bool { return testutil.ToFloat64(two.met.dials.WithLabelValues("3", "unwanted")) > 0 }, soon, time.Millisecond)
			require.Empty(t, two.rejected)
		})
	}
}

// quietAbout drains what was reported, and fails if event was.
func (b *testBroker) quietAbout(t *testing.T, event string) {
	t.Helper()
	for {
		select {
		case e := <-b.events:
			require.NotEqual(t, event, e)
		default:
			return
		}
	}
}

func TestProbeWorksBeforeStart(t *testing.T) {
	c := newCluster(t, 2)
	one, err := New(c.config(1, 1))
	require.NoError(t, err)
	defer func() { require.NoError(t, one.Close()) }()
	two, err := New(c.config(2, 1))
	require.NoError(t, err)
	defer func() { require.NoError(t, two.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	h, r, err := two.Probe(ctx, c.addrs[1])
	require.NoError(t, err)
	require.Nil(t, r)
	require.Equal(t, one.me(), h)

	cfg := c.config(2, 1)
	cfg.Listener, cfg.Listen, cfg.ClusterID = nil, "127.0.0.1:0", 5
	foreign, err := New(cfg)
	require.NoError(t, err)
	h, r, err = foreign.Probe(ctx, c.addrs[1])
	require.NoError(t, err)
	require.Equal(t, RejectForeignCluster, r.Code)
	require.Equal(t, protocol.BrokerID(1), h.Broker)
	require.NoError(t, foreign.Close())
	_, _, err = foreign.Probe(ctx, c.addrs[1])
	require.Error(t, err, "after Close")
}

func TestAResetIsNoDeath(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	bs[0].expect(t, "up 2.1")
	for range 5 {
		// All connections at once, as a reset of the network would.
		bs[1].mu.Lock()
		bs[1].Network.mu.Lock()
		for s := range bs[1].conns {
			_ = s.Close()
		}
		bs[1].Network.mu.Unlock()
		bs[1].mu.Unlock()
		conn := bs[0].conn(t, Target(2))
		eventually(t, func() bool {
			require.NoError(t, conn.SendMessageBatch(batchOf(heartbeat(1), replicate(1, 10))))
			return len(bs[1].messages) > 3
		})
		for len(bs[1].messages) > 0 {
			<-bs[1].messages
		}
		c.waitLinks(bs[0])
		c.waitLinks(bs[1])
	}
	bs[0].quiet(t)
}

func TestADeathIsSeenAtOnceAndARestartToo(t *testing.T) {
	c := newCluster(t, 3)
	bs := c.startAll()
	for range 2 {
		recv(t, bs[0].events)
		recv(t, bs[2].events)
	}
	began := time.Now()
	require.NoError(t, bs[1].Close())
	bs[0].expect(t, "down 2.1")
	bs[2].expect(t, "down 2.1")
	t.Logf("noticed after %v", time.Since(began))
	require.Less(t, time.Since(began), 50*time.Millisecond*raceFactor)

	began = time.Now()
	again := c.start(c.config(2, 2))
	bs[0].expect(t, "up 2.2")
	bs[2].expect(t, "up 2.2")
	t.Logf("met again after %v", time.Since(began))
	c.waitLinks(again)
	c.waitLinks(bs[0])

	// And a restart so fast that nobody may have been refused in between.
	for life := byte(3); life < 8; life++ {
		cfg := c.config(2, life)
		require.NoError(t, again.Close())
		again = c.start(cfg)
		bs[0].expect(t, "down 2."+string('0'+life-1), "up 2."+string('0'+life))
		bs[2].expect(t, "down 2."+string('0'+life-1), "up 2."+string('0'+life))
		c.waitLinks(bs[0])
	}
	bs[0].quiet(t)
	bs[2].quiet(t)
}

func TestNobodyThereIsToldOnce(t *testing.T) {
	c := newCluster(t, 2)
	require.NoError(t, c.first[2].Close())
	one := c.start(c.config(1, 1))
	one.expect(t, "down 2.0")
	delete(c.first, 2)
	c.start(c.config(2, 1))
	one.expect(t, "up 2.1")
}

func TestABlackHoleBlocksNothingAndIsNoDeath(t *testing.T) {
	c := newCluster(t, 2)
	require.NoError(t, c.first[2].Close())
	c.addrs[2] = hole(t).Addr().String()
	cfg := c.config(1, 1)
	cfg.QueueBytes = 1 << 20
	one := c.start(cfg)
	conn := one.conn(t, Target(2))
	began := time.Now()
	for i := range uint64(64) {
		require.NoError(t, conn.SendMessageBatch(batchOf(replicate(i, 64<<10), heartbeat(i))))
	}
	require.False(t, one.Liveness().Send(2, []byte("x")), "not connected")
	require.Less(t, time.Since(began), time.Second)
	bulk := one.peer(2).links[laneBulk].queue
	require.LessOrEqual(t, bulk.size(), 1<<20)
	// The leader is told that its follower was unreachable, with the roles turned.
	b := recv(t, one.messages)
	require.Equal(t, pb.Message{Type: pb.Unreachable, ShardID: 7, From: 2, To: 1}, b.Requests[0])
	one.quiet(t)
	began = time.Now()
	require.NoError(t, one.Close())
	require.Less(t, time.Since(began), time.Second)
}

func TestHeartbeatsPassStuckBulk(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	release := make(chan struct{})
	beats := make(chan uint64, 100)
	bs[1].mu.Lock()
	bs[1].onMessage = func(b pb.MessageBatch) {
		if b.Requests[0].Type == pb.Replicate {
			<-release
			return
		}
		for _, m := range b.Requests {
			beats <- m.Commit
		}
	}
	bs[1].mu.Unlock()
	conn := bs[0].conn(t, Target(2))
	for i := range uint64(40) {
		require.NoError(t, conn.SendMessageBatch(batchOf(replicate(i, 1<<20))))
	}
	for i := range uint64(10) {
		require.NoError(t, conn.SendMessageBatch(batchOf(heartbeat(i))))
	}
	for i := range uint64(10) {
		require.Equal(t, i, recv(t, beats))
	}
	require.True(t, bs[0].Liveness().Send(2, []byte("ping")))
	require.Equal(t, "1:ping", recv(t, bs[1].payloads))
	close(release)
}

func TestCertificatesRotate(t *testing.T) {
	c := newCluster(t, 2)
	cfg := c.config(1, 1)
	spy := &spySource{TLSSource: cfg.TLS, serials: map[string]bool{}}
	cfg.TLS = spy
	one, two := c.start(cfg), c.start(c.config(2, 1))
	c.waitLinks(two)
	require.Equal(t, 1, spy.count())
	require.NoError(t, os.Remove(filepath.Join(c.dir, pki.BrokerName(2)+".pem")))
	_, err := pki.Issue(c.dir, pki.BrokerName(2), []string{"127.0.0.1"}, pki.Peer)
	require.NoError(t, err)
	require.Equal(t, 1, spy.count(), "open connections stay")
	two.Network.mu.Lock()
	for s := range two.conns {
		_ = s.Close()
	}
	two.Network.mu.Unlock()
	eventually(t, func() bool { return spy.count() == 2 })
	one.quietAbout(t, "down 2.1")
}

func TestLivenessPort(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	port := bs[0].Liveness()
	big := make([]byte, MaxLivenessBytes)
	_, _ = rand.Read(big)
	for _, p := range []string{"a", "b", string(big), "c"} {
		require.True(t, port.Send(2, []byte(p)))
		require.Equal(t, "1:"+p, recv(t, bs[1].payloads))
	}
	require.False(t, port.Send(2, append(big, 1)))
	require.False(t, port.Send(9, nil))
	require.Zero(t, port.RoundTrip(9))
	eventually(t, func() bool { return port.RoundTrip(2) > 0 })
	require.NoError(t, bs[1].Close())
	eventually(t, func() bool { return !port.Send(2, []byte("x")) })
}

func TestTheNetworkBelongsToOneNodeHost(t *testing.T) {
	c := newCluster(t, 1)
	b := c.start(c.config(1, 1))
	require.Error(t, b.tr.Start())
	require.NoError(t, b.tr.Close())
	require.NoError(t, b.tr.Start())
	require.NotEmpty(t, b.tr.Name())
	_, err := b.tr.GetSnapshotConnection(context.Background(), Target(9))
	require.Error(t, err)
}

func TestConfigIsChecked(t *testing.T) {
	c := newCluster(t, 1)
	for name, change := range map[string]func(*Config){
		"self": func(cfg *Config) { cfg.Self = 0 }, "boot": func(cfg *Config) { cfg.BootID = [16]byte{} },
		"dir": func(cfg *Config) { cfg.DirID = [16]byte{} }, "tls": func(cfg *Config) { cfg.TLS = nil },
		"listen": func(cfg *Config) { cfg.Listen = "" }, "port": func(cfg *Config) { cfg.Listen = "127.0.0.1:1000000" },
		"peer": func(cfg *Config) { cfg.Peers = map[protocol.BrokerID]string{2: "nowhere"} },
	} {
		cfg := c.config(1, 1)
		cfg.Listener = nil
		change(&cfg)
		_, err := New(cfg)
		require.Error(t, err, name)
	}
}

func TestStrangersAreHarmless(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	for range 2 * maxHandshakes {
		s, err := net.Dial("tcp", c.addrs[1])
		require.NoError(t, err)
		_, _ = s.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		defer func() { _ = s.Close() }()
	}
	require.NoError(t, bs[1].conn(t, Target(1)).SendMessageBatch(batchOf(
		pb.Message{Type: pb.Heartbeat, ShardID: 7, From: 2, To: 1})))
	recv(t, bs[0].messages)
}

// BenchmarkBulk moves entries through one link: bytes per second of one Raft stream with TLS.
func BenchmarkBulk(b *testing.B) {
	c := newCluster(b, 2)
	one, two := c.start(c.config(1, 1)), c.start(c.config(2, 1))
	c.waitLinks(one)
	const size, inFlight = 64 << 10, 64
	slots := make(chan struct{}, inFlight)
	two.mu.Lock()
	two.onMessage = func(batch pb.MessageBatch) {
		for range batch.Requests {
			<-slots
		}
	}
	two.mu.Unlock()
	conn, err := one.tr.GetConnection(context.Background(), Target(2))
	require.NoError(b, err)
	batch := batchOf(replicate(1, size))
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		slots <- struct{}{}
		_ = conn.SendMessageBatch(batch)
	}
	for range inFlight {
		slots <- struct{}{}
	}
}
