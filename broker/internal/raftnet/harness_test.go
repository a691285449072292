package raftnet

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/protocol"
)

const (
	testCluster = 0xc1
	// soon is how long a test waits for what must happen.
	soon = 10 * time.Second
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(helperEnv); spec != "" {
		runHelper(spec)
		return
	}
	goleak.VerifyTestMain(m)
}

// testBroker is one Network with what it reported.
type testBroker struct {
	*Network
	id       protocol.BrokerID
	events   chan string
	rejected chan Reject
	messages chan pb.MessageBatch
	chunks   chan pb.Chunk
	payloads chan string
	tr       raftio.ITransport

	mu        sync.Mutex
	onMessage func(pb.MessageBatch) // guarded by mu
	onChunk   func(pb.Chunk) bool   // guarded by mu
}

// cluster makes the addresses and certificates of a test.
type cluster struct {
	t     testing.TB
	dir   string
	addrs map[protocol.BrokerID]string
	first map[protocol.BrokerID]net.Listener
}

func newCluster(t testing.TB, n int) *cluster {
	c := &cluster{
		t: t, dir: t.TempDir(), addrs: map[protocol.BrokerID]string{}, first: map[protocol.BrokerID]net.Listener{},
	}
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		id := protocol.BrokerID(i + 1)
		c.addrs[id], c.first[id] = l.Addr().String(), l
		t.Cleanup(func() { _ = l.Close() })
	}
	return c
}

func (c *cluster) source(name string) *pki.Source {
	c.t.Helper()
	s, err := newTestSource(c.dir, name)
	require.NoError(c.t, err)
	return s
}

func newTestSource(dir, name string) (*pki.Source, error) {
	if _, err := pki.EnsureCA(dir); err != nil {
		return nil, err
	}
	files, err := pki.Issue(dir, name, []string{"127.0.0.1", "localhost"}, pki.Peer)
	if err != nil {
		return nil, err
	}
	return pki.NewSource(pki.SourceConfig{Files: files})
}

func bootID(id protocol.BrokerID, n byte) [16]byte { return [16]byte{byte(id), n, 0xb} }
func dirID(id protocol.BrokerID) [16]byte          { return [16]byte{byte(id), 0xd} }

// config is that of broker id in its boot-th life.
func (c *cluster) config(id protocol.BrokerID, boot byte) Config {
	cfg := Config{
		ClusterID: testCluster, Self: id, BootID: bootID(id, boot), DirID: dirID(id), Listen: c.addrs[id], Peers: c.addrs,
		TLS: c.source(pki.BrokerName(id)), Registerer: prometheus.NewRegistry(),
	}
	if l := c.first[id]; l != nil {
		cfg.Listener = l
		delete(c.first, id)
	}
	if testing.Verbose() {
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("broker", id)
	}
	return cfg
}

// start runs a broker with a NodeHost that only records.
func (c *cluster) start(cfg Config) *testBroker {
	c.t.Helper()
	b := &testBroker{
		id: cfg.Self, events: make(chan string, 100), rejected: make(chan Reject, 100),
		messages: make(chan pb.MessageBatch, 1000), chunks: make(chan pb.Chunk, 1000), payloads: make(chan string, 1000),
	}
	cfg.OnPeerDown = func(p protocol.BrokerID, boot [16]byte, cause string) {
		b.events <- fmt.Sprintf("down %d.%d", p, boot[1])
	}
	cfg.OnPeerUp = func(p protocol.BrokerID, boot [16]byte) { b.events <- fmt.Sprintf("up %d.%d", p, boot[1]) }
	cfg.OnRejected = func(_ protocol.BrokerID, r Reject) { b.rejected <- r }
	n, err := New(cfg)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, n.Close()) })
	b.Network = n
	n.Liveness().Receive(func(from protocol.BrokerID, p []byte) { b.payloads <- fmt.Sprintf("%d:%s", from, p) })
	nh := config.NodeHostConfig{RaftAddress: Target(cfg.Self), DeploymentID: testCluster}
	b.tr = n.Factory().Create(nh, b.handle, b.chunk)
	require.NoError(c.t, b.tr.Start())
	return b
}

func (b *testBroker) handle(batch pb.MessageBatch) {
	b.mu.Lock()
	fn := b.onMessage
	b.mu.Unlock()
	if fn != nil {
		fn(batch)
		return
	}
	b.messages <- batch
}

func (b *testBroker) chunk(ch pb.Chunk) bool {
	b.mu.Lock()
	fn := b.onChunk
	b.mu.Unlock()
	if fn != nil {
		return fn(ch)
	}
	b.chunks <- ch
	return true
}

func (c *cluster) startAll() []*testBroker {
	var out []*testBroker
	for i := range len(c.addrs) {
		out = append(out, c.start(c.config(protocol.BrokerID(i+1), 1)))
	}
	for _, b := range out {
		c.waitLinks(b)
	}
	return out
}

// waitLinks waits until all links of b are up.
func (c *cluster) waitLinks(b *testBroker) {
	c.t.Helper()
	for _, p := range *b.book.Load() {
		for _, l := range p.links {
			eventually(c.t, l.up.Load)
		}
	}
}

// eventually polls, since the state it waits for has no event of its own.
func eventually(t testing.TB, f func() bool) {
	t.Helper()
	require.Eventually(t, f, soon, time.Millisecond)
}

func (b *testBroker) conn(t *testing.T, target string) raftio.IConnection {
	t.Helper()
	c, err := b.tr.GetConnection(context.Background(), target)
	require.NoError(t, err)
	return c
}

func recv[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(soon):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func (b *testBroker) expect(t *testing.T, events ...string) {
	t.Helper()
	for _, want := range events {
		require.Equal(t, want, recv(t, b.events), "broker %d", b.id)
	}
}

func (b *testBroker) quiet(t *testing.T) {
	t.Helper()
	select {
	case e := <-b.events:
		t.Fatalf("broker %d reported %q", b.id, e)
	default:
	}
}

func batchOf(msgs ...pb.Message) pb.MessageBatch {
	return pb.MessageBatch{Requests: msgs, DeploymentId: testCluster, BinVer: raftio.TransportBinVersion}
}

func heartbeat(i uint64) pb.Message {
	return pb.Message{Type: pb.Heartbeat, ShardID: 7, From: 1, To: 2, Commit: i}
}

func replicate(i uint64, size int) pb.Message {
	return pb.Message{
		Type: pb.Replicate, ShardID: 7, From: 1, To: 2, LogIndex: i,
		Entries: []pb.Entry{{Index: i + 1, Term: 1, Cmd: make([]byte, size)}},
	}
}

// spySource records the certificates that peers show.
type spySource struct {
	TLSSource
	mu      sync.Mutex
	serials map[string]bool
}

func (s *spySource) see(cs tls.ConnectionState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serials[cs.PeerCertificates[0].SerialNumber.String()] = true
	return nil
}

func (s *spySource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.serials)
}

func (s *spySource) Server() (*tls.Config, error) {
	cfg, err := s.TLSSource.Server()
	if err == nil {
		cfg.VerifyConnection = s.see
	}
	return cfg, err
}

// hole is an address that accepts and never answers, like a stopped process.
func hole(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		var conns []io.Closer
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l
}
