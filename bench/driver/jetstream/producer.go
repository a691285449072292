package jetstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/trunkline/trunkline/bench/driver"
)

const (
	maxInFlight = 4096            // of one producer, unless the workload says otherwise
	ackTimeout  = 5 * time.Second // without Retry; what nats.go waits for any other answer
	retryAfter  = 2 * time.Second // with Retry: no ack for so long is a failure
	dedupWindow = 2 * time.Minute // JetStream's default, and as long as a message may be retried
)

var errClosed = errors.New("the producer is closed")

// once tells nats.go to publish once: it would try twice more, half a second long, when nobody leads the stream.
var once = jetstream.WithRetryAttempts(0)

// producer publishes to the streams of one topic.
//
// A message is, until its answer, in exactly one of: flying (nats.go has it), failed (the mender has it). Who takes it out of there
// answers it. It holds one of slots all the time.
type producer struct {
	sys     *system
	opts    driver.ProducerOptions
	prefix  string // of message IDs
	seq     uint64 // of the last message
	lanes   []lane // by ID of the server - 1
	leaders []atomic.Int32
	slots   chan struct{}
	resume  int             // how many slots may be taken for a full producer to go on
	roomy   chan struct{}   // has a token after the slots came down to resume
	life    context.Context // ends when Close has nothing to wait for, or gives up
	end     context.CancelFunc
	mender  sync.WaitGroup
	wake    chan struct{} // the mender has work

	mu     sync.Mutex
	flying map[*nats.Msg]*publish
	failed []*publish
	stale  map[int]bool // partitions whose leader is to be looked up
}

// lane is the way to one server.
type lane struct {
	conn *nats.Conn
	js   jetstream.JetStream
}

// publish is one message on its way.
type publish struct {
	msg       nats.Msg
	m         *driver.Message
	ctx       context.Context // of Send; a retry ends with it
	partition int
	seq       uint64
	began     time.Time // only with Retry
}

// Producer connects to every server.
func (s *system) Producer(ctx context.Context, opts driver.ProducerOptions) (driver.Producer, error) {
	leaders, err := s.Leaders(ctx, opts.Topic)
	if err != nil {
		return nil, err
	}
	bound, resume := opts.MaxInFlight, opts.MaxInFlight-1
	if bound <= 0 {
		bound, resume = maxInFlight, maxInFlight/2
	}
	p := &producer{
		sys: s, opts: opts, prefix: rand.Text() + "-",
		leaders: make([]atomic.Int32, len(leaders)),
		slots:   make(chan struct{}, bound), resume: resume, roomy: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		flying: make(map[*nats.Msg]*publish, bound), stale: make(map[int]bool),
	}
	p.life, p.end = context.WithCancel(context.Background())
	for i, id := range leaders {
		p.leaders[i].Store(int32(id))
	}
	if err := p.dial(bound); err != nil {
		p.end()
		p.hangUp()
		return nil, err
	}
	p.mender.Go(p.mend)
	return p, nil
}

func (p *producer) dial(bound int) error {
	timeout := ackTimeout
	if p.opts.Retry {
		timeout = retryAfter
	}
	for _, srv := range p.sys.servers {
		conn, err := p.sys.dialOnly(srv, fmt.Sprintf("trunkbench producer %d", p.opts.ID))
		if err != nil {
			return err
		}
		p.lanes = append(p.lanes, lane{conn: conn})
		js, err := jetstream.New(conn,
			jetstream.WithPublishAsyncMaxPending(bound), // never reached: slots are fewer
			jetstream.WithPublishAsyncTimeout(timeout),
			jetstream.WithPublishAsyncAckHandler(p.acked),
			jetstream.WithPublishAsyncErrHandler(p.refused))
		if err != nil {
			return fmt.Errorf("jetstream: %w", err)
		}
		p.lanes[len(p.lanes)-1].js = js
	}
	return nil
}

// Send publishes one message.
func (p *producer) Send(ctx context.Context, m *driver.Message) {
	if err := p.room(ctx); err != nil {
		m.Done(m, driver.Ack{Err: notSent(err), Partition: m.Partition, Offset: driver.NoOffset})
		return
	}
	p.slots <- struct{}{} // only Send fills slots
	p.publish(p.prepare(ctx, m))
}

// room waits until a message may be sent. A full producer goes on when its slots are down to p.resume: messages that come in
// bursts share more of the servers' appends and fsyncs than the same messages one by one.
func (p *producer) room(ctx context.Context) error {
	if len(p.slots) < cap(p.slots) {
		return nil
	}
	for len(p.slots) > p.resume {
		select {
		case <-p.roomy:
		case <-ctx.Done():
			return ctx.Err()
		case <-p.life.Done():
			return errClosed
		}
	}
	return nil
}

func notSent(err error) error { return fmt.Errorf("%w: %w", driver.ErrNotAppended, err) }

func (p *producer) prepare(ctx context.Context, m *driver.Message) *publish {
	p.seq++
	to := &publish{m: m, ctx: ctx, seq: p.seq, partition: p.partition(m)}
	to.msg.Subject, to.msg.Data = subject(p.opts.Topic, to.partition), m.Payload
	if p.opts.Retry {
		to.began = time.Now()
		to.msg.Header = nats.Header{jetstream.MsgIDHeader: {p.prefix + strconv.FormatUint(p.seq, 10)}}
	}
	return to
}

// partition is the one that the message names, or that its key belongs to, or the next.
func (p *producer) partition(m *driver.Message) int {
	if m.Partition != driver.AnyPartition {
		return int(m.Partition)
	}
	if m.Key == nil {
		return int(p.seq % uint64(len(p.leaders)))
	}
	h := fnv.New32a()
	_, _ = h.Write(m.Key)
	return int(h.Sum32() % uint32(len(p.leaders)))
}

// publish gives a message to nats.go, which answers to acked or refused, perhaps before publish returns.
func (p *producer) publish(to *publish) {
	p.mu.Lock()
	p.flying[&to.msg] = to
	p.mu.Unlock()
	if _, err := p.lane(to.partition).PublishMsgAsync(&to.msg, once); err != nil {
		p.refused(nil, &to.msg, notSent(err))
	}
}

// lane is the way to the leader of a partition, or, if there is none, any.
func (p *producer) lane(partition int) jetstream.JetStream {
	first := max(int(p.leaders[partition].Load())-1, 0)
	for i := range p.lanes {
		if l := p.lanes[(first+i)%len(p.lanes)]; l.conn.IsConnected() {
			return l.js
		}
	}
	return p.lanes[first].js
}

// land takes a message off the list of those that nats.go has; nil if somebody else did.
func (p *producer) land(msg *nats.Msg) *publish {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := p.flying[msg]
	delete(p.flying, msg)
	return to
}

// acked is called by nats.go as it reads an ack.
func (p *producer) acked(_ jetstream.JetStream, msg *nats.Msg, ack *jetstream.PubAck) {
	if to := p.land(msg); to != nil {
		p.answer(to, driver.Ack{Partition: int32(to.partition), Offset: int64(ack.Sequence)})
	}
}

// refused is called by nats.go, sometimes under its locks, when a publish failed or nobody knows how it ended.
func (p *producer) refused(_ jetstream.JetStream, msg *nats.Msg, err error) {
	to := p.land(msg)
	if to == nil {
		return
	}
	retry := p.opts.Retry && transient(err) && to.ctx.Err() == nil && time.Since(to.began) < dedupWindow-retryAfter
	p.mu.Lock()
	p.stale[to.partition] = true
	if retry {
		p.failed = append(p.failed, to)
	}
	p.mu.Unlock()
	p.nudge()
	if !retry {
		p.answer(to, driver.Ack{Err: classify(err), Partition: int32(to.partition), Offset: driver.NoOffset})
	}
}

func (p *producer) answer(to *publish, a driver.Ack) {
	to.m.Done(to.m, a)
	<-p.slots
	if len(p.slots) <= p.resume {
		select {
		case p.roomy <- struct{}{}:
		default:
		}
	}
}

// classify says what an error means for the message: "no responders" means that no server took it.
func classify(err error) error {
	var api *jetstream.APIError
	if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.As(err, &api) && api.Code == tooManyRequests {
		return notSent(err)
	}
	return fmt.Errorf("publish: %w", err)
}

// tooManyRequests is what a leader answers with max_buffered_msgs in its queue; it drops the message.
const tooManyRequests = 429

// transient reports whether another try may succeed: always, unless JetStream says that the request itself is wrong.
func transient(err error) bool {
	var api *jetstream.APIError
	return !errors.As(err, &api) || api.Code >= 500 || api.Code == tooManyRequests
}

// Close waits for what is outstanding, then answers what is left as unknown.
func (p *producer) Close(ctx context.Context) error {
	var err error
	for range cap(p.slots) {
		select {
		case p.slots <- struct{}{}:
			continue
		case <-ctx.Done():
			err = fmt.Errorf("close producer: not everything was answered: %w", ctx.Err())
		}
		break
	}
	p.end()
	p.mender.Wait()
	p.hangUp()
	p.mu.Lock()
	left := p.failed
	for _, to := range p.flying {
		left = append(left, to)
	}
	clear(p.flying)
	p.failed = nil
	p.mu.Unlock()
	for _, to := range left {
		p.answer(to, driver.Ack{Err: errClosed, Partition: int32(to.partition), Offset: driver.NoOffset})
	}
	return err
}

func (p *producer) hangUp() {
	for _, l := range p.lanes {
		l.conn.Close()
	}
}
