package inproc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/journal"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/seglog"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	shard = raftnode.FirstPartitionShard
	soon  = 20 * time.Second // in which everything that must happen does
	poll  = 2 * time.Millisecond

	// Raft's own clock elects here: an election times out after 150 to 300 ms.
	tick           = 15 * time.Millisecond
	electionTicks  = 10
	heartbeatTicks = 2
)

var (
	testTP  = protocol.TopicPartition{Topic: 1, Partition: 0}
	brokers = []protocol.BrokerID{1, 2, 3}
)

// options are what a test wants of its cluster. The zero value of a field is its default.
type options struct {
	compactEntries uint64 // entries applied between two compactions of the Raft log; default: never
	segmentBytes   int64  // default 32 KiB
	retain         time.Duration
	tick           time.Duration // default: tick
}

// cluster is three brokers with one partition.
type cluster struct {
	t       *testing.T
	seed    uint64
	random  *rand.Rand // of the test's goroutine
	opts    options
	net     *network
	clocks  map[protocol.BrokerID]*clock
	onChunk func(l *life, c pb.Chunk)

	mu     sync.Mutex
	lives  map[protocol.BrokerID]*life // newest of each; guarded by mu
	count  int                         // of lives; guarded by mu
	buried sync.WaitGroup
}

func newCluster(t *testing.T, seed uint64, opts options) *cluster {
	if s := os.Getenv("TRUNKLINE_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		require.NoError(t, err, "TRUNKLINE_SEED")
		seed = n
	}
	t.Logf("again: TRUNKLINE_SEED=%d go test -run '%s$' ./broker/internal/inproc", seed, t.Name())
	if opts.segmentBytes == 0 {
		opts.segmentBytes = 32 << 10
	}
	if opts.tick == 0 {
		opts.tick = tick
	}
	if opts.compactEntries == 0 {
		opts.compactEntries = 1 << 40
	}
	c := &cluster{
		t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 1)), opts: opts, net: newNetwork(brokers, seed),
		clocks: map[protocol.BrokerID]*clock{}, lives: map[protocol.BrokerID]*life{}, onChunk: func(*life, pb.Chunk) {},
	}
	dir := t.TempDir() // before the cleanup below: it is removed after it
	t.Cleanup(func() {
		for _, id := range brokers {
			c.end(id, killed)
		}
		c.buried.Wait()
		c.net.close()
	})
	for _, id := range brokers {
		disk := storefs.NewMem()
		for _, d := range []string{journalDir, dataDir} {
			require.NoError(t, disk.MkdirAll(d))
		}
		require.NoError(t, disk.SyncDir("/"))
		c.clocks[id] = &clock{}
		c.start(id, remains{disk, filepath.Join(dir, fmt.Sprint("b", id))})
	}
	return c
}

// start begins a life of a broker.
func (c *cluster) start(id protocol.BrokerID, has remains) *life {
	c.mu.Lock()
	c.count++
	next := fmt.Sprintf("%s-%d", filepath.Join(filepath.Dir(has.dir), fmt.Sprint("b", id)), c.count)
	c.mu.Unlock()
	l := &life{id: id, has: has, ended: make(chan struct{}), onEnd: powerCut(c.seed), next: next}
	l.port = &port{n: c.net, self: id, dead: &l.dead, chunk: func(chunk pb.Chunk) { c.onChunk(l, chunk) }}
	disk := storefs.Faulty(has.disk, l.onFile)
	var err error
	l.node, err = raftnode.Open(raftnode.Config{
		ClusterID: 3, Self: id, Dir: has.dir, Net: l.port, Tick: c.opts.tick, ElectionTicks: electionTicks, HeartbeatTicks: heartbeatTicks,
		ProposalTimeout: 2 * time.Second,
		LogDB:           storage{journal.Factory{Options: journal.Options{FS: disk, FileBytes: 256 << 10, CacheBytes: 64 << 10}}, l},
	})
	require.NoError(c.t, err)
	l.m = fsm.New(fsm.Config{
		FS: disk, Dir: dataDir + "/p", Partition: testTP, SnapshotBytesPerSecond: -1,
		Seglog: seglog.Options{SegmentBytes: c.opts.segmentBytes, IndexEveryBytes: 1 << 10},
	})
	l.p, err = partition.New(partition.Config{
		TP: testTP, Topic: "t", Shard: shard, Self: id, Node: proposer{l.node, l}, FSM: l.m,
		ProposalTimeout: time.Second, PendingTimeout: 3 * time.Second, Now: c.clocks[id].now,
		UpkeepEvery: 20 * time.Millisecond, RetentionEvery: 20 * time.Millisecond, CompactEntries: c.opts.compactEntries,
	})
	require.NoError(c.t, err)
	l.p.SetRetention(uint64(c.opts.retain.Milliseconds()), 0)
	c.mu.Lock()
	c.lives[id] = l
	c.mu.Unlock()
	require.NoError(c.t, l.node.StartPartition(raftnode.Start{
		Shard: shard, Replica: uint64(id), Replicas: replicas(), OnLeader: l.p.Leadership,
	}, machine{l.m, l}))
	return l
}

func replicas() (out []raftnode.Replica) {
	for _, id := range brokers {
		out = append(out, raftnode.Replica{Broker: id, ReplicaID: uint64(id)})
	}
	return out
}

func (c *cluster) life(id protocol.BrokerID) *life {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lives[id]
}

// running returns the lives that have not ended.
func (c *cluster) running() (out []*life) {
	for _, id := range brokers {
		if l := c.life(id); l != nil && !l.dead.Load() {
			out = append(out, l)
		}
	}
	return out
}

// end ends the life of a broker, if it runs, and returns what is left.
func (c *cluster) end(id protocol.BrokerID, how ending) remains {
	l := c.life(id)
	if l == nil {
		return remains{}
	}
	l.end(how, nil)
	return c.bury(l)
}

// bury waits until a life has ended and closes what goes on of it in the background.
func (c *cluster) bury(l *life) remains {
	c.t.Helper()
	select {
	case <-l.ended:
	case <-time.After(soon):
		require.FailNow(c.t, "a life did not end", "broker %d", l.id)
	}
	c.mu.Lock()
	first := c.lives[l.id] == l
	if first {
		delete(c.lives, l.id)
	}
	c.mu.Unlock()
	if first {
		c.buried.Go(func() {
			if err := l.close(); err != nil {
				c.t.Errorf("broker %d: %v", l.id, err)
			}
		})
	}
	return l.left
}

// again ends the life of a broker and begins the next one.
func (c *cluster) again(id protocol.BrokerID, how ending) *life { return c.start(id, c.end(id, how)) }

// leader waits until a broker serves.
func (c *cluster) leader() *life {
	c.t.Helper()
	var found *life
	c.eventually("no broker serves", func() bool {
		found = c.serving(0)
		return found != nil
	})
	return found
}

// serving returns the broker with the highest epoch of those that serve, but for one; nil if there is none.
func (c *cluster) serving(but protocol.BrokerID) (best *life) {
	newest := protocol.Epoch(0)
	for _, l := range c.running() {
		if epoch, _, ok := l.p.Leading(); ok && epoch > newest && l.id != but {
			best, newest = l, epoch
		}
	}
	return best
}

// follower returns a broker that does not lead.
func (c *cluster) follower() *life {
	lead := c.leader()
	for _, l := range c.running() {
		if l != lead {
			return l
		}
	}
	return nil
}

func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(soon); !ok(); time.Sleep(poll) {
		if time.Now().Before(end) {
			continue
		}
		for _, l := range c.running() {
			c.t.Logf("broker %d: applied %d, %+v", l.id, l.m.Applied(), l.p.Status())
		}
		require.FailNow(c.t, what, "seed %d", c.seed)
	}
}

// pause lets everything go on for a time that the seed says.
func (c *cluster) pause(low, high time.Duration) {
	time.Sleep(low + time.Duration(c.random.Int64N(int64(high-low))))
}
