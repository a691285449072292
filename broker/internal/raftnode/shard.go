package raftnode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/trunkline/trunkline/broker/internal/raftnet"
	"github.com/trunkline/trunkline/protocol"
)

// Log entries kept behind a snapshot that Dragonboat takes by itself: for a partition that is only the one received
// from another replica, for the metadata shard one every metaSnapshotEntries.
const (
	partitionKeepEntries = 1000
	metaSnapshotEntries  = 1000
	metaKeepEntries      = 500
)

// removeTimeout bounds RemoveData when its context has no deadline: the state machine must be closed first.
const removeTimeout = 30 * time.Second

// Replica is one member of a shard: the broker it runs on and its ID in the shard.
type Replica struct {
	Broker    protocol.BrokerID
	ReplicaID uint64
}

// StartPartition starts the local replica self of a shard. The first start bootstraps it with replicas, which must be
// the same on all of them; later starts take the membership from the log. The state machine belongs to the shard until
// it is stopped. onLeader is described at Leadership; nil means no interest.
func (n *Node) StartPartition(id, self uint64, replicas []Replica, sm statemachine.IOnDiskStateMachine,
	onLeader func(Leadership)) error {
	cfg := n.shardConfig(id, self)
	cfg.CompactionOverhead = partitionKeepEntries
	create := func(uint64, uint64) statemachine.IOnDiskStateMachine { return sm }
	return n.start(cfg, replicas, onLeader, func(members map[uint64]string) error {
		return n.nh.StartOnDiskReplica(members, false, create, cfg)
	})
}

// StartMeta starts the local replica of the metadata shard; its replica ID is the one listed for this broker.
func (n *Node) StartMeta(replicas []Replica, create statemachine.CreateStateMachineFunc,
	onLeader func(Leadership)) error {
	i := slices.IndexFunc(replicas, func(r Replica) bool { return r.Broker == n.cfg.Self })
	if i < 0 {
		return fmt.Errorf("raftnode: start shard %d: broker %d: %w", MetaShard, n.cfg.Self, ErrUnknown)
	}
	cfg := n.shardConfig(MetaShard, replicas[i].ReplicaID)
	cfg.SnapshotEntries = metaSnapshotEntries
	cfg.CompactionOverhead = metaKeepEntries
	return n.start(cfg, replicas, onLeader, func(members map[uint64]string) error {
		return n.nh.StartReplica(members, false, create, cfg)
	})
}

func (n *Node) shardConfig(id, self uint64) config.Config {
	return config.Config{
		ShardID:             id,
		ReplicaID:           self,
		CheckQuorum:         true,
		PreVote:             true,
		OrderedConfigChange: true,
		ElectionRTT:         uint64(n.cfg.ElectionTicks),
		HeartbeatRTT:        uint64(n.cfg.HeartbeatTicks),
	}
}

// start registers the shard before it runs, so that no leadership event is missed.
func (n *Node) start(cfg config.Config, replicas []Replica, onLeader func(Leadership),
	run func(map[uint64]string) error) (err error) {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	s := &shard{
		id:       cfg.ShardID,
		self:     cfg.ReplicaID,
		brokers:  make(map[uint64]protocol.BrokerID, len(replicas)),
		session:  n.nh.GetNoOPSession(cfg.ShardID),
		onLeader: onLeader,
	}
	members := make(map[uint64]string, len(replicas))
	for _, r := range replicas {
		s.brokers[r.ReplicaID] = r.Broker
		members[r.ReplicaID] = raftnet.Target(r.Broker)
	}
	if s.brokers[s.self] != n.cfg.Self {
		return fmt.Errorf("raftnode: start shard %d: replica %d is not one of broker %d: %w",
			s.id, s.self, n.cfg.Self, ErrUnknown)
	}
	if !n.register(s) {
		return fmt.Errorf("raftnode: start shard %d: it runs already", s.id)
	}
	defer func() { // Dragonboat panics on a bad replica: here it is one shard's error
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			n.unregister(s.id)
			err = fmt.Errorf("raftnode: start shard %d: %w", s.id, err)
		}
	}()
	if n.nh.HasNodeInfo(s.id, s.self) { // it panics when the disk fails
		members = nil
	}
	return run(members)
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
	if s != nil {
		n.progress.forget(s)
	}
	n.inbox.forget(id)
	n.campaigns.end(id)
	n.ballots.forget(id)
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

// RemoveData deletes the Raft log and snapshots of a shard that no longer runs here, after its state machine was
// closed. The shard can never run here again under the same replica ID. The state machine's own files are not touched.
func (n *Node) RemoveData(ctx context.Context, id uint64) error {
	if !n.gate.enter() {
		return ErrStopped
	}
	defer n.gate.leave()
	if _, ok := n.shard(id); ok {
		return fmt.Errorf("raftnode: remove shard %d: it is running", id)
	}
	ctx, done := n.gate.bound(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, removeTimeout) // SyncRemoveData insists on a deadline
	defer cancel()
	for _, info := range n.nh.GetNodeHostInfo(dragonboat.DefaultNodeHostInfoOption).LogInfo {
		if info.ShardID != id {
			continue
		}
		if err := n.nh.SyncRemoveData(ctx, id, info.ReplicaID); err != nil {
			return fmt.Errorf("raftnode: remove shard %d replica %d: %w", id, info.ReplicaID, err)
		}
	}
	return nil
}

// Stored returns the shards that have a Raft log here, in order, running or not.
func (n *Node) Stored() []uint64 {
	if !n.gate.enter() {
		return nil
	}
	defer n.gate.leave()
	var ids []uint64
	for _, info := range n.nh.GetNodeHostInfo(dragonboat.DefaultNodeHostInfoOption).LogInfo {
		ids = append(ids, info.ShardID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
