package raftnode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// Log entries kept behind a snapshot that Dragonboat takes by itself: for a partition that is only the one received
// from another replica, for the metadata shard one every metaSnapshotEntries. The metadata's are small and many are kept: a broker
// that was away then gets the log, and need not wait for one of the MaxStreams of partitions to end.
const (
	partitionKeepEntries = 1000
	metaSnapshotEntries  = 1000
	metaKeepEntries      = 10_000
)

// removeTimeout bounds RemoveData when its context has no deadline: the state machine must be closed first.
const removeTimeout = 30 * time.Second

// Replica is one member of a shard: the broker it runs on and its ID in the shard.
type Replica struct {
	Broker    protocol.BrokerID
	ReplicaID uint64
}

// Start says how the local replica of a shard is started. A replica ID stands for one replica of the shard for ever.
type Start struct {
	Shard, Replica uint64 // StartMeta sets both
	// Replicas are the members known to the caller. Founders name all of them, themselves too, the same on each: their first start
	// makes the shard of them. For the others, and at later starts, this only says on which brokers replicas are until they
	// speak; who is a member is in the log.
	Replicas []Replica
	// Join is for a replica of a shard that exists: it begins with an empty log and waits until a leader adds it. It counts
	// at the first start; at later ones the log storage knows.
	Join bool

	OnLeader func(Leadership) // see Leadership; nil: no interest
	// OnRemoved is called when Raft removed the replica from its shard and this replica heard of it, also again after a restart; nil:
	// no interest. It must not block. The replica does nothing any more, but Stop and RemoveData are still to be called. A
	// replica that was down or cut off when it was removed may never hear of it.
	OnRemoved func()
}

// StartPartition starts the local replica of a partition's shard. The state machine belongs to the shard until it is
// stopped. It fails with an *OtherReplicaError or ErrRemoved if the replica must not run here.
func (n *Node) StartPartition(r Start, sm statemachine.IOnDiskStateMachine) error {
	cfg := n.shardConfig(r)
	cfg.CompactionOverhead = partitionKeepEntries
	create := func(uint64, uint64) statemachine.IOnDiskStateMachine { return sm }
	return n.start(cfg, r, func(members map[uint64]string, join bool, cfg config.Config) error {
		return n.nh.StartOnDiskReplica(members, join, create, cfg)
	})
}

// StartMeta starts the local replica of the metadata shard, whose ID is the broker's, as StartPartition does.
func (n *Node) StartMeta(r Start, create statemachine.CreateStateMachineFunc) error {
	r.Shard, r.Replica = MetaShard, uint64(n.cfg.Self)
	cfg := n.shardConfig(r)
	cfg.SnapshotEntries = metaSnapshotEntries
	cfg.CompactionOverhead = metaKeepEntries
	return n.start(cfg, r, func(members map[uint64]string, join bool, cfg config.Config) error {
		return n.nh.StartReplica(members, join, create, cfg)
	})
}

func (n *Node) shardConfig(r Start) config.Config {
	return config.Config{
		ShardID:             r.Shard,
		ReplicaID:           r.Replica,
		CheckQuorum:         true,
		PreVote:             true,
		OrderedConfigChange: true,
		ElectionRTT:         uint64(n.cfg.ElectionTicks),
		HeartbeatRTT:        uint64(n.cfg.HeartbeatTicks),
	}
}

// start launches a shard and looks for its leader.
func (n *Node) start(cfg config.Config, r Start, run func(map[uint64]string, bool, config.Config) error) error {
	if err := n.launch(cfg, r, run); err != nil {
		return err
	}
	n.greet(r.Shard)
	return nil
}

// launch registers the shard before it runs, so that no event is missed.
func (n *Node) launch(cfg config.Config, r Start, run func(map[uint64]string, bool, config.Config) error) (err error) {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	s := &shard{
		id: r.Shard, self: r.Replica, peers: newPeers(r.Replicas), session: n.nh.GetNoOPSession(r.Shard),
		onLeader: r.OnLeader, onRemoved: r.OnRemoved,
	}
	if on := s.peers.broker(s.self); on != 0 && on != n.cfg.Self {
		return fmt.Errorf("raftnode: start shard %d: replica %d is on broker %d: %w", s.id, s.self, on, ErrUnknown)
	}
	s.peers.of[s.self] = &peer{broker: n.cfg.Self}
	if !n.register(s) {
		return fmt.Errorf("raftnode: start shard %d: it runs already", s.id)
	}
	defer func() { // Dragonboat panics on a bad replica: here it is one shard's error
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			n.unregister(s.id)
			err = fmt.Errorf("raftnode: start shard %d replica %d: %w", s.id, s.self, err)
		}
	}()
	members, join, known, err := n.origin(r)
	if err != nil {
		return err
	}
	// A joined replica always starts as a learner: a snapshot that it has or gets, or its log, makes it the voter that it is.
	cfg.IsNonVoting = join
	if join {
		s.learner.Store(true)
		n.learners.Add(1)
	}
	err = run(members, join, cfg)
	if errors.Is(err, dragonboat.ErrReplicaRemoved) {
		err = ErrRemoved
		if !known { // it was noted as started before it was refused
			err = errors.Join(err, n.logs.RemoveNodeData(s.id, s.self))
		}
	}
	return err
}

// origin returns with what members, if any, the local replica is made, whether it joined or joins, and whether it was started
// here before.
func (n *Node) origin(r Start) (members map[uint64]string, join, known bool, err error) {
	info, err := n.logs.GetBootstrapInfo(r.Shard, r.Replica)
	switch {
	case err == nil:
		return nil, info.Join, true, nil
	case !errors.Is(err, raftio.ErrNoBootstrapInfo):
		return nil, false, false, err
	}
	stored, err := n.logs.ListNodeInfo()
	if err != nil {
		return nil, false, false, err
	}
	for _, o := range stored {
		if o.ShardID == r.Shard {
			return nil, false, false, &OtherReplicaError{Shard: r.Shard, Wanted: r.Replica, Stored: o.ReplicaID}
		}
	}
	if r.Join {
		return nil, true, false, nil
	}
	members = make(map[uint64]string, len(r.Replicas))
	for _, m := range r.Replicas {
		members[m.ReplicaID] = raftnet.Target(m.Broker)
	}
	if members[r.Replica] == "" {
		return nil, false, false, fmt.Errorf("it is no founder: %w", ErrUnknown)
	}
	return members, false, false, nil
}

func (n *Node) register(s *shard) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.shards[s.id]; ok {
		return false
	}
	n.shards[s.id] = s
	return true
}

func (n *Node) unregister(id uint64) {
	n.mu.Lock()
	s := n.shards[id]
	delete(n.shards, id)
	n.mu.Unlock()
	if s != nil && s.learner.CompareAndSwap(true, false) {
		n.learners.Add(-1)
	}
	n.inbox.forget(id)
	n.campaigns.end(id)
	n.ballots.forget(id)
	n.petitions.forget(id)
}

// Stop stops the local replica of a shard. Open proposals end as Unknown. The state machine is closed soon after, by
// Dragonboat.
func (n *Node) Stop(id uint64) error {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	if _, ok := n.shard(id); !ok {
		return fmt.Errorf("raftnode: stop shard %d: %w", id, ErrStopped)
	}
	n.unregister(id)
	if err := n.nh.StopShard(id); err != nil && !errors.Is(err, dragonboat.ErrShardNotFound) {
		return fmt.Errorf("raftnode: stop shard %d: %w", id, err)
	}
	return nil
}

// RemoveData deletes the Raft log and snapshots of a replica that no longer runs here, after its state machine was
// closed. It can never run here again under that ID, even if nothing of it was stored. The state machine's own files are not
// touched. It is idempotent, also across a crash.
func (n *Node) RemoveData(ctx context.Context, id, replica uint64) error {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	if s, ok := n.shard(id); ok && s.self == replica {
		return fmt.Errorf("raftnode: remove shard %d replica %d: it is running", id, replica)
	}
	ctx, done := n.gate.bound(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, removeTimeout) // SyncRemoveData insists on a deadline
	defer cancel()
	if err := n.nh.SyncRemoveData(ctx, id, replica); err != nil {
		return fmt.Errorf("raftnode: remove shard %d replica %d: %w", id, replica, err)
	}
	return nil
}

// Stored is a replica that has a Raft log here, running or not.
type Stored struct{ Shard, Replica uint64 }

// Stored returns the replicas that have a Raft log here, in order of their shards: at most one of each.
func (n *Node) Stored() []Stored {
	if !n.gate.enter() {
		return nil
	}
	defer n.gate.leave()
	var out []Stored
	for _, info := range n.nh.GetNodeHostInfo(dragonboat.DefaultNodeHostInfoOption).LogInfo {
		out = append(out, Stored{Shard: info.ShardID, Replica: info.ReplicaID})
	}
	slices.SortFunc(out, func(a, b Stored) int { return cmp.Compare(a.Shard, b.Shard) })
	return out
}

// ErrRemoved says that a replica was removed here: its ID can never run on this broker again, because it has forgotten its
// vote and what it acknowledged.
var ErrRemoved = errors.New("the replica was removed here and never runs again; a new one needs a new replica ID")

// OtherReplicaError says that another replica of the shard is stored on this broker.
type OtherReplicaError struct{ Shard, Wanted, Stored uint64 }

// Error implements error.
func (e *OtherReplicaError) Error() string {
	return fmt.Sprintf("the log of replica %d of shard %d is stored here: remove it before replica %d is started",
		e.Stored, e.Shard, e.Wanted)
}
