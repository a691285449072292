package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/workload"
)

const (
	keyCount = 10_000
	// failuresMax is how many publishes of one producer may fail before it gives up: the run has failed, and a system that
	// refuses at once would keep the loader busy for nothing.
	failuresMax = 10_000
)

// producer makes the messages of one driver.Producer and takes their answers. Its publish is called by one goroutine at a time.
type producer struct {
	run    *run
	number int // over all topics
	topic  int
	driver driver.Producer
	shard  *shard
	slots  chan struct{} // nil, or a token for each message that may be sent in a closed loop with a bound
	random *rand.Rand
	spare  []*driver.Message // owned by the goroutine that publishes
	seq    uint64
	lag    *distribution // of messages of the window
	late   int64         // messages of a plan with a grace that were never sent

	sent     atomic.Int64
	answered atomic.Int64
	failures atomic.Int64

	mu   sync.Mutex
	free []*driver.Message // answered, guarded by mu
}

func (r *run) openProducers(ctx context.Context) error {
	for t, topic := range r.topics {
		for id := range r.w.ProducersPerTopic {
			opened, err := r.sys.Producer(ctx, driver.ProducerOptions{
				Topic: topic, ID: id, MaxInFlight: r.w.MaxInFlight, Retry: r.faulty(),
			})
			if err != nil {
				return fmt.Errorf("open producer %d of topic %s: %w", id, topic, err)
			}
			r.producers = append(r.producers, r.newProducer(opened, t))
		}
	}
	return nil
}

func (r *run) newProducer(d driver.Producer, topic int) *producer {
	n := len(r.producers)
	p := &producer{
		run: r, number: n, topic: topic, driver: d, shard: r.meter.publish.of(n),
		random: rand.New(rand.NewPCG(r.opts.Seed, uint64(n))), lag: newDistribution(fineDigits),
	}
	if r.w.Loop == workload.Closed && r.w.MaxInFlight > 0 {
		p.slots = make(chan struct{}, r.w.MaxInFlight)
	}
	return p
}

// publishing is a phase in which all producers send.
type publishing struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when the last producer has ended
	mu     sync.Mutex
	err    error // why a producer could not go on
}

// publish starts all producers on a plan. They end with the plan, or with cancel; a Send that blocks goes on until r.sending
// ends. The owner waits for done.
func (r *run) publish(ctx context.Context, pl plan) *publishing {
	pl.producers = len(r.producers)
	ctx, cancel := context.WithCancel(ctx)
	ph := &publishing{cancel: cancel, done: make(chan struct{})}
	var wg sync.WaitGroup
	for _, p := range r.producers {
		wg.Go(func() {
			if err := p.follow(ctx, &pl); err != nil {
				ph.mu.Lock()
				defer ph.mu.Unlock()
				ph.err = errors.Join(ph.err, err)
			}
		})
	}
	go func() {
		wg.Wait()
		cancel()
		close(ph.done)
	}()
	return ph
}

// follow sends what a plan says until it or ctx ends.
func (p *producer) follow(ctx context.Context, pl *plan) error {
	pace, err := newPacer()
	if err != nil {
		return fmt.Errorf("producer %d: %w", p.number, err)
	}
	defer func() { _ = pace.close() }() // a timer has nothing to lose
	defer context.AfterFunc(ctx, pace.interrupt)()
	free := p.run.now() // since when the producer could have sent
	for i := 0; ctx.Err() == nil && p.failures.Load() < failuresMax; i++ {
		intended, ok := p.next(ctx, pl, pace, i)
		if !ok {
			return nil
		}
		if pl.rate == 0 {
			free = intended
		}
		p.send(intended, max(intended, free), driver.AnyPartition)
		free = p.run.now()
	}
	return nil
}

// next waits until message i of a plan may be sent and returns when it was meant to be; false when the plan has ended.
func (p *producer) next(ctx context.Context, pl *plan, pace *pacer, i int) (time.Duration, bool) {
	if pl.rate == 0 {
		if !p.acquire(ctx) {
			return 0, false
		}
		now := p.run.now()
		if now >= pl.until && p.slots != nil {
			<-p.slots
		}
		return now, now < pl.until
	}
	intended := pl.due(p.number, i)
	if intended >= pl.until {
		return 0, false
	}
	now := p.run.now()
	for ; now < intended; now = p.run.now() {
		if pace.sleep(intended-now) != nil {
			return 0, false
		}
	}
	if now > pl.until+pl.grace {
		if pl.grace > 0 {
			p.late += pl.rest(p.number, i)
		}
		return 0, false
	}
	return intended, true
}

// send makes one message and hands it to the driver: to a partition, or to driver.AnyPartition for the one that the workload says.
func (p *producer) send(intended, ready time.Duration, to int32) {
	r := p.run
	m := p.take()
	m.Seq = p.seq
	p.seq++
	m.Intended = intended
	r.payloads.fill(m)
	if m.Partition, m.Key = to, nil; to == driver.AnyPartition {
		p.address(m)
	}
	p.sent.Add(1)
	if r.ledger != nil {
		r.ledger.Sent(m.Producer, m.Seq)
	}
	m.Sent = r.now()
	if r.pauses != nil {
		r.pauses.sent(r.partition(p.topic, m.Partition), m.Sent)
	}
	if r.meter.window.has(intended) {
		p.lag.record(m.Sent - ready)
	}
	write(m, r.id)
	p.driver.Send(r.sending, m)
}

// address chooses partition or key of a message that has none.
func (p *producer) address(m *driver.Message) {
	switch {
	case p.run.faulty():
		m.Partition = int32((m.Seq + uint64(p.number)) % uint64(p.run.w.PartitionsPerTopic))
	case p.run.w.KeyDistributor == workload.KeyRoundRobin:
		m.Key = p.run.keys[m.Seq%keyCount]
	case p.run.w.KeyDistributor == workload.RandomNano:
		m.Key = p.run.keys[p.random.IntN(keyCount)]
	}
}

// take returns a message that is not in use, a new one only if all are.
func (p *producer) take() *driver.Message {
	if len(p.spare) == 0 {
		p.mu.Lock()
		p.spare, p.free = p.free, p.spare
		p.mu.Unlock()
	}
	if last := len(p.spare) - 1; last >= 0 {
		m := p.spare[last]
		p.spare = p.spare[:last]
		return m
	}
	return &driver.Message{Payload: make([]byte, p.run.w.MessageSize), Done: p.done, Producer: uint32(p.number)}
}

// done takes the answer to one message, from any goroutine.
func (p *producer) done(m *driver.Message, a driver.Ack) {
	r, now := p.run, p.run.now()
	outcome := verify.Acked
	switch {
	case a.Err == nil:
		p.shard.record(&r.meter.window, now, m.Intended, m.Sent)
	case errors.Is(a.Err, driver.ErrNotAppended):
		outcome = verify.NotAppended
	default:
		outcome = verify.Unknown
	}
	if a.Err != nil {
		p.shard.fail()
		p.failures.Add(1)
		r.notes.firstError(a.Err)
	}
	r.answered(p, m, a, outcome, now)
	p.mu.Lock()
	p.free = append(p.free, m)
	p.mu.Unlock()
	p.answered.Add(1)
	if p.slots != nil {
		<-p.slots
	}
}

// answered tells the checkers.
func (r *run) answered(p *producer, m *driver.Message, a driver.Ack, o verify.Outcome, now time.Duration) {
	partition, place := a.Partition, int32(-1)
	if partition == driver.AnyPartition {
		partition = m.Partition
	}
	if partition != driver.AnyPartition {
		place = r.partition(p.topic, partition)
	}
	if r.ledger != nil {
		r.ledger.Answered(m.Producer, m.Seq, o, place, a.Offset)
	}
	if r.pauses != nil {
		r.pauses.answered(r.partition(p.topic, m.Partition), now, o == verify.Acked)
	}
}

// partition numbers the partitions of all topics.
func (r *run) partition(topic int, partition int32) int32 {
	return int32(topic*r.w.PartitionsPerTopic) + partition
}

// waiting is how many messages have no answer yet.
func (r *run) waiting() int64 {
	sum := int64(0)
	for _, p := range r.producers {
		sum += p.sent.Load() - p.answered.Load()
	}
	return max(sum, 0)
}

// sent is how many messages were given to the system.
func (r *run) sent() int64 {
	sum := int64(0)
	for _, p := range r.producers {
		sum += p.sent.Load()
	}
	return sum
}

func makeKeys() [][]byte {
	keys := make([][]byte, keyCount)
	for i := range keys {
		keys[i] = strconv.AppendInt(nil, int64(i), 10)
	}
	return keys
}
