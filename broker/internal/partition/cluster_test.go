package partition

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// cluster is three brokers with one partition on real Raft, in this process.
type cluster struct {
	t        testing.TB
	dir      string
	addrs    map[protocol.BrokerID]string
	sockets  map[protocol.BrokerID]net.Listener
	replicas []raftnode.Replica

	mu      sync.Mutex
	brokers map[protocol.BrokerID]*testBroker // that run; guarded by mu
}

type testBroker struct {
	*Partition
	id   protocol.BrokerID
	net  *raftnet.Network
	node *raftnode.Node
	m    *fsm.Machine
}

func newCluster(t testing.TB) *cluster {
	c := &cluster{
		t: t, dir: t.TempDir(), addrs: map[protocol.BrokerID]string{}, sockets: map[protocol.BrokerID]net.Listener{},
		brokers: map[protocol.BrokerID]*testBroker{},
	}
	_, err := pki.EnsureCA(filepath.Join(c.dir, "pki"))
	require.NoError(t, err)
	for id := protocol.BrokerID(1); id <= 3; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		c.addrs[id], c.sockets[id] = l.Addr().String(), l
		c.replicas = append(c.replicas, raftnode.Replica{Broker: id, ReplicaID: uint64(id)})
	}
	t.Cleanup(func() {
		for id := range c.addrs {
			c.kill(id)
		}
	})
	for id := range c.addrs {
		c.start(id)
	}
	return c
}

func (c *cluster) start(id protocol.BrokerID) *testBroker {
	t := c.t
	files, err := pki.Issue(filepath.Join(c.dir, "pki"), pki.BrokerName(id), []string{"127.0.0.1"}, pki.Peer)
	require.NoError(t, err)
	source, err := pki.NewSource(pki.SourceConfig{Files: files})
	require.NoError(t, err)
	network, err := raftnet.New(raftnet.Config{
		ClusterID: 9, Self: id, BootID: [16]byte{byte(id), byte(time.Now().UnixNano())}, DirID: [16]byte{byte(id)},
		Listen: c.addrs[id], Listener: c.sockets[id], Peers: c.addrs, TLS: source,
	})
	require.NoError(t, err)
	delete(c.sockets, id)
	node, err := raftnode.Open(raftnode.Config{
		ClusterID: 9, Self: id, Dir: filepath.Join(c.dir, fmt.Sprint("raft", id)), Net: network,
	})
	require.NoError(t, err)
	m := fsm.New(fsm.Config{FS: storefs.OS, Dir: filepath.Join(c.dir, fmt.Sprint("data", id)), Partition: testTP})
	p, err := New(Config{
		TP: testTP, Topic: "calls", Shard: testShard, Self: id, Node: node, FSM: m,
		UpkeepEvery: 50 * time.Millisecond, CompactEntries: 200,
	})
	require.NoError(t, err)
	require.NoError(t, node.StartPartition(raftnode.Start{
		Shard: testShard, Replica: uint64(id), Replicas: c.replicas, OnLeader: p.Leadership,
	}, m))
	b := &testBroker{Partition: p, id: id, net: network, node: node, m: m}
	c.mu.Lock()
	c.brokers[id] = b
	c.mu.Unlock()
	return b
}

// kill ends a broker; the others see its connections close first.
func (c *cluster) kill(id protocol.BrokerID) {
	c.mu.Lock()
	b := c.brokers[id]
	delete(c.brokers, id)
	c.mu.Unlock()
	if b == nil {
		return
	}
	require.NoError(c.t, b.net.Close())
	b.Close()
	require.NoError(c.t, b.node.Close())
}

func (c *cluster) running() []*testBroker {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*testBroker
	for id := protocol.BrokerID(1); id <= 3; id++ {
		if b := c.brokers[id]; b != nil {
			out = append(out, b)
		}
	}
	return out
}

// leader returns the broker that serves, and makes one if there is none, as package liveness would.
func (c *cluster) leader(ctx context.Context) *testBroker {
	for round := 0; ctx.Err() == nil; round++ {
		all := c.running()
		for _, b := range all {
			if _, _, ok := b.Leading(); ok {
				return b
			}
		}
		if round%16 == 0 {
			all[round/16%len(all)].node.Campaign(testShard)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// publisher sends batches one after another until stopped, each until it is acknowledged.
type publisher struct {
	id      protocol.ProducerID
	offsets []protocol.Offset // of batch i
	gap     time.Duration     // longest time between two acknowledgements
}

func (u *publisher) play(ctx context.Context, c *cluster) {
	last := time.Now()
	for ctx.Err() == nil {
		b := c.leader(ctx)
		if b == nil {
			return
		}
		for ctx.Err() == nil {
			raw, h := makeBatch(c.t, u.id, protocol.Sequence(len(u.offsets)), 1, 200)
			answer := make(chan Ack, 1)
			if b.Append(ctx, raw, h, func(a Ack) { answer <- a }) != nil {
				break
			}
			a := <-answer
			if a.Err != nil {
				break
			}
			u.offsets = append(u.offsets, a.Offset)
			u.gap = max(u.gap, time.Since(last))
			last = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
}

// TestFailover publishes while leaders are killed, restarted and transferred.
func TestFailover(t *testing.T) {
	c := newCluster(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NotNil(t, c.leader(ctx))
	publishers := []*publisher{{id: 1}, {id: 2}, {id: 3}}
	playing, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for _, u := range publishers {
		all.Go(func() { u.play(playing, c) })
	}
	for range 3 {
		time.Sleep(200 * time.Millisecond)
		b := c.leader(ctx)
		require.NotNil(t, b)
		begun := time.Now()
		c.kill(b.id)
		require.NotNil(t, c.leader(ctx))
		t.Logf("a new leader serves %v after the kill", time.Since(begun).Round(time.Millisecond))
		c.start(b.id)
		time.Sleep(200 * time.Millisecond)
		now := c.leader(ctx)
		if now.id != b.id {
			begun := time.Now()
			err := now.Transfer(ctx, b.id, 0)
			t.Logf("transfer took %v: %v", time.Since(begun).Round(time.Millisecond), err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	stop()
	all.Wait()
	c.settle(ctx)
	for _, b := range c.running() {
		log := readLog(t, b.m)
		for _, u := range publishers {
			t.Logf("broker %d: producer %d: %d batches, longest gap %v", b.id, u.id, len(u.offsets),
				u.gap.Round(time.Millisecond))
			require.NotEmpty(t, u.offsets)
			require.GreaterOrEqual(t, len(log[u.id]), len(u.offsets))
			require.LessOrEqual(t, len(log[u.id]), len(u.offsets)+1, "only the last may be unanswered")
			for i, s := range log[u.id] {
				require.EqualValues(t, i, s.seq)
				if i < len(u.offsets) {
					require.Equal(t, u.offsets[i], s.offset)
				}
			}
		}
	}
}

// settle waits until all replicas have applied the same, and compares them.
func (c *cluster) settle(ctx context.Context) {
	all := c.running()
	require.Len(c.t, all, 3)
	for {
		a, b, d := all[0].m.Applied(), all[1].m.Applied(), all[2].m.Applied()
		if a == b && b == d {
			break
		}
		require.NoError(c.t, ctx.Err(), "applied %d %d %d", a, b, d)
		time.Sleep(5 * time.Millisecond)
	}
	_, want := all[0].m.Hash()
	for _, b := range all[1:] {
		_, got := b.m.Hash()
		require.Equal(c.t, want, got, "broker %d", b.id)
	}
}
