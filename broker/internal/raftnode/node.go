package raftnode

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/journal"
	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// The shard IDs below FirstPartitionShard are the cluster's own.
const (
	MetaShard           uint64 = 1
	FirstPartitionShard uint64 = 16
)

// Worker counts of the NodeHost. execShards is frozen in a data directory by its first start. Each step worker has a write-ahead
// log of its own: more of them fsync side by side, one puts all partitions into the same fsync. On two cores and one disk, 256 B
// from four producers: 76 and 75 k messages a second with 1, 58 and 62 with 2, 40 and 47 with 4, in turns.
const (
	execShards  = 1
	applyShards = 4
	closeShards = 4
	// A snapshot worker opens a replica, saves a snapshot for Compact, or sends one to a replica that lags, which can take minutes. All
	// wait in one queue, so there must be more workers than can be sending.
	snapshotShards = MaxStreams + 4
)

// MaxStreams is how many snapshots are sent at a time, those of the metadata among them. At the bound Dragonboat refuses the next
// before anything is read for it, and Raft asks again after ten ticks. Each holds a view of its log and some chunks of it.
const MaxStreams = 4

// queueBytesMax bounds the bytes waiting in each of Dragonboat's send queues (four per peer) and receive queues (one
// per replica); at the bound messages are dropped and Raft sends them again.
const queueBytesMax = 64 << 20

// Errors of Propose and of calls on a shard. Each means that nothing was proposed.
var (
	ErrBusy     = errors.New("raft is busy")
	ErrNotReady = errors.New("raft shard is not ready")
	ErrStopped  = errors.New("raft shard is stopped")
	ErrUnknown  = errors.New("raft shard does not know this replica")
)

// Network is the part of raftnet.Network that a node uses.
type Network interface {
	Factory() config.TransportFactory
	Deliver(pb.MessageBatch)
}

// Config says how a node runs. The zero value of an optional field is its default.
type Config struct {
	ClusterID uint64            // nodes of another cluster are ignored
	Self      protocol.BrokerID // this broker
	Dir       string            // everything the node stores is below
	Net       Network

	// Tick is Raft's clock, at least a millisecond. An election times out after ElectionTicks to twice as many; a leader
	// sends heartbeats every HeartbeatTicks. Defaults: 500 ms, 5, 2. They are only the backstop of package liveness, and every
	// tick and heartbeat of every shard costs CPU, idle or not.
	Tick           time.Duration
	ElectionTicks  int
	HeartbeatTicks int
	// ProposalTimeout ends proposals as Unknown. At least two ticks. Default 5 s.
	ProposalTimeout time.Duration
	// CompactWorkers bounds concurrent Compact calls at work. Default 2.
	CompactWorkers int
	// LogDB makes the Raft log storage. Default: the journal. It is frozen in Dir by the first start.
	LogDB config.LogDBFactory

	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

func (c Config) withDefaults() Config {
	if c.Tick == 0 {
		c.Tick = 500 * time.Millisecond
	}
	if c.ElectionTicks == 0 {
		c.ElectionTicks = 5
	}
	if c.HeartbeatTicks == 0 {
		c.HeartbeatTicks = 2
	}
	if c.ProposalTimeout == 0 {
		c.ProposalTimeout = 5 * time.Second
	}
	if c.CompactWorkers == 0 {
		c.CompactWorkers = 2
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.LogDB == nil {
		c.LogDB = journal.Factory{Options: journal.Options{Log: c.Log, Registerer: c.Registerer}}
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Self == 0:
		return errors.New("raftnode: config: broker ID is 0")
	case c.Dir == "":
		return errors.New("raftnode: config: no directory")
	case c.Net == nil:
		return errors.New("raftnode: config: no network")
	case c.Tick < time.Millisecond:
		return fmt.Errorf("raftnode: config: tick %v is shorter than a millisecond", c.Tick)
	case c.ElectionTicks <= 2*c.HeartbeatTicks || c.HeartbeatTicks < 1:
		return fmt.Errorf("raftnode: config: election ticks %d must be more than twice the heartbeat ticks %d",
			c.ElectionTicks, c.HeartbeatTicks)
	case c.ProposalTimeout < 2*c.Tick:
		return fmt.Errorf("raftnode: config: proposal timeout %v is shorter than two ticks of %v", c.ProposalTimeout, c.Tick)
	}
	return nil
}

// Node runs the shards of one broker. Its methods may be called from any goroutine, also after Close: they then
// return ErrStopped.
type Node struct {
	cfg     Config
	nh      *dragonboat.NodeHost
	logs    raftio.ILogDB // of nh
	log     *slog.Logger
	gate    gate
	saves   *saveTimes
	metrics *metrics

	inbox     *inbox
	campaigns *campaigns
	tap       *tap
	ballots   *ballots
	petitions *petitions
	compact   chan struct{} // one token per running Compact

	mu     sync.RWMutex
	shards map[uint64]*shard // guarded by mu

	learners atomic.Int64 // shards whose replica here is a learner

	stop    chan struct{}
	wg      sync.WaitGroup // dispatch and campaign goroutines
	closing sync.Once
}

// shard is what the node remembers of a replica that runs here.
type shard struct {
	id        uint64
	self      uint64 // own replica ID
	peers     *peers
	learner   atomic.Bool // the replica has no vote yet, as far as is known here
	session   *client.Session
	onLeader  func(Leadership)
	onRemoved func()
}

// Open starts a node. No shard runs before StartPartition or StartMeta.
func Open(cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("raftnode: open: %w", err)
	}
	if err := pinHostname(cfg.Dir); err != nil {
		return nil, fmt.Errorf("raftnode: open %s: %w", cfg.Dir, err)
	}
	if err := refuseTan(cfg); err != nil {
		return nil, fmt.Errorf("raftnode: open %s: %w", cfg.Dir, err)
	}
	routeLogs(cfg.Log)
	n := &Node{
		cfg:     cfg,
		log:     cfg.Log,
		saves:   newSaveTimes(execShards),
		metrics: newMetrics(cfg.Registerer),
		inbox:   newInbox(),
		tap:     &tap{watches: map[watched]*watch{}},
		compact: make(chan struct{}, cfg.CompactWorkers),
		shards:  map[uint64]*shard{},
		stop:    make(chan struct{}),
	}
	n.campaigns = newCampaigns()
	n.ballots = newBallots(n.refused)
	n.petitions = newPetitions()
	n.gate.init()
	nh, err := openNodeHost(n.hostConfig())
	if err != nil {
		return nil, fmt.Errorf("raftnode: open %s: %w", cfg.Dir, err)
	}
	n.nh = nh
	n.metrics.watch(n)
	n.wg.Add(2)
	go n.dispatch()
	go n.campaign()
	return n, nil
}

func (n *Node) hostConfig() config.NodeHostConfig {
	logdb := config.GetTinyMemLogDBConfig()
	return config.NodeHostConfig{
		DeploymentID:        n.cfg.ClusterID,
		NodeHostDir:         n.cfg.Dir,
		RTTMillisecond:      uint64(n.cfg.Tick.Milliseconds()),
		RaftAddress:         raftnet.Target(n.cfg.Self),
		RaftEventListener:   n.inbox,
		SystemEventListener: n.inbox,
		MaxSendQueueSize:    queueBytesMax,
		MaxReceiveQueueSize: queueBytesMax,
		Expert: config.ExpertConfig{
			LogDBFactory:     timedFactory{n.cfg.LogDB, n},
			TransportFactory: tapFactory{n.cfg.Net.Factory(), n},
			LogDB:            logdb,
			Engine: config.EngineConfig{
				ExecShards: execShards, CommitShards: 1, ApplyShards: applyShards,
				SnapshotShards: snapshotShards, CloseShards: closeShards,
			},
		},
	}
}

// refuseTan tells what to do with a directory whose Raft logs were written by tan, Dragonboat's own storage, which
// brokers used before the journal. Dragonboat itself would only say that the type is another one.
func refuseTan(cfg Config) error {
	found, err := filepath.Glob(filepath.Join(cfg.Dir, hostDir, "*", "tandb"))
	if err != nil || len(found) == 0 || cfg.LogDB.Name() != journal.Name {
		return err
	}
	return fmt.Errorf("the Raft logs in %s were written by an older version (storage tan), and this version cannot read "+
		"them: go on with that version, or begin a new cluster with empty data directories and publish again what is to "+
		"be kept", found[0])
}

// openNodeHost turns every way in which NewNodeHost fails into an error: it returns one, panics with one, or, when
// Dragonboat panicked with a string, returns (nil, nil).
func openNodeHost(cfg config.NodeHostConfig) (nh *dragonboat.NodeHost, err error) {
	defer func() {
		if r := recover(); r != nil {
			nh, err = nil, fmt.Errorf("start raft: %v", r)
		}
	}()
	nh, err = dragonboat.NewNodeHost(cfg)
	if err == nil && nh == nil {
		err = errors.New("start raft: it panicked; see the log")
	}
	return nh, err
}

// Close stops all shards and waits for them. It is idempotent. Proposals still open end as Unknown.
func (n *Node) Close() error {
	n.closing.Do(func() {
		n.gate.close()
		close(n.stop)
		n.wg.Wait()
		n.nh.Close()
		n.metrics.unwatch()
	})
	return nil
}

// StalledFor returns how long the oldest write to the Raft log has been waiting for the disk, 0 when none is.
func (n *Node) StalledFor() time.Duration { return n.saves.oldest() }

func (n *Node) shard(id uint64) (*shard, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	s, ok := n.shards[id]
	return s, ok
}

// isLearner reports whether the replica of a shard here is a learner.
func (n *Node) isLearner(id uint64) bool {
	s, ok := n.shard(id)
	return ok && s.learner.Load()
}
