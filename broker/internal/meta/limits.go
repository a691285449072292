package meta

// Bounds of the replicated metadata. Reaching one is answered with CodeLimitExceeded.
const (
	// MaxBrokers bounds the brokers of a cluster.
	MaxBrokers = 256
	// MaxTopics bounds the topics that exist at one time.
	MaxTopics = 10_000
	// MaxTotalPartitions bounds the partitions of all topics together.
	MaxTotalPartitions = 100_000
	// MaxNamedProducers bounds the names that producers have ever used: they are not forgotten.
	MaxNamedProducers = 100_000
	// MaxAddressBytes bounds each address of a broker.
	MaxAddressBytes = 256
	// MaxZoneBytes bounds the name of a broker's zone.
	MaxZoneBytes = 64
	// MaxBrokerID bounds broker IDs, so that a founding replica's ID is below every later one.
	MaxBrokerID = FirstReplica - 1
	// MaxRetired bounds the broker IDs that were ever retired: they are not forgotten.
	MaxRetired = 4096
	// MaxMoves bounds the moves under way at one time.
	MaxMoves = 1024

	// MinSegmentBytes and MaxSegmentBytes bound a topic's segment size when one is set.
	MinSegmentBytes = 64 << 10
	MaxSegmentBytes = 1 << 30
	// MaxRetentionMillis bounds a retention time (about 100 years) so that arithmetic on it cannot overflow.
	MaxRetentionMillis = 100 * 365 * 24 * 3600 * 1000
	// MaxRetentionBytes bounds a retention size for the same reason.
	MaxRetentionBytes = 1 << 60
)

// FirstShard is the first shard ID given to a partition. Lower ones belong to the metadata and to the future.
const FirstShard = 16

// FirstReplica is the first replica ID that is given to a replica which joins a shard. Those that a shard is founded with
// have their brokers' IDs, which are lower.
const FirstReplica uint64 = 1 << 32

const (
	// rememberedRequests is how many answers the state machine keeps for repeats of the same request, in log order.
	rememberedRequests = 4096
	// rememberedNonces is how many openings of one named producer are recognised when they are repeated.
	rememberedNonces = 4
	// maxMessageBytes bounds the text of a refusal, which is remembered with the answer.
	maxMessageBytes = 512
	// maxCommandBytes bounds an encoded command.
	maxCommandBytes = 4 << 10
)
