package journaltest_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/config"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/journal"
	"github.com/trunkline/trunkline/broker/internal/journal/journaltest"
	"github.com/trunkline/trunkline/broker/internal/pki"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

const (
	clusterShards = 3 // on three of the four step workers
	soon          = 20 * time.Second
)

// cluster is three brokers' Raft nodes on loopback, each with a tee for a log storage.
type cluster struct {
	t        *testing.T
	dir      string
	logDB    *journaltest.TeeFactory
	addrs    map[protocol.BrokerID]string
	sockets  map[protocol.BrokerID]net.Listener
	replicas []raftnode.Replica
	brokers  map[protocol.BrokerID]*broker
	producer protocol.ProducerID
	removed  protocol.BrokerID // has no replica of the last shard any more
}

type broker struct {
	id       protocol.BrokerID
	net      *raftnet.Network
	node     *raftnode.Node
	machines []*fsm.Machine // of each shard
}

func shardOf(i int) uint64 { return raftnode.FirstPartitionShard + uint64(i) }

func newCluster(t *testing.T, a, b config.LogDBFactory) *cluster {
	c := &cluster{
		t: t, dir: t.TempDir(), logDB: journaltest.Tee(a, b), addrs: map[protocol.BrokerID]string{},
		sockets: map[protocol.BrokerID]net.Listener{}, brokers: map[protocol.BrokerID]*broker{},
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

func (c *cluster) start(id protocol.BrokerID) *broker {
	t := c.t
	files, err := pki.Issue(filepath.Join(c.dir, "pki"), pki.BrokerName(id), []string{"127.0.0.1"}, pki.Peer)
	require.NoError(t, err)
	source, err := pki.NewSource(pki.SourceConfig{Files: files})
	require.NoError(t, err)
	network, err := raftnet.New(raftnet.Config{
		ClusterID: 5, Self: id, BootID: [16]byte{byte(id), byte(time.Now().UnixNano())}, DirID: [16]byte{byte(id)},
		Listen: c.addrs[id], Listener: c.sockets[id], Peers: c.addrs, TLS: source, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	delete(c.sockets, id)
	node, err := raftnode.Open(raftnode.Config{
		ClusterID: 5, Self: id, Dir: filepath.Join(c.dir, fmt.Sprint("raft", id)), Net: network, LogDB: c.logDB,
	})
	require.NoError(t, err)
	b := &broker{id: id, net: network, node: node}
	shards := clusterShards
	if id == c.removed {
		shards--
	}
	for i := range shards {
		m := fsm.New(fsm.Config{
			FS: storefs.OS, Dir: filepath.Join(c.dir, fmt.Sprint("data", id), fmt.Sprint(i)), SnapshotBytesPerSecond: -1,
			Partition: protocol.TopicPartition{Topic: 1, Partition: protocol.Partition(i)},
		})
		require.NoError(t, node.StartPartition(raftnode.Start{Shard: shardOf(i), Replica: uint64(id), Replicas: c.replicas}, m))
		b.machines = append(b.machines, m)
	}
	c.brokers[id] = b
	return b
}

// kill ends a broker as far as the others can see: its connections close first.
func (c *cluster) kill(id protocol.BrokerID) {
	b := c.brokers[id]
	if b == nil {
		return
	}
	delete(c.brokers, id)
	require.NoError(c.t, b.net.Close())
	require.NoError(c.t, b.node.Close())
}

// elect makes a broker the leader of a shard, if it is not, and returns its epoch.
func (c *cluster) elect(b *broker, i int) protocol.Epoch {
	c.t.Helper()
	var l raftnode.Leadership
	require.Eventually(c.t, func() bool {
		if l, _ = b.node.Leader(shardOf(i)); !l.Self {
			b.node.Campaign(shardOf(i))
		}
		return l.Self
	}, soon, 50*time.Millisecond, "broker %d does not lead shard %d", b.id, i)
	r := c.propose(b, i, fsm.EpochBegin(l.Term, b.id, 1, time.Now().UnixMilli()))
	if r.Value == fsm.ValueOK {
		return fsm.ParseEpoch(r.Data)
	}
	epoch, of := fsm.ParseFenced(r.Data) // it began in this term before
	require.Equal(c.t, b.id, of)
	return epoch
}

func (c *cluster) propose(b *broker, i int, cmd []byte) raftnode.Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	r, err := b.node.ProposeWait(ctx, shardOf(i), cmd)
	require.NoError(c.t, err)
	require.Equal(c.t, raftnode.Committed, r.Outcome)
	return r
}

// publish appends n batches, several of them under way at a time, by a producer of its own.
func (c *cluster) publish(b *broker, i int, epoch protocol.Epoch, n, bytes int) {
	c.t.Helper()
	c.producer++
	var open []*raftnode.Proposal
	for seq := range n {
		builder := batch.NewBuilder(batch.None)
		require.NoError(c.t, builder.Add(batch.Record{Value: make([]byte, bytes)}))
		raw, err := builder.Build(nil, c.producer, 0, protocol.Sequence(seq))
		require.NoError(c.t, err)
		cmd := fsm.NewOps(epoch, time.Now().UnixMilli())
		cmd.Append(raw)
		p, err := b.node.Propose(shardOf(i), cmd.Bytes())
		require.NoError(c.t, err)
		if open = append(open, p); len(open) == 16 || seq == n-1 {
			for _, p := range open {
				r := p.Result()
				require.Equal(c.t, raftnode.Committed, r.Outcome)
				require.Zero(c.t, fsm.ParseResult(r.Data, 0).Code)
			}
			open = nil
		}
	}
}

// settle waits until the replicas of a shard have applied the same, and compares them.
func (c *cluster) settle(i int) {
	c.t.Helper()
	var first *fsm.Machine
	for _, b := range c.brokers {
		m := b.machines[i]
		if first == nil {
			first = m
		}
		require.Eventually(c.t, func() bool { return m.Applied() == first.Applied() }, soon, 5*time.Millisecond,
			"broker %d, shard %d: applied %d, another %d", b.id, i, m.Applied(), first.Applied())
		_, want := first.Hash()
		_, got := m.Hash()
		require.Equal(c.t, want, got)
	}
}

// compact takes a snapshot of a shard everywhere and cuts its log, but for a few entries.
func (c *cluster) compact(i int) {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	for _, b := range c.brokers {
		require.NoError(c.t, b.node.Compact(ctx, shardOf(i), b.machines[i].Applied()-2))
	}
}

// TestClusterOnTanAndTan shows that the tee finds nothing where nothing is.
func TestClusterOnTanAndTan(t *testing.T) {
	t.Parallel()
	testCluster(t, tanFactory(), tanFactory(), 1)
}

func TestClusterOnTanAndJournal(t *testing.T) {
	t.Parallel()
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv("JOURNALTEST_ROUNDS")); err == nil {
		rounds = n
	}
	small := journal.Options{FileBytes: 1 << 20, CacheBytes: 128 << 10}
	testCluster(t, tanFactory(), journal.Factory{Options: small}, rounds)
}

// testCluster leads a cluster through what happens to log storages: leaders change, brokers stop and come back, logs
// are cut, a follower comes back so late that it is sent a snapshot, a replica is removed. The tees compare all of it.
func testCluster(t *testing.T, a, b config.LogDBFactory, rounds int) {
	c := newCluster(t, a, b)
	for round := range rounds {
		leader := c.brokers[protocol.BrokerID(round%3+1)]
		for i := range clusterShards {
			epoch := c.elect(leader, i)
			c.publish(leader, i, epoch, 60, 300)
		}
		away := protocol.BrokerID((round+1)%3 + 1)
		c.kill(away)
		for i := range clusterShards {
			epoch := c.elect(leader, i)
			c.publish(leader, i, epoch, 40, 20_000) // a campaign among two: the third missed this
		}
		for i := range clusterShards - 1 { // of the last shard, the log reaches back far enough
			c.settle(i)
			c.compact(i)
			c.publish(leader, i, c.elect(leader, i), 5, 1000)
		}
		c.start(away)
		for i := range clusterShards {
			c.settle(i)
		}
	}
	c.removeReplica()
	for id := range c.addrs { // every log is read again
		c.kill(id)
		c.start(id)
	}
	for i := range clusterShards - 1 {
		c.publish(c.brokers[2], i, c.elect(c.brokers[2], i), 10, 100)
		c.settle(i)
	}
	for id := range c.addrs {
		c.kill(id)
	}
	t.Logf("compared: %v", c.logDB.Compared())
	for _, call := range []string{"IterateEntries", "ReadRaftState", "GetSnapshot", "SaveSnapshots", "Install", "RemoveEntriesTo",
		"CompactEntriesTo", "RemoveNodeData", "GetBootstrapInfo", "ListNodeInfo", "open", "close"} {
		require.NotZero(t, c.logDB.Compared()[call], "this run did not come by %s", call)
	}
}

// removeReplica removes the last shard from one broker.
func (c *cluster) removeReplica() {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	b := c.brokers[1]
	shard, replica := shardOf(clusterShards-1), uint64(b.id)
	require.NoError(c.t, b.node.Stop(shard))
	require.NoError(c.t, b.node.RemoveData(ctx, shard, replica))
	require.NotContains(c.t, b.node.Stored(), raftnode.Stored{Shard: shard, Replica: replica})
	c.removed = b.id
}
