package controller

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// spec is one replica that the metadata places on this broker. It does not change.
type spec struct {
	tp       protocol.TopicPartition
	topic    string
	shard    uint64
	replica  uint64             // own replica ID
	founders []raftnode.Replica // of the shard; its first members
	replicas []raftnode.Replica // the voters, and whoever is about to be one
	voters   int                // replicas[:voters] are voters, the preferred leader first
	moves    bool               // a move is under way
	parting  protocol.BrokerID  // whose replica that move takes away; 0: nobody's
	config   wire.TopicConfig
}

// joins reports whether the replica was not there when its shard was founded.
func (s *spec) joins() bool { return s.replica >= meta.FirstReplica }

// brokers returns the brokers of the voters, the preferred leader first.
func (s *spec) brokers() []protocol.BrokerID {
	out := make([]protocol.BrokerID, s.voters)
	for i, r := range s.replicas[:s.voters] {
		out[i] = r.Broker
	}
	return out
}

// others returns the brokers of the other voters.
func (s *spec) others(self protocol.BrokerID) []protocol.BrokerID {
	return slices.DeleteFunc(s.brokers(), func(b protocol.BrokerID) bool { return b == self })
}

// newSpec returns the local replica of a partition, nil if it has none.
func newSpec(t *meta.Topic, p protocol.Partition, self protocol.BrokerID) *spec {
	placed := &t.Partitions[p]
	own, _, ok := placed.Placed(self)
	if !ok {
		return nil
	}
	s := &spec{
		tp: protocol.TopicPartition{Topic: t.ID, Partition: p}, topic: t.Name,
		shard: placed.Shard, replica: own.ReplicaID, voters: len(placed.Replicas), config: t.Config,
	}
	for _, b := range placed.Founders {
		s.founders = append(s.founders, raftnode.Replica{Broker: b, ReplicaID: uint64(b)})
	}
	for _, r := range placed.Replicas {
		s.replicas = append(s.replicas, raftnode.Replica{Broker: r.Broker, ReplicaID: r.ReplicaID})
	}
	if m := placed.Move; m != nil {
		s.moves, s.parting = true, m.Remove.Broker
		if m.Add.Broker != 0 {
			s.replicas = append(s.replicas, raftnode.Replica{Broker: m.Add.Broker, ReplicaID: m.Add.ReplicaID})
		}
	}
	return s
}

// host runs replicas. It is the seam behind which tests have no Raft.
type host interface {
	// start starts a replica. Its data is in dir. onLeader gets what the replica learns of its leader, in order;
	// onLeading is called when the replica serves in a new epoch. Neither may block.
	start(s *spec, dir string, onLeader func(raftnode.Leadership), onLeading func(protocol.Epoch)) (running, error)
	// stored returns the replicas whose Raft logs are here: shard -> replica ID.
	stored() map[uint64]uint64
	removeData(ctx context.Context, shard uint64) error
	leader(shard uint64) (raftnode.Leadership, bool)
	campaign(shard uint64)
	petition(shard uint64, voters []protocol.BrokerID)
	// match returns how much of the log a follower of a shard led here has.
	match(shard uint64, follower protocol.BrokerID) (index uint64, ok bool)
	// progress is match of one replica, and when it last answered. last returns the last index of the log here.
	progress(shard, replica uint64) (match uint64, at time.Time, ok bool)
	last(shard uint64) (index uint64, ok bool)
	// sync returns once everything committed before the call is applied here.
	sync(ctx context.Context, shard uint64) error
	// transfer asks for a hand-over of the metadata shard, led here, and returns at once.
	transfer(ctx context.Context, shard uint64, to protocol.BrokerID) error
}

// running is a replica that was started.
type running interface {
	partition() *partition.Partition
	// serving returns the epoch in which the replica serves as the leader.
	serving() (protocol.Epoch, bool)
	// newest returns the newest epoch applied here and who began it.
	newest() (protocol.Epoch, protocol.BrokerID)
	// applied returns the index applied here.
	applied() uint64
	configure(wire.TopicConfig)
	// place tells the replica who the others are now.
	place(*spec)
	setQuorum(bool)
	setDiskReserve(bool)
	// transfer hands the leadership over; publishers wait at most silent until the target is told, 0: as long as it takes
	transfer(ctx context.Context, to protocol.BrokerID, silent time.Duration) error
	// stop ends the replica: everything pending is answered. Its data stays.
	stop() error
	// closeState closes the state machine of a replica whose Raft data are gone. Raft closes it too, but in its own time: the last
	// state would be written where the directory was.
	closeState() error
}

// raftHost runs real replicas.
type raftHost struct {
	cfg     *Config
	node    *raftnode.Node
	fetch   *fetcher
	moves   *rate.Limiter // of the bytes that moves copy which repair nothing
	sending atomic.Int32  // snapshots
}

var _ host = (*raftHost)(nil)

func (h *raftHost) start(s *spec, dir string, onLeader func(raftnode.Leadership),
	onLeading func(protocol.Epoch)) (running, error) {
	machineConfig := h.cfg.Machine
	machineConfig.FS, machineConfig.Dir, machineConfig.Partition = h.cfg.FS, dir, s.tp
	r := &raftReplica{node: h.node}
	r.place(s)
	machineConfig.Fetch = h.fetch.of(s.tp, func() []protocol.BrokerID { return r.placed.Load().others(h.cfg.Self) })
	machineConfig.Gentle, machineConfig.Sending = func() *rate.Limiter { return h.gentle(r.placed.Load()) }, &h.sending
	if s.config.SegmentBytes != 0 {
		machineConfig.Seglog.SegmentBytes = int64(s.config.SegmentBytes)
	}
	if machineConfig.Log == nil {
		machineConfig.Log = h.cfg.Log
	}
	machine := fsm.New(machineConfig)

	partitionConfig := h.cfg.Partition
	partitionConfig.TP, partitionConfig.Topic, partitionConfig.Shard = s.tp, s.topic, s.shard
	partitionConfig.Self = h.cfg.Self
	partitionConfig.Node, partitionConfig.FSM, partitionConfig.OnLeading = h.node, machine, onLeading
	if partitionConfig.Log == nil {
		partitionConfig.Log = h.cfg.Log
	}
	p, err := partition.New(partitionConfig)
	if err != nil {
		return nil, err
	}
	r.p = p
	r.configure(s.config)
	first := s.founders
	if s.joins() {
		first = s.replicas
	}
	err = h.node.StartPartition(raftnode.Start{
		Shard: s.shard, Replica: s.replica, Replicas: first, Join: s.joins(),
		OnLeader: func(l raftnode.Leadership) {
			onLeader(l)
			p.Leadership(l)
		},
	}, machine)
	if err != nil {
		p.Close()
		return nil, err
	}
	if to, ok := h.node.ReplaysTo(s.shard); ok { // else it has stopped again, and the machine is closed
		machine.ReplaysTo(to)
	}
	return r, nil
}

// gentle returns the limit for snapshots of a partition while a move copies it that takes a replica from nobody, or from a broker that is alive.
// What replaces a lost replica, or brings one up that fell behind, is not delayed; and nothing is when as many are being sent as can be, because
// one of those may wait for the end of another.
func (h *raftHost) gentle(s *spec) *rate.Limiter {
	comfort := s.moves && (s.parting == 0 || s.parting == h.cfg.Self || h.cfg.Alive(s.parting))
	if !comfort || h.sending.Load() >= raftnode.MaxStreams {
		return nil
	}
	return h.moves
}

func (h *raftHost) stored() map[uint64]uint64 {
	out := make(map[uint64]uint64)
	for _, s := range h.node.Stored() {
		if s.Shard >= raftnode.FirstPartitionShard {
			out[s.Shard] = s.Replica
		}
	}
	return out
}

func (h *raftHost) removeData(ctx context.Context, shard uint64) error {
	for _, r := range h.node.Stored() {
		if r.Shard == shard {
			return h.node.RemoveData(ctx, shard, r.Replica)
		}
	}
	return nil
}

func (h *raftHost) leader(shard uint64) (raftnode.Leadership, bool) { return h.node.Leader(shard) }

func (h *raftHost) match(shard uint64, follower protocol.BrokerID) (uint64, bool) {
	return h.node.Match(shard, follower)
}

func (h *raftHost) progress(shard, replica uint64) (uint64, time.Time, bool) {
	return h.node.Progress(shard, replica)
}

func (h *raftHost) last(shard uint64) (uint64, bool) { return h.node.LastIndex(shard) }

func (h *raftHost) sync(ctx context.Context, shard uint64) error {
	_, err := h.node.Read(ctx, shard, fsm.StatusQuery{})
	return err
}

func (h *raftHost) campaign(shard uint64) { h.node.Campaign(shard) }

func (h *raftHost) petition(shard uint64, voters []protocol.BrokerID) { h.node.Petition(shard, voters) }

func (h *raftHost) transfer(ctx context.Context, shard uint64, to protocol.BrokerID) error {
	return h.node.Transfer(ctx, shard, to, raftnode.Handover{})
}

// raftReplica is a real replica.
type raftReplica struct {
	p      *partition.Partition
	node   *raftnode.Node
	placed atomic.Pointer[spec] // what the metadata wants now
}

func (r *raftReplica) partition() *partition.Partition { return r.p }

func (r *raftReplica) serving() (protocol.Epoch, bool) {
	epoch, _, ok := r.p.Leading()
	return epoch, ok
}

func (r *raftReplica) newest() (protocol.Epoch, protocol.BrokerID) { return r.p.FSM().Leader() }

func (r *raftReplica) applied() uint64 { return r.p.FSM().Applied() }

func (r *raftReplica) configure(c wire.TopicConfig) {
	r.p.SetRetention(c.RetentionMillis, c.RetentionBytes)
}

func (r *raftReplica) place(s *spec) { r.placed.Store(s) }

func (r *raftReplica) setQuorum(hears bool) { r.p.SetQuorum(hears) }

func (r *raftReplica) setDiskReserve(low bool) { r.p.SetDiskReserve(low) }

func (r *raftReplica) transfer(ctx context.Context, to protocol.BrokerID, silent time.Duration) error {
	return r.p.Transfer(ctx, to, silent)
}

func (r *raftReplica) closeState() error { return r.p.FSM().Close() }

func (r *raftReplica) stop() error {
	r.p.Close()
	if err := r.node.Stop(r.p.Shard()); err != nil {
		return fmt.Errorf("stop replica: %w", err)
	}
	return nil
}
