package wire

import "github.com/trunkline/trunkline/protocol"

// Hello is the client's first frame on the control stream.
type Hello struct {
	ClientName    string
	ClientVersion string
	MinVersion    uint16
	MaxVersion    uint16
	Features      []string
	Token         []byte // credential, empty when the cluster needs none
}

// HelloOK accepts a client and tells it the limits it must keep.
type HelloOK struct {
	Version             uint16
	Cluster             string
	Broker              protocol.BrokerID
	BrokerVersion       string
	Features            []string
	MaxRecordBytes      uint32
	MaxBatchBytes       uint32
	MaxInFlightBatches  uint32
	HeartbeatMillis     uint32 // the client pings at least this often
	HeartbeatLostMillis uint32 // silence after which the broker gives the client up
}

// Ping is answered by a Pong with the same bytes. MinPingBytes <= len(Payload) <= MaxPingBytes - 8.
type Ping struct {
	Payload []byte
}

// MetadataSubscribe asks for images and leader changes on this control stream from now on.
type MetadataSubscribe struct{}

// BrokerInfo is one broker as clients see it.
type BrokerInfo struct {
	ID     protocol.BrokerID
	Listen string // host:port of the QUIC listener
	Admin  string // host:port of the admin HTTP listener
	Alive  bool   // as the answering broker believes
	Zone   string // what fails together, as its operator named it
	State  protocol.BrokerState
}

// TopicConfig is what can be altered of a topic. 0 means no limit.
type TopicConfig struct {
	RetentionMillis uint64
	RetentionBytes  uint64 // per partition
	SegmentBytes    uint64 // 0: the broker's default
}

// PartitionInfo is the placement of one partition and who leads it.
type PartitionInfo struct {
	Partition protocol.Partition
	Replicas  []protocol.BrokerID // first is the preferred leader
	Leader    protocol.BrokerID   // 0: none known
	Epoch     protocol.Epoch
}

// TopicInfo is one topic. Partitions[i].Partition == i.
type TopicInfo struct {
	ID         protocol.TopicID
	Name       string
	Config     TopicConfig
	Partitions []PartitionInfo
	Replicas   uint32 // wanted for each partition; while they are being added or removed a partition has others
}

// Metadata is a whole image of the cluster. Version grows with every change of the replicated part; leaders are
// the answering broker's newest knowledge and are compared by epoch alone.
type Metadata struct {
	Version uint64
	Brokers []BrokerInfo
	Topics  []TopicInfo
}

// Leader is a fresh leader of one partition.
type Leader struct {
	Topic     protocol.TopicID
	Partition protocol.Partition
	Leader    protocol.BrokerID
	Epoch     protocol.Epoch
}

// LeaderChange is pushed as soon as the broker learns of it.
type LeaderChange struct {
	Leaders []Leader
}

// GoAway tells clients that the broker will leave after GraceMillis.
type GoAway struct {
	Reason      string
	GraceMillis uint32
}

// ProduceOpen begins a produce stream.
type ProduceOpen struct {
	Topic         protocol.TopicID
	Partition     protocol.Partition
	Producer      protocol.ProducerID
	ProducerEpoch protocol.ProducerEpoch
}

// ProduceOpenOK accepts a produce stream. NextSequence is the first sequence the partition has not
// appended for this producer.
type ProduceOpenOK struct {
	Epoch        protocol.Epoch
	NextSequence protocol.Sequence
}

// ProduceAck answers one batch; acks come in the order of the batches. With Code != 0 the batch was
// not acknowledged, nothing after it will be, and the broker ends the stream.
type ProduceAck struct {
	BaseSequence protocol.Sequence
	Count        uint32
	BaseOffset   protocol.Offset
	Epoch        protocol.Epoch
	Duplicate    bool // the batch was in the log already; BaseOffset is its first offset
	Code         protocol.Code
	Message      string
	Leader       protocol.BrokerID
}

// FromKind says where reading starts.
type FromKind uint8

// The places to start from.
const (
	FromEarliest FromKind = 0
	FromLatest   FromKind = 1
	FromOffset   FromKind = 2 // Value is the offset
	FromTime     FromKind = 3 // Value is Unix milliseconds: the first record at or after it
)

// From is a start position.
type From struct {
	Kind  FromKind
	Value uint64
}

// ConsumeOpen begins a consume stream: a member of a durable subscription, or with Subscription
// empty a reader without a cursor.
type ConsumeOpen struct {
	Topic        protocol.TopicID
	Partition    protocol.Partition
	Subscription string
	Consumer     string // unique among the subscription's consumers
	From         From   // of a subscription: counts only while it is new on this partition
	CreditBytes  uint32 // first credit
	GraceMillis  uint32 // how long Revoke may take; the broker caps it
	AnyReplica   bool   // readers only: serve from this broker's replica even if it does not lead
	StopAtEnd    bool   // readers only: end the stream when the end seen at opening was delivered
}

// ConsumeOpenOK accepts a consume stream.
type ConsumeOpenOK struct {
	Epoch protocol.Epoch
	Start protocol.Offset // start of the log
	From  protocol.Offset // cursor of the subscription, or where the reader begins
	Next  protocol.Offset // end of the log
}

// Activate makes this consumer the active one from offset From on.
type Activate struct {
	Activation protocol.Activation
	From       protocol.Offset
}

// Credit lets the broker send Bytes more bytes of batches.
type Credit struct {
	Bytes uint32
}

// Ack says that every record below Offset is done. Acks are cumulative.
type Ack struct {
	Activation protocol.Activation
	Offset     protocol.Offset
	// Commit asks for the cursor to be committed now: somebody waits for the AckOK. Without it the broker may wait for more.
	Commit bool
}

// AckOK says that the cursor Offset is committed on a majority.
type AckOK struct {
	Activation protocol.Activation
	Offset     protocol.Offset
}

// Revoke asks the active consumer to finish what it holds, acknowledge it and Release.
type Revoke struct {
	Activation  protocol.Activation
	GraceMillis uint32
}

// Release answers Revoke: nothing more will be acknowledged under this activation.
type Release struct {
	Activation protocol.Activation
}

// Deactivated tells a consumer that its activation is over.
type Deactivated struct {
	Activation protocol.Activation
}

// Gap tells a consumer that records [From, To) are gone by retention.
type Gap struct {
	From protocol.Offset
	To   protocol.Offset
}

// Request is the only frame a client sends on a request stream. Exactly one field is set.
type Request struct {
	InitProducer   *InitProducer
	CreateTopic    *CreateTopic
	DeleteTopic    *DeleteTopic
	AlterTopic     *AlterTopic
	Metadata       *MetadataRequest
	PartitionState *PartitionStateRequest
	ClusterStatus  *ClusterStatusRequest
	Subscriptions  *SubscriptionsRequest
	SetBrokerState *SetBrokerState
	ListMoves      *ListMoves
	ClusterPlan    *ClusterPlanRequest
	RaiseLevel     *RaiseLevel
}

// InitProducer opens a named producer: it fences the one that had the name before.
type InitProducer struct {
	Name string
}

// CreateTopic creates a topic. RequestID makes a repeat of the same request succeed.
type CreateTopic struct {
	Name       string
	Partitions uint32
	Replicas   uint32
	Config     TopicConfig
	RequestID  uint64
}

// DeleteTopic deletes a topic and its data.
type DeleteTopic struct {
	Name string
	ID   protocol.TopicID // 0: whatever has the name now
}

// AlterTopic changes a topic. Fields that are nil stay.
type AlterTopic struct {
	Name            string
	Partitions      *uint32 // only more than now
	RetentionMillis *uint64
	RetentionBytes  *uint64
	SegmentBytes    *uint64
	Replicas        *uint32 // wanted for each partition; they follow one by one
}

// MetadataRequest asks for one image.
type MetadataRequest struct{}

// PartitionStateRequest asks the addressed broker what its own replicas of a topic hold.
type PartitionStateRequest struct {
	Topic protocol.TopicID
}

// ClusterStatusRequest asks the addressed broker what it believes about the cluster.
type ClusterStatusRequest struct{}

// SubscriptionsRequest asks the addressed broker for the cursors of the partitions of a topic it leads.
type SubscriptionsRequest struct {
	Topic protocol.TopicID
}

// SetBrokerState drains a broker, lets it leave for good, or makes it active again.
type SetBrokerState struct {
	Broker protocol.BrokerID
	State  protocol.BrokerState
}

// ListMoves asks for the moves of replicas that are under way in the cluster.
type ListMoves struct{}

// Response answers a Request. Exactly one field is set.
type Response struct {
	Error          *Error
	InitProducer   *InitProducerOK
	CreateTopic    *TopicInfo
	DeleteTopic    *DeleteTopicOK
	AlterTopic     *TopicInfo
	Metadata       *Metadata
	PartitionState *PartitionStates
	ClusterStatus  *ClusterStatus
	Subscriptions  *Subscriptions
	SetBrokerState *SetBrokerStateOK
	ListMoves      *Moves
	ClusterPlan    *ClusterPlan
	RaiseLevel     *RaiseLevelOK
}

// InitProducerOK names the producer for produce streams.
type InitProducerOK struct {
	Producer protocol.ProducerID
	Epoch    protocol.ProducerEpoch
}

// DeleteTopicOK says that the topic is gone from the metadata; its data follows.
type DeleteTopicOK struct {
	ID protocol.TopicID
}

// PartitionState is one replica as its broker sees it.
type PartitionState struct {
	Partition protocol.Partition
	Leader    protocol.BrokerID // as this replica believes
	Epoch     protocol.Epoch    // newest that this replica has applied; read before Start, Next and Applied
	Leading   bool              // this broker leads and serves
	Start     protocol.Offset
	Next      protocol.Offset
	Bytes     uint64 // of segments on disk
	Applied   uint64 // Raft index
}

// PartitionStates answers PartitionStateRequest.
type PartitionStates struct {
	Broker     protocol.BrokerID
	Partitions []PartitionState
}

// PeerView is what one broker believes about another.
type PeerView struct {
	Broker       protocol.BrokerID
	State        string // "alive", "suspect", "dead", "unknown"
	SinceMillis  uint64 // how long it has been in that state
	SilentMillis uint64 // since it was last heard
	StalledDisk  bool   // it said that its journal hangs
	Starved      bool   // it said that it gets too little of the processors
}

// SubscriptionState is the cursor of one subscription on one partition.
type SubscriptionState struct {
	Partition    protocol.Partition
	Subscription string
	Cursor       protocol.Offset
	Activation   protocol.Activation
	Active       string   // consumer that is active, "" if none
	Consumers    []string // all that are connected here
}

// Subscriptions answers SubscriptionsRequest.
type Subscriptions struct {
	Broker        protocol.BrokerID
	Subscriptions []SubscriptionState
}

// SetBrokerStateOK says that the state is changed; replicas and leaders follow.
type SetBrokerStateOK struct{}

// Move is a change of the replicas of one partition that is under way.
type Move struct {
	Topic     protocol.TopicID // 0: the metadata shard
	Partition protocol.Partition
	Shard     uint64 // of Raft
	ID        uint64
	Add       protocol.BrokerID // 0: none
	Remove    protocol.BrokerID // 0: none
	Undo      bool              // it is being taken back
}

// Moves answers ListMoves, by ID.
type Moves struct {
	Moves []Move
}

// Error ends the stream it is on.
type Error struct {
	Code    protocol.Code
	Message string
	Leader  protocol.BrokerID
	Epoch   protocol.Epoch
}
