package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/trunkline/trunkline/bench/driver"
)

const (
	linger         = 10 * time.Millisecond
	metadataMinAge = 250 * time.Millisecond
	bufferRecords  = 50_000
	bufferBytes    = 64 << 20
	deliveryLimit  = 30 * time.Second
)

// clientSettings are those of the clients, for About.
func clientSettings() []driver.Setting {
	return []driver.Setting{
		{Key: "producer acks", Value: "all, idempotent", Why: "franz-go's default; up to 5 requests in flight to a broker"},
		{Key: "producer linger", Value: linger.String(), Why: "franz-go's default; 0 for a producer with one message in flight"},
		{Key: "producer compression", Value: "none", Why: "the payloads are random: they do not compress"},
		{Key: "producer buffer", Value: "50000 records, 64 MiB", Why: "franz-go's default, bounded in bytes"},
		{Key: "producer partitioner", Value: "uniform bytes", Why: "franz-go's default, unless the bench names a partition"},
		{Key: "producer delivery timeout", Value: deliveryLimit.String(), Why: "none where the workload asks for retries"},
		{Key: "client metadata min age", Value: metadataMinAge.String(), Why: "a new leader is found as soon as Java's client finds it; default 5 s"},
		{Key: "consumer assignment", Value: "cooperative-sticky"},
		{Key: "consumer max partition bytes", Value: "10 MiB", Why: "as in the OpenMessaging Benchmark: fewer fetches in a catch-up"},
		{Key: "consumer fetch wait", Value: fetchWait.String(), Why: "Java's default; a fetch is answered with the first byte there is"},
		{Key: "consumer commit interval", Value: commitEvery.String(), Why: "delivered messages are acknowledged within a second"},
	}
}

// base are the options of every client.
func (s *system) base(name string) []kgo.Opt {
	return []kgo.Opt{kgo.SeedBrokers(s.addrs...), kgo.ClientID("trunkbench-" + name), kgo.MetadataMinAge(metadataMinAge)}
}

// producer is one client of its own: its own connections, buffers and producer ID.
type producer struct {
	topic  string
	client *kgo.Client
	sends  sync.Pool // of *send

	mu      sync.Mutex
	closed  bool
	waiting sync.WaitGroup // messages without an answer; grows only under mu while not closed
}

// send is a message on its way.
type send struct {
	record kgo.Record
	m      *driver.Message
	answer func(*kgo.Record, error) // bound to this send once
}

// Producer opens a client and loads the topic's metadata, so that the first message does not wait for it.
func (s *system) Producer(ctx context.Context, opts driver.ProducerOptions) (driver.Producer, error) {
	client, err := kgo.NewClient(s.producerOptions(opts)...)
	if err != nil {
		return nil, fmt.Errorf("kafka producer %d of %s: %w", opts.ID, opts.Topic, err)
	}
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("kafka producer %d of %s: %w", opts.ID, opts.Topic, err)
	}
	p := &producer{topic: opts.Topic, client: client}
	p.sends.New = func() any {
		t := new(send)
		t.answer = func(r *kgo.Record, err error) { p.answer(t, r, err) }
		return t
	}
	return p, nil
}

func (s *system) producerOptions(opts driver.ProducerOptions) []kgo.Opt {
	buffer, wait := bufferRecords, linger
	if opts.MaxInFlight > 0 {
		buffer = opts.MaxInFlight
	}
	if opts.MaxInFlight == 1 {
		wait = 0 // nothing will join the message
	}
	set := append(s.base(fmt.Sprintf("producer-%d", opts.ID)),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(partitioner{kgo.UniformBytesPartitioner(64<<10, true, true, nil)}),
		kgo.MaxBufferedRecords(buffer),
		kgo.MaxBufferedBytes(bufferBytes),
		kgo.ProducerLinger(wait),
	)
	if opts.Retry {
		return append(set, kgo.UnknownTopicRetries(-1)) // records are tried for ever by default
	}
	return append(set, kgo.RecordDeliveryTimeout(deliveryLimit))
}

// Send hands m to the client, which blocks while its buffer is full.
func (p *producer) Send(ctx context.Context, m *driver.Message) {
	if !p.enter() {
		refuse(m, kgo.ErrClientClosed)
		return
	}
	if err := ctx.Err(); err != nil {
		refuse(m, err)
		p.waiting.Done()
		return
	}
	t := p.sends.Get().(*send)
	t.m = m
	t.record = kgo.Record{Topic: p.topic, Partition: m.Partition, Key: m.Key, Value: m.Payload}
	p.client.Produce(ctx, &t.record, t.answer)
}

// enter counts a message in unless the producer was closed.
func (p *producer) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.waiting.Add(1)
	return true
}

// refuse answers a message that the client never took.
func refuse(m *driver.Message, err error) {
	m.Done(m, driver.Ack{
		Err: fmt.Errorf("%w: %w", driver.ErrNotAppended, err), Partition: driver.AnyPartition, Offset: driver.NoOffset,
	})
}

func (p *producer) answer(t *send, r *kgo.Record, err error) {
	m := t.m
	ack := driver.Ack{Partition: r.Partition, Offset: r.Offset}
	if err != nil {
		ack = driver.Ack{Err: err, Partition: driver.AnyPartition, Offset: driver.NoOffset}
	}
	// The client retries by itself, and the last error says nothing of the tries before; only this one is found before any.
	if errors.Is(err, kerr.MessageTooLarge) {
		ack.Err = fmt.Errorf("%w: %w", driver.ErrNotAppended, err)
	}
	t.m, t.record = nil, kgo.Record{}
	p.sends.Put(t)
	m.Done(m, ack)
	p.waiting.Done()
}

// Close waits for the answers until ctx ends; what has none by then is answered with kgo.ErrClientClosed.
func (p *producer) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.client.Flush(ctx)
	p.client.Close()
	p.waiting.Wait()
	if err != nil {
		return fmt.Errorf("flush kafka producer of %s: %w", p.topic, err)
	}
	return nil
}

// partitioner leaves records with a partition where they are and asks another partitioner for the rest.
type partitioner struct{ rest kgo.Partitioner }

// ForTopic returns the partitioner of one topic.
func (p partitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return topicPartitioner{p.rest.ForTopic(topic).(kgo.TopicBackupPartitioner)}
}

type topicPartitioner struct{ kgo.TopicBackupPartitioner }

// RequiresConsistency reports whether the record's partition is fixed, by number or by key: it then waits for its leader.
func (p topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.TopicBackupPartitioner.RequiresConsistency(r)
}

// PartitionByBackup chooses the partition of a record among n.
func (p topicPartitioner) PartitionByBackup(r *kgo.Record, n int, backup kgo.TopicBackupIter) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.TopicBackupPartitioner.PartitionByBackup(r, n, backup)
}
