package protocol

// Limits that are part of the protocol. A broker may be configured with lower ones, never with higher
// ones, and tells them in HelloOK.
const (
	// MaxControlBytes bounds the body of every opening, request and error frame.
	MaxControlBytes = 64 << 10
	// MaxSmallBytes bounds the body of the fixed-purpose small frames.
	MaxSmallBytes = 1 << 10
	// MaxPingBytes bounds a ping; MinPingBytes makes its packet long enough (more than 42 bytes) to
	// draw a stateless reset from a broker that restarted and no longer knows the connection.
	MaxPingBytes = 256
	MinPingBytes = 32
	// MaxMetadataBytes bounds a metadata image and the response to a request.
	MaxMetadataBytes = 16 << 20
	// MaxBatchBytesLimit is the hard bound of one record batch, header included.
	MaxBatchBytesLimit = 16 << 20
	// DefaultMaxBatchBytes and DefaultMaxRecordBytes are what a broker accepts unless configured.
	DefaultMaxBatchBytes  = 4 << 20
	DefaultMaxRecordBytes = 1 << 20
	// MaxBatchRecords bounds the records of one batch.
	MaxBatchRecords = 1 << 16
	// MaxRecordHeaders bounds the headers of one record.
	MaxRecordHeaders = 256
	// DeliverHeaderSize is the fixed part of a deliver frame: activation and next offset.
	DeliverHeaderSize = 16
	// MaxDeliverBytes bounds the batches of one deliver frame: one batch of the greatest size always fits.
	MaxDeliverBytes = MaxBatchBytesLimit
	// MaxInFlightBatches is how many batches a producer may have unacknowledged on one partition. The
	// partition remembers at least as many, so that every repeat is recognised.
	MaxInFlightBatches = 64
	// MaxNameBytes bounds names of topics, subscriptions, producers and consumers.
	MaxNameBytes = 249
	// MaxPartitions bounds the partitions of one topic, MaxReplicas the replicas of one partition.
	MaxPartitions = 4096
	MaxReplicas   = 7
)

// ValidName reports whether s may name a topic, subscription, producer or consumer: 1 to MaxNameBytes bytes of
// ASCII letters, digits, '.', '_' and '-', and neither "." nor "..".
func ValidName(s string) bool {
	if s == "" || len(s) > MaxNameBytes || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
