package raftnode

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testCluster = 77
	testShard   = FirstPartitionShard
	soon        = 20 * time.Second // in which everything that must happen does
)

var testTP = protocol.TopicPartition{Topic: 1, Partition: 0}

// testT is a *testing.T or a *rapid.T.
type testT interface {
	require.TestingT
	Helper()
	Logf(format string, args ...any)
	Cleanup(func())
}

// cluster is some brokers' nodes on loopback.
type cluster struct {
	t        testT
	dir      string
	addrs    map[protocol.BrokerID]string
	sockets  map[protocol.BrokerID]net.Listener // of brokers that never ran
	replicas []Replica                          // founders of the shard
	brokers  map[protocol.BrokerID]*testBroker  // those that run
}

// testBroker is one broker in one life.
type testBroker struct {
	id      protocol.BrokerID
	net     *raftnet.Network
	node    *Node
	machine *fsm.Machine
	removed chan struct{} // has a token after Raft removed the replica

	mu   sync.Mutex
	lead Leadership // newest; guarded by mu
	news chan struct{}
}

// newCluster is three brokers with a replica each.
func newCluster(t *testing.T) *cluster { return newClusterOf(t, t.TempDir(), 3, 3) }

// newClusterOf is some brokers, the first of which found the shard.
func newClusterOf(t testT, dir string, brokers, founders protocol.BrokerID) *cluster {
	c := &cluster{
		t: t, dir: dir, addrs: map[protocol.BrokerID]string{}, sockets: map[protocol.BrokerID]net.Listener{},
		brokers: map[protocol.BrokerID]*testBroker{},
	}
	for id := protocol.BrokerID(1); id <= brokers; id++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		c.addrs[id], c.sockets[id] = l.Addr().String(), l
		if id <= founders {
			c.replicas = append(c.replicas, Replica{Broker: id, ReplicaID: uint64(id)})
		}
	}
	t.Cleanup(func() {
		for id := range c.brokers {
			c.kill(id)
		}
		for _, l := range c.sockets {
			_ = l.Close()
		}
	})
	return c
}

// open starts a broker without shards.
func (c *cluster) open(id protocol.BrokerID) *testBroker {
	t := c.t
	pkiDir := filepath.Join(c.dir, "pki")
	_, err := pki.EnsureCA(pkiDir)
	require.NoError(t, err)
	files, err := pki.Issue(pkiDir, pki.BrokerName(id), []string{"127.0.0.1"}, pki.Peer)
	require.NoError(t, err)
	source, err := pki.NewSource(pki.SourceConfig{Files: files})
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("RAFTNODE_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("broker", id)
	}
	network, err := raftnet.New(raftnet.Config{
		ClusterID: testCluster, Self: id, BootID: [16]byte{byte(id), byte(time.Now().UnixNano())}, DirID: [16]byte{byte(id)},
		Listen: c.addrs[id], Listener: c.sockets[id], Peers: c.addrs, TLS: source, Log: log,
	})
	require.NoError(t, err)
	delete(c.sockets, id)
	node, err := Open(Config{
		ClusterID: testCluster, Self: id, Dir: filepath.Join(c.dir, fmt.Sprint("raft", id)), Net: network,
		Log: log, Registerer: prometheus.NewRegistry(),
	})
	require.NoError(t, err)
	b := &testBroker{id: id, net: network, node: node, removed: make(chan struct{}, 1), news: make(chan struct{})}
	c.brokers[id] = b
	return b
}

// start starts a broker with the replica with which it founds the shard.
func (c *cluster) start(id protocol.BrokerID) *testBroker { return c.run(c.open(id), uint64(id)) }

// run starts a replica of the shard on a broker. Those that are no founders join.
func (c *cluster) run(b *testBroker, replica uint64) *testBroker {
	b.machine = fsm.New(fsm.Config{
		FS: storefs.OS, Dir: c.data(b.id, replica), Partition: testTP, SnapshotBytesPerSecond: -1,
	})
	r := Start{
		Shard: testShard, Replica: replica, OnLeader: b.note, OnRemoved: func() {
			select {
			case b.removed <- struct{}{}:
			default:
			}
		},
	}
	r.Join = !slices.Contains(c.replicas, Replica{Broker: b.id, ReplicaID: replica})
	if !r.Join {
		r.Replicas = c.replicas
	}
	require.NoError(c.t, b.node.StartPartition(r, b.machine))
	return b
}

// data is where the state machine of a replica is.
func (c *cluster) data(id protocol.BrokerID, replica uint64) string {
	return filepath.Join(c.dir, fmt.Sprintf("data-%d-%d", id, replica))
}

func (b *testBroker) note(l Leadership) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lead = l
	close(b.news)
	b.news = make(chan struct{})
}

// await waits for a leadership that pleases.
func (b *testBroker) await(t testT, what string, pleases func(Leadership) bool) Leadership {
	t.Helper()
	expire := time.After(soon)
	for {
		b.mu.Lock()
		l, news := b.lead, b.news
		b.mu.Unlock()
		if pleases(l) {
			return l
		}
		select {
		case <-news:
		case <-expire:
			require.Failf(t, "no news", "%s; newest: %+v", what, l)
		}
	}
}

// kill ends a broker as far as the others can see: its connections close first, so nothing graceful gets out.
func (c *cluster) kill(id protocol.BrokerID) {
	b := c.brokers[id]
	if b == nil {
		return
	}
	delete(c.brokers, id)
	require.NoError(c.t, b.net.Close())
	require.NoError(c.t, b.node.Close())
	require.NoError(c.t, b.node.Close())
}

// elect makes a broker the leader, whoever was it before, and begins an epoch.
func (c *cluster) elect(b *testBroker) (Leadership, protocol.Epoch) {
	begun := time.Now()
	for {
		l, _ := b.node.Leader(testShard)
		require.Less(c.t, time.Since(begun), soon)
		if !l.Self {
			b.node.Campaign(testShard)
			select {
			case <-time.After(campaignWindow):
			case <-b.newsOf():
			}
			continue
		}
		c.t.Logf("broker %d leads term %d after %v", b.id, l.Term, time.Since(begun).Round(time.Millisecond))
		r, err := b.node.ProposeWait(c.context(), testShard, fsm.EpochBegin(l.Term, b.id, 1, time.Now().UnixMilli()))
		require.NoError(c.t, err)
		if r.Outcome == Dropped { // it was told to begin the next term while it won this one, see Node.repeats
			continue
		}
		require.Equal(c.t, Committed, r.Outcome)
		require.Equal(c.t, fsm.ValueOK, r.Value)
		return l, fsm.ParseEpoch(r.Data)
	}
}

func (b *testBroker) newsOf() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.news
}

func (c *cluster) propose(b *testBroker, cmd []byte) Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	r, err := b.node.ProposeWait(ctx, testShard, cmd)
	require.NoError(c.t, err)
	require.Equal(c.t, Committed, r.Outcome)
	return r
}

// publish appends n batches of about bytes each, by a new producer.
func (c *cluster) publish(b *testBroker, epoch protocol.Epoch, producer protocol.ProducerID, n, bytes int) {
	for i := range n {
		builder := batch.NewBuilder(batch.None)
		require.NoError(c.t, builder.Add(batch.Record{Value: make([]byte, bytes)}))
		raw, err := builder.Build(nil, producer, 0, protocol.Sequence(i))
		require.NoError(c.t, err)
		cmd := fsm.NewOps(epoch, time.Now().UnixMilli())
		cmd.Append(raw)
		r := c.propose(b, cmd.Bytes())
		require.Equal(c.t, fsm.ValueOK, r.Value)
		require.Zero(c.t, fsm.ParseResult(r.Data, 0).Code)
	}
}

// same waits until two replicas have applied the same, and compares them.
func (c *cluster) same(a, b *testBroker) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return a.machine.Applied() == b.machine.Applied() }, soon, 5*time.Millisecond,
		"broker %d applied %d, broker %d %d", a.id, a.machine.Applied(), b.id, b.machine.Applied())
	_, want := a.machine.Hash()
	_, got := b.machine.Hash()
	require.Equal(c.t, want, got)
	_, next := a.machine.Bounds()
	_, has := b.machine.Bounds()
	require.Equal(c.t, next, has)
}
