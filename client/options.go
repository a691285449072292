package client

import (
	"crypto/tls"
	"log/slog"
	"maps"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// Option configures a Client.
type Option func(*config)

type config struct {
	caFiles    []string
	certFile   string
	keyFile    string
	tls        *tls.Config
	token      []byte
	name       string
	hooks      []Hook
	log        *slog.Logger
	warm       int
	serverName string
}

// WithCA trusts the certificates of a PEM file, in place of the system's. May be given several times.
func WithCA(pemFile string) Option {
	return func(c *config) { c.caFiles = append(c.caFiles, pemFile) }
}

// WithClientCertificate presents a certificate, for clusters that ask for one (tls.client_ca): PEM files, which may be the same one and are
// read for each connection, so that a renewed certificate needs no new client. Connect fails if they cannot be read.
func WithClientCertificate(certFile, keyFile string) Option {
	return func(c *config) { c.certFile, c.keyFile = certFile, keyFile }
}

// WithTLSConfig sets the TLS configuration; it is cloned. WithCA, WithClientCertificate and WithServerName change the clone.
func WithTLSConfig(t *tls.Config) Option { return func(c *config) { c.tls = t } }

// WithServerName is the name expected in every broker's certificate, in place of the host dialled.
func WithServerName(name string) Option { return func(c *config) { c.serverName = name } }

// WithToken sets the credential for clusters that ask for one.
func WithToken(token []byte) Option { return func(c *config) { c.token = token } }

// WithName names the client in the brokers' logs. Default: the program's name.
func WithName(name string) Option { return func(c *config) { c.name = name } }

// WithHooks adds observers, see the Hook interfaces.
func WithHooks(hooks ...Hook) Option {
	return func(c *config) { c.hooks = append(c.hooks, hooks...) }
}

// WithLogger sets where the client logs. Default: nowhere.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.log = l } }

// WithWarmConnections sets to how many brokers the client stays connected even if it does not need them
// now, so that it learns of leader changes and can move at once. Default 3, at least 2.
func WithWarmConnections(n int) Option { return func(c *config) { c.warm = n } }

// ProducerOption configures a Producer.
type ProducerOption func(*producerConfig)

type producerConfig struct {
	name            string
	linger          time.Duration
	batchBytes      int
	compression     Compression
	partitioner     Partitioner
	maxInFlight     int
	bufferBytes     int
	maxBlock        time.Duration
	deliveryTimeout time.Duration
}

// Partitioner chooses the partition of a record that does not name one. It must return a number from 0
// to partitions-1 and may be called from several goroutines at once.
type Partitioner func(r *Record, partitions int) int

// WithProducerName makes the producer a named one: it fences the producer that had the name before and
// continues its sequence. Names follow the rules of topic names.
func WithProducerName(name string) ProducerOption { return func(c *producerConfig) { c.name = name } }

// WithLinger sets how long a record given to Send may wait for company in its batch while another batch of
// its partition is owed an answer. Publish never waits, and a full batch goes out at once. Default 1 ms; 0 sends
// as soon as a batch may be in flight.
func WithLinger(d time.Duration) ProducerOption { return func(c *producerConfig) { c.linger = d } }

// WithBatchBytes bounds a batch before compression. Default 256 KiB; a larger record goes alone.
func WithBatchBytes(n int) ProducerOption { return func(c *producerConfig) { c.batchBytes = n } }

// WithCompression sets how batches are compressed. Default none.
func WithCompression(k Compression) ProducerOption {
	return func(c *producerConfig) { c.compression = k }
}

// WithPartitioner replaces the default: by hash of the key, in turn without a key.
func WithPartitioner(p Partitioner) ProducerOption {
	return func(c *producerConfig) { c.partitioner = p }
}

// WithMaxInFlight bounds the unacknowledged batches of a partition, 1 to 64. Default 16.
func WithMaxInFlight(n int) ProducerOption { return func(c *producerConfig) { c.maxInFlight = n } }

// WithBufferBytes bounds the records without a result of one partition. At the bound Publish and Send
// wait. It counts per partition so that one without a leader does not block the others. Default 8 MiB.
func WithBufferBytes(n int) ProducerOption { return func(c *producerConfig) { c.bufferBytes = n } }

// WithMaxBlock bounds how long Publish and Send wait for room in the buffer; then the record is NotAppended, with ErrBusy. Whoever
// has more to send than the cluster takes should set it: records that waited until their deadline are of no use to anybody, and
// keep newer ones from being sent in time. Negative: they do not wait. Default 0: they wait until their context ends.
func WithMaxBlock(d time.Duration) ProducerOption { return func(c *producerConfig) { c.maxBlock = d } }

// WithDeliveryTimeout bounds how long the producer goes on trying to get a batch acknowledged. After it
// the batch has the outcome Unknown and, since its place in the sequence is open, the partition goes on
// under a new identity (an anonymous producer) or not at all (a named one: ErrPoisoned). Default 0: it
// tries until the producer is closed.
func WithDeliveryTimeout(d time.Duration) ProducerOption {
	return func(c *producerConfig) { c.deliveryTimeout = d }
}

// Start is where reading begins.
type Start struct {
	kind  startKind
	value uint64
	each  map[protocol.Partition]protocol.Offset // of startOffsets
}

// of returns where one partition begins.
func (s Start) of(p protocol.Partition) Start {
	if s.kind != startOffsets {
		return s
	}
	if o, ok := s.each[p]; ok {
		return AtOffset(o)
	}
	return Earliest()
}

type startKind uint8

const (
	startEarliest startKind = iota
	startLatest
	startOffset
	startTime
	startOffsets // never on the wire: each feed has its own offset
)

// fixed reports whether opening waits until every partition's position is fixed.
func (s Start) fixed() bool { return s.kind == startLatest || s.kind == startOffsets }

// Earliest starts with the oldest record there is.
func Earliest() Start { return Start{kind: startEarliest} }

// Latest starts with the next record to be published.
func Latest() Start { return Start{kind: startLatest} }

// AtOffset starts at an offset, the same in every partition.
func AtOffset(o protocol.Offset) Start { return Start{kind: startOffset, value: uint64(o)} }

// AtOffsets starts each partition at its own offset, and one that is not listed with the oldest record there is.
func AtOffsets(each map[protocol.Partition]protocol.Offset) Start {
	return Start{kind: startOffsets, each: maps.Clone(each)}
}

// AtTime starts with the first record appended at t or later.
func AtTime(t time.Time) Start {
	return Start{kind: startTime, value: uint64(max(0, t.UnixMilli()))}
}

// SubscribeOption configures a Subscription.
type SubscribeOption interface{ applySubscribe(*consumeConfig) }

// ReaderOption configures a Reader.
type ReaderOption interface{ applyReader(*consumeConfig) }

// ConsumeOption configures either.
type ConsumeOption interface {
	SubscribeOption
	ReaderOption
}

type consumeConfig struct {
	start      Start
	consumer   string
	credit     int
	grace      time.Duration
	maxUnacked int
	rebalance  func(Rebalance)
	gap        func(Gap)
	partitions []protocol.Partition
	replica    protocol.BrokerID
	stopAtEnd  bool
}

type consumeOption func(*consumeConfig)

func (o consumeOption) applySubscribe(c *consumeConfig) { o(c) }
func (o consumeOption) applyReader(c *consumeConfig)    { o(c) }

type subscribeOption func(*consumeConfig)

func (o subscribeOption) applySubscribe(c *consumeConfig) { o(c) }

type readerOption func(*consumeConfig)

func (o readerOption) applyReader(c *consumeConfig) { o(c) }

// StartAt sets where to begin. Of a subscription it counts only while the subscription is new: after
// that it begins behind the last acknowledged record. Default Earliest.
func StartAt(s Start) ConsumeOption { return consumeOption(func(c *consumeConfig) { c.start = s }) }

// WithCredit bounds the bytes of batches a broker may send ahead on one partition. Default 1 MiB.
func WithCredit(bytes int) ConsumeOption {
	return consumeOption(func(c *consumeConfig) { c.credit = bytes })
}

// OnGap is called when records were removed by retention before they could be delivered. It must not
// block or call the subscription.
func OnGap(f func(Gap)) ConsumeOption { return consumeOption(func(c *consumeConfig) { c.gap = f }) }

// WithConsumerName names this consumer; names must be unique within a subscription. A consumer that
// comes back under its name tends to get its partitions back. Default: random.
func WithConsumerName(name string) SubscribeOption {
	return subscribeOption(func(c *consumeConfig) { c.consumer = name })
}

// WithGrace sets how long records that were handed out may still be acknowledged when a partition is
// given to another consumer. Default 1 s; brokers cap it.
func WithGrace(d time.Duration) SubscribeOption {
	return subscribeOption(func(c *consumeConfig) { c.grace = d })
}

// WithMaxUnacked bounds the records of one partition that were handed out and not acknowledged; at the
// bound the partition pauses. Default 10 000.
func WithMaxUnacked(records int) SubscribeOption {
	return subscribeOption(func(c *consumeConfig) { c.maxUnacked = records })
}

// OnRebalance is called when partitions come and go. It must not block or call the subscription.
func OnRebalance(f func(Rebalance)) SubscribeOption {
	return subscribeOption(func(c *consumeConfig) { c.rebalance = f })
}

// ReadPartitions limits a reader to some partitions. Default: all there are when it opens.
func ReadPartitions(p ...protocol.Partition) ReaderOption {
	return readerOption(func(c *consumeConfig) { c.partitions = append(c.partitions, p...) })
}

// FromReplica reads from one broker's replicas even where it does not lead. They may lag.
func FromReplica(b protocol.BrokerID) ReaderOption {
	return readerOption(func(c *consumeConfig) { c.replica = b })
}

// StopAtEnd ends the reader with io.EOF after the last record there was when it opened.
func StopAtEnd() ReaderOption { return readerOption(func(c *consumeConfig) { c.stopAtEnd = true }) }
