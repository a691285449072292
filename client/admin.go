package client

import (
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// Admin holds the administrative calls of a Client. Every call retries on other brokers until ctx ends.
type Admin struct{ c *Client }

// TopicSpec describes a topic to create.
type TopicSpec struct {
	Partitions int // default 1
	Replicas   int // default 1
	TopicConfig
}

// TopicConfig is what can be altered later. Zero is no limit, or the broker's default.
type TopicConfig struct {
	Retention      time.Duration // remove records older than this
	RetentionBytes uint64        // per partition
	SegmentBytes   uint64
}

// TopicChange alters a topic. Nil fields stay as they are.
type TopicChange struct {
	Partitions     *int // only more than now
	Retention      *time.Duration
	RetentionBytes *uint64
	SegmentBytes   *uint64
	// Replicas wanted for each partition, at most as many as there are active brokers. They are added or removed one by
	// one after the call has returned; see Admin.Moves.
	Replicas *int
}

// Topic is a topic's metadata.
type Topic struct {
	ID         protocol.TopicID
	Name       string
	Config     TopicConfig
	Replicas   int              // wanted for each partition
	Partitions []TopicPartition // index is the partition
}

// TopicPartition is the placement of one partition and who leads it.
type TopicPartition struct {
	Partition protocol.Partition
	Leader    protocol.BrokerID // 0: none known
	Epoch     protocol.Epoch
	Replicas  []protocol.BrokerID
}

// TopicDescription is a topic with the state of its replicas.
type TopicDescription struct {
	ID         protocol.TopicID
	Name       string
	Config     TopicConfig
	Replicas   int // wanted for each partition
	Partitions []PartitionDescription
}

// PartitionDescription is one partition: offsets are the leader's, or the best known without one.
type PartitionDescription struct {
	TopicPartition
	Start  protocol.Offset
	Next   protocol.Offset
	Bytes  uint64
	States []ReplicaState // one per replica, same order as Replicas
}

// ReplicaState is one replica as its broker sees it.
type ReplicaState struct {
	Broker  protocol.BrokerID
	Err     error // the broker did not answer, or its replica is not ready (ErrReplicaNotReady); the rest is zero
	Leading bool
	Start   protocol.Offset
	Next    protocol.Offset
	Bytes   uint64
	Applied uint64         // Raft index
	Epoch   protocol.Epoch // newest leader epoch that it has applied; read before the offsets
}

// Move is a change of the replicas of one partition that is under way: the broker Add gets a replica, and the one on Remove
// goes.
type Move struct {
	ID        uint64
	Topic     protocol.TopicID // 0: the cluster's metadata
	Partition protocol.Partition
	Add       protocol.BrokerID // 0: none
	Remove    protocol.BrokerID // 0: none
	Undo      bool              // it is being taken back
}

// SubscriptionState is the cursor of a subscription on one partition.
type SubscriptionState struct {
	Subscription string
	Partition    protocol.Partition
	Cursor       protocol.Offset
	Activation   protocol.Activation
	Active       string // consumer, empty if none
	Consumers    []string
}

// BrokerStatus is what one broker says of itself and of the others.
type BrokerStatus struct {
	Broker
	Err             error // it did not answer; the rest is zero
	Cluster         string
	Version         string
	Uptime          time.Duration
	MetadataVersion uint64
	MetadataLeader  protocol.BrokerID
	Replicas        int
	Leading         int
	Draining        bool
	Peers           []PeerStatus

	NotReady       string // why it does not serve; empty: it does
	Missing        int    // replicas placed on it that do not run
	DiskFree       uint64 // bytes of the file system of its data; 0 with DiskTotal 0: not known
	DiskTotal      uint64 // bytes
	DiskReserve    uint64 // bytes; with fewer free it refuses publishes
	RepairAfter    time.Duration
	MetadataVoters []protocol.BrokerID
	// Behind are partitions that it leads of which some replicas lack what it had a second ago or do not answer; replicas that a move
	// adds do not count. LastStraw counts those that stop when one more replica is lost. Lists name the first 100, totals count all.
	Behind      []AilingPartition
	BehindTotal int
	LastStraw   int
	// Leaderless are partitions of which it has a replica that has known no leader for 3 s.
	Leaderless      []AilingPartition
	LeaderlessTotal int
	Damaged         []string // what is damaged in its logs and not repaired
	DamagedTotal    int

	// Level is the cluster's as this broker has it, Levels are what it understands. A broker of a release before there were levels is
	// at level 1 and understands that alone.
	Level  protocol.Level
	Levels protocol.Levels
}

// PeerStatus is what one broker believes about another.
type PeerStatus struct {
	Broker      protocol.BrokerID
	State       string // alive, suspect, dead, unknown
	Since       time.Duration
	Silent      time.Duration
	StalledDisk bool // it said that its journal hangs
	Starved     bool // it said that it gets too little of the processors; nobody gives it leaderships
}
