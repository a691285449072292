package raftnet

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	dblog "github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/plugin/tan"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/liveness"
	"github.com/trunkline/trunkline/protocol"
)

// counterSM counts its updates. Its snapshots are large enough to need several chunks.
type counterSM struct{ n uint64 }

const snapshotPadding = 5 << 20

func (c *counterSM) Update(sm.Entry) (sm.Result, error) {
	c.n++
	return sm.Result{Value: c.n}, nil
}
func (c *counterSM) Lookup(any) (any, error) { return c.n, nil }
func (c *counterSM) SaveSnapshot(w io.Writer, _ sm.ISnapshotFileCollection, _ <-chan struct{}) error {
	b := make([]byte, snapshotPadding)
	b[0], b[1] = byte(c.n), byte(c.n>>8)
	_, err := w.Write(b)
	return err
}
func (c *counterSM) RecoverFromSnapshot(r io.Reader, _ []sm.SnapshotFile, _ <-chan struct{}) error {
	b := make([]byte, snapshotPadding)
	_, err := io.ReadFull(r, b)
	c.n = uint64(b[0]) | uint64(b[1])<<8
	return err
}
func (c *counterSM) Close() error { return nil }

// raftBroker is a NodeHost on a Network with a detector and a takeover, wired as a broker wires them.
type raftBroker struct {
	id       protocol.BrokerID
	net      *Network
	det      *liveness.Detector
	takeover *liveness.Takeover
	nh       *dragonboat.NodeHost
	replicas []protocol.BrokerID
	shards   []uint64

	mu     sync.Mutex
	leader map[uint64]raftio.LeaderInfo // guarded by mu
}

func (b *raftBroker) LeaderUpdated(info raftio.LeaderInfo) {
	b.mu.Lock()
	b.leader[info.ShardID] = info
	b.mu.Unlock()
}

func (b *raftBroker) Led(by protocol.BrokerID) (out []liveness.Shard) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.shards {
		if info := b.leader[id]; info.LeaderID == uint64(by) {
			out = append(out, liveness.Shard{ID: id, Term: info.Term, Replicas: b.replicas})
		}
	}
	return out
}

func (b *raftBroker) Leader(id uint64) (protocol.BrokerID, uint64, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	info := b.leader[id]
	return protocol.BrokerID(info.LeaderID), info.Term, true
}

// Petition does nothing: here only deposed leaders are replaced.
func (b *raftBroker) Petition(uint64, []protocol.BrokerID) {}

func (b *raftBroker) Campaign(id uint64) {
	_, term, _ := b.Leader(id)
	b.net.Deliver(pb.MessageBatch{Requests: []pb.Message{{
		Type: pb.TimeoutNow, ShardID: id, From: uint64(b.id), To: uint64(b.id), Term: term,
	}}})
}

// startRaft starts a broker in its life-th life.
func (c *cluster) startRaft(id protocol.BrokerID, life byte, shards []uint64) *raftBroker {
	t := c.t
	b := &raftBroker{id: id, leader: map[uint64]raftio.LeaderInfo{}, shards: shards}
	for p := range c.addrs {
		b.replicas = append(b.replicas, p)
	}
	slices.Sort(b.replicas)
	cfg := c.config(id, life)
	cfg.OnPeerDown = func(p protocol.BrokerID, boot [16]byte, cause string) { b.det.PeerDown(p, boot, cause) }
	cfg.OnPeerUp = func(p protocol.BrokerID, boot [16]byte) { b.det.PeerUp(p, boot) }
	var err error
	b.net, err = New(cfg)
	require.NoError(t, err)
	b.det = liveness.New(liveness.Config{
		Self: id, BootID: cfg.BootID, Peers: b.replicas, Port: b.net.Liveness(), Log: cfg.Log,
		Registerer: prometheus.NewRegistry(),
	})
	b.takeover = liveness.NewTakeover(liveness.TakeoverConfig{Detector: b.det, Shards: b, Log: cfg.Log})
	dir := filepath.Join(c.dir, "nh", string('0'+byte(id)))
	b.nh, err = dragonboat.NewNodeHost(config.NodeHostConfig{
		NodeHostDir: dir, RTTMillisecond: 100, RaftAddress: Target(id), DeploymentID: testCluster, RaftEventListener: b,
		Expert: config.ExpertConfig{
			TransportFactory: b.net.Factory(), LogDBFactory: tan.Factory, LogDB: config.GetTinyMemLogDBConfig(),
			Engine: config.EngineConfig{ExecShards: 2, CommitShards: 2, ApplyShards: 2, SnapshotShards: 2, CloseShards: 2},
		},
	})
	require.NoError(t, err)
	for _, shard := range shards {
		members := map[uint64]dragonboat.Target{}
		if !b.nh.HasNodeInfo(shard, uint64(id)) {
			for p := range c.addrs {
				members[uint64(p)] = Target(p)
			}
		}
		err := b.nh.StartReplica(members, false, func(uint64, uint64) sm.IStateMachine { return &counterSM{} }, config.Config{
			ReplicaID: uint64(id), ShardID: shard, ElectionRTT: 20, HeartbeatRTT: 5, PreVote: true, CheckQuorum: true,
			OrderedConfigChange: true, SnapshotEntries: 20, CompactionOverhead: 2,
		})
		require.NoError(t, err)
	}
	b.det.Start(context.Background())
	b.takeover.Start(context.Background())
	return b
}

// kill takes the broker off the network first, as the death of its process does.
func (b *raftBroker) kill() {
	_ = b.net.Close()
	b.takeover.Close()
	b.det.Close()
	b.nh.Close()
}

func (b *raftBroker) propose(shard uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := b.nh.SyncPropose(ctx, b.nh.GetNoOPSession(shard), []byte("x"))
	return err
}

func (b *raftBroker) count(shard uint64) uint64 {
	v, err := b.nh.StaleRead(shard, nil)
	if err != nil {
		return 0 // replaying
	}
	return v.(uint64)
}

// TestDragonboatFailsOverOnRaftnet is the whole of this package and liveness under real Raft: first elections,
// proposals, a killed leader whose shards move at once, and its return by snapshots.
func TestDragonboatFailsOverOnRaftnet(t *testing.T) {
	quietOnce.Do(func() { dblog.SetLoggerFactory(func(string) dblog.ILogger { return quietLogger{} }) })
	c := newCluster(t, 3)
	shards := []uint64{16, 17, 18, 19}
	began := time.Now()
	bs := map[protocol.BrokerID]*raftBroker{}
	for id := protocol.BrokerID(1); id <= 3; id++ {
		bs[id] = c.startRaft(id, 1, shards)
	}
	defer func() {
		for _, b := range bs {
			b.kill()
		}
	}()
	allLed := func(at protocol.BrokerID, not protocol.BrokerID) func() bool {
		return func() bool {
			for _, s := range shards {
				if l, _, _ := bs[at].Leader(s); l == 0 || l == not {
					return false
				}
			}
			return true
		}
	}
	eventually(t, allLed(1, 0))
	t.Logf("first leaders after %v", time.Since(began))
	require.Less(t, time.Since(began), 2*time.Second*raceFactor, "long before Raft's own timers")
	for _, s := range shards {
		for range 50 { // enough for the log to be compacted
			eventually(t, func() bool { return bs[3].propose(s) == nil })
		}
	}
	victim, _, _ := bs[3].Leader(shards[0])
	other := victim%3 + 1
	began = time.Now()
	bs[victim].kill()
	eventually(t, allLed(other, victim))
	took := time.Since(began)
	t.Logf("broker %d killed: new leaders after %v", victim, took)
	require.Less(t, took, 500*time.Millisecond*raceFactor)
	for _, s := range shards {
		for range 50 {
			eventually(t, func() bool { return bs[other].propose(s) == nil })
		}
	}
	// It comes back and is brought up by a streamed file, its log is compacted away.
	bs[victim] = c.startRaft(victim, 2, shards)
	for _, s := range shards {
		want := bs[other].count(s)
		require.GreaterOrEqual(t, want, uint64(100))
		eventually(t, func() bool { return bs[victim].count(s) >= want })
	}
	require.True(t, allLed(other, victim)(), "its return moves no leader")
}

// quietOnce is there because Dragonboat panics at the second factory.
var quietOnce sync.Once

// quietLogger keeps Dragonboat's own lines out of the test's output, and its panics as panics.
type quietLogger struct{}

func (quietLogger) SetLevel(dblog.LogLevel)           {}
func (quietLogger) Debugf(string, ...any)             {}
func (quietLogger) Infof(string, ...any)              {}
func (quietLogger) Warningf(string, ...any)           {}
func (quietLogger) Errorf(format string, args ...any) { slog.Debug(format, "args", args) }
func (quietLogger) Panicf(format string, args ...any) {
	slog.Error(format, "args", args)
	panic(format)
}
