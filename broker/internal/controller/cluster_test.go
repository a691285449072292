package controller

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// soon is how long the tests with real brokers wait for what must happen.
const soon = 30 * time.Second

// realBroker is one broker with real Raft, network and disk, without sessions and liveness.
type realBroker struct {
	id   protocol.BrokerID
	dir  string
	net  *raftnet.Network
	node *raftnode.Node
	meta *meta.Service
	c    *Controller
}

// realCluster has three of them in this process. They announce leaders by calling each other.
type realCluster struct {
	t     *testing.T
	dir   string
	addrs map[protocol.BrokerID]string
	life  byte
	log   lines

	brokers map[protocol.BrokerID]*realBroker
}

// lines is a log. Safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRealCluster(t *testing.T) *realCluster {
	c := &realCluster{
		t: t, dir: t.TempDir(), addrs: map[protocol.BrokerID]string{}, brokers: map[protocol.BrokerID]*realBroker{},
	}
	var listeners []net.Listener
	for id := protocol.BrokerID(1); id <= 3; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		c.addrs[id] = l.Addr().String()
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		require.NoError(t, l.Close())
	}
	return c
}

func (c *realCluster) open(id protocol.BrokerID) *realBroker {
	t := c.t
	b := &realBroker{id: id, dir: filepath.Join(c.dir, fmt.Sprint("b", id))}
	ca := filepath.Join(c.dir, "ca")
	require.NoError(t, os.MkdirAll(ca, 0o750))
	_, err := pki.EnsureCA(ca)
	require.NoError(t, err)
	files, err := pki.Issue(ca, pki.BrokerName(id), []string{"127.0.0.1", "localhost"}, pki.Peer)
	require.NoError(t, err)
	source, err := pki.NewSource(pki.SourceConfig{Files: files})
	require.NoError(t, err)
	c.life++
	b.net, err = raftnet.New(raftnet.Config{
		ClusterID: 7, Self: id, BootID: [16]byte{c.life}, DirID: [16]byte{byte(id)}, Listen: c.addrs[id],
		Addr: c.addrs[id], Peers: c.addrs, TLS: source,
	})
	require.NoError(t, err)
	b.node, err = raftnode.Open(raftnode.Config{
		ClusterID: 7, Self: id, Dir: filepath.Join(b.dir, "raft"), Net: b.net,
		Tick: 20 * time.Millisecond,
	})
	require.NoError(t, err)
	shard := meta.NewRaftNode(b.node)
	b.meta = meta.New(meta.Config{Self: id, Node: shard})
	var replicas []raftnode.Replica
	for r := protocol.BrokerID(1); int(r) <= len(c.addrs); r++ {
		replicas = append(replicas, raftnode.Replica{Broker: r, ReplicaID: uint64(r)})
	}
	b.c, err = New(Config{
		Self: id, Dir: filepath.Join(b.dir, "partitions"), DirID: meta.DirID{byte(id)}, Meta: b.meta,
		Leaders: b.meta.Leaders(), Node: b.node, Founders: []protocol.BrokerID{1, 2, 3},
		Broadcast: func(payload []byte) { c.broadcast(id, payload) }, RefreshEvery: 100 * time.Millisecond,
		OnFatal: func(err error) { t.Errorf("broker %d: %v", id, err) }, Log: slog.New(slog.NewTextHandler(&c.log, nil)),
	})
	require.NoError(t, err)
	require.NoError(t, shard.Start(b.meta.Machine(), replicas))
	b.meta.Start(context.Background())
	b.net.Start()
	return b
}

func (c *realCluster) broadcast(from protocol.BrokerID, payload []byte) {
	for id, b := range c.brokers {
		if id != from {
			require.NoError(c.t, b.meta.Leaders().Receive(from, payload))
		}
	}
}

// up opens all brokers and then starts their controllers, so that broadcast finds everybody.
func (c *realCluster) up() {
	for id := protocol.BrokerID(1); id <= 3; id++ {
		c.brokers[id] = c.open(id)
	}
	for _, b := range c.brokers {
		require.NoError(c.t, b.c.Start(c.t.Context()))
	}
}

func (c *realCluster) down() {
	for _, b := range c.brokers {
		b.c.Close() // all of them first: they broadcast to each other
	}
	for _, b := range c.brokers {
		b.meta.Close()
		require.NoError(c.t, b.node.Close())
		require.NoError(c.t, b.net.Close())
	}
}

func (c *realCluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	require.Eventually(c.t, ok, soon, 10*time.Millisecond, what)
}

// led reports whether every partition has one leader in every broker's table, and that broker says so itself.
func (c *realCluster) led(topic *meta.Topic) bool {
	for i := range topic.Partitions {
		tp := protocol.TopicPartition{Topic: topic.ID, Partition: protocol.Partition(i)}
		leader, epoch := c.brokers[1].meta.Leaders().Leader(tp)
		for _, b := range c.brokers {
			if l, e := b.meta.Leaders().Leader(tp); l == 0 || l != leader || e != epoch {
				return false
			}
		}
		p, ok := c.brokers[leader].c.Get(tp)
		if !ok {
			return false
		}
		if e, _, leading := p.Leading(); !leading || e != epoch {
			return false
		}
	}
	return true
}

// campaign lets the preferred leaders stand at once, as package liveness does for new shards.
func (c *realCluster) campaign(topic *meta.Topic) {
	for i := range topic.Partitions {
		p := &topic.Partitions[i]
		b := c.brokers[p.Replicas[0].Broker]
		if l, term, ok := b.c.Leader(p.Shard); ok && l == 0 && term <= 1 {
			b.c.Campaign(p.Shard)
		}
	}
}

// The whole life of topics on three brokers with real Raft: created on one broker and led everywhere, there after a
// restart, drained away from a broker, and gone from every disk once deleted.
func TestRealCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("starts three brokers")
	}
	c := newRealCluster(t)
	c.up()
	defer func() { c.down() }()
	ctx, cancel := context.WithTimeout(t.Context(), 2*soon)
	defer cancel()
	for id, b := range c.brokers {
		require.NoError(t, b.meta.RegisterBroker(ctx, meta.Broker{
			ID: id, RaftAddr: c.addrs[id], DirID: meta.DirID{byte(id)},
		}))
	}
	require.ErrorContains(t, c.brokers[2].meta.RegisterBroker(ctx, meta.Broker{
		ID: 2, RaftAddr: c.addrs[2], DirID: meta.DirID{9},
	}), "wiped")
	topic, err := c.brokers[3].meta.CreateTopic(ctx, wire.CreateTopic{Name: "orders", Partitions: 6, Replicas: 3})
	require.NoError(t, err)
	doomed, err := c.brokers[2].meta.CreateTopic(ctx, wire.CreateTopic{Name: "doomed", Partitions: 3, Replicas: 3})
	require.NoError(t, err)
	c.eventually("leaders", func() bool { c.campaign(topic); c.campaign(doomed); return c.led(topic) && c.led(doomed) })
	for _, b := range c.brokers {
		c.eventually("ready", b.c.Ready)
		require.Len(t, b.c.All(), 9)
	}

	c.down()
	c.up()
	for _, b := range c.brokers {
		c.eventually("ready after a restart", b.c.Ready)
	}
	c.eventually("leaders after a restart", func() bool { return c.led(topic) && c.led(doomed) })

	busy := c.brokers[1]
	require.NoError(t, busy.c.Drain(ctx))
	_, leading := busy.c.Counts()
	require.Zero(t, leading)
	require.NotEqual(t, protocol.BrokerID(1), busy.meta.Leader())
	c.eventually("leaders after a drain", func() bool { return c.led(topic) && c.led(doomed) })

	_, err = c.brokers[1].meta.DeleteTopic(ctx, wire.DeleteTopic{Name: "doomed"})
	require.NoError(t, err)
	for _, b := range c.brokers {
		c.eventually("removed", func() bool {
			entries, err := os.ReadDir(filepath.Join(b.dir, "partitions"))
			return err == nil && len(entries) == 6 && len(b.node.Stored()) == 7 // and the metadata shard
		})
	}
	// Not at once: with ticks of 20 ms a busy machine elects a leader now and then.
	c.eventually("the other topic is served", func() bool { return c.led(topic) })
	c.down()
	require.NotContains(t, c.log.String(), "partition failed")
}

// A broker starts many replicas in seconds.
func TestRealStartOfManyPartitions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 200 replicas")
	}
	c := newRealCluster(t)
	c.addrs = map[protocol.BrokerID]string{1: c.addrs[1]}
	b := c.openAlone()
	defer func() { c.down() }()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	require.NoError(t, b.meta.RegisterBroker(ctx, meta.Broker{ID: 1, RaftAddr: c.addrs[1], DirID: meta.DirID{1}}))
	topic, err := b.meta.CreateTopic(ctx, wire.CreateTopic{Name: "many", Partitions: 200, Replicas: 1})
	require.NoError(t, err)
	begun := time.Now()
	c.eventually("started", func() bool { return len(b.c.All()) == 200 })
	t.Logf("200 new replicas started in %v", time.Since(begun))
	c.eventually("leading", func() bool { c.campaign(topic); return c.led(topic) })
	t.Logf("and led after %v", time.Since(begun))

	c.down()
	begun = time.Now()
	b = c.openAlone()
	c.eventually("ready", b.c.Ready)
	t.Logf("opened and started again in %v", time.Since(begun))
}

// openAlone starts a cluster of one broker.
func (c *realCluster) openAlone() *realBroker {
	b := c.open(1)
	c.brokers = map[protocol.BrokerID]*realBroker{1: b}
	require.NoError(c.t, b.c.Start(c.t.Context()))
	return b
}
