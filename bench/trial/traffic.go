package trial

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
)

// numberHeader carries a record's number, so that a record is recognised wherever it is read.
const numberHeader = "n"

// publisher sends records at a steady rate, whatever the answers: an open loop.
type publisher struct {
	producer *client.Producer
	opts     Options
	pauses   *pause.Meter
	delivery *pause.Meter // of the subscriber
	cancel   context.CancelFunc
	done     chan struct{}

	mu      sync.Mutex
	history []verify.Sent // guarded by mu; index is the record's number
	ackedN  int           // guarded by mu
	failed  int           // guarded by mu
	err     error         // guarded by mu; first failure
}

func publish(ctx context.Context, c *client.Client, opts Options, delivery *pause.Meter) (*publisher, error) {
	open, cancelOpen := context.WithTimeout(ctx, 30*time.Second)
	defer cancelOpen()
	producer, err := c.Producer(open, opts.Topic)
	if err != nil {
		return nil, err
	}
	loop, cancel := context.WithCancel(ctx)
	p := &publisher{producer: producer, opts: opts, pauses: pause.New(), delivery: delivery, cancel: cancel, done: make(chan struct{})}
	go func() { defer close(p.done); p.loop(loop) }()
	return p, nil
}

// loop sends what is due each millisecond until ctx ends.
func (p *publisher) loop(ctx context.Context) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	start := time.Now()
	for n := 0; ; {
		for due := int(time.Since(start).Seconds() * float64(p.opts.Rate)); n < due; n++ {
			if ctx.Err() != nil {
				return
			}
			p.send(ctx, n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *publisher) send(ctx context.Context, n int) {
	rec := p.opts.Record(n)
	part := int32(*rec.Partition)
	rec.Headers = []client.Header{{Key: numberHeader, Value: binary.BigEndian.AppendUint64(nil, uint64(n))}}
	p.mu.Lock()
	p.history = append(p.history, verify.Sent{Outcome: verify.Pending})
	p.mu.Unlock()
	p.pauses.Sent(part, time.Now())
	err := p.producer.Send(context.WithoutCancel(ctx), rec, func(rc client.Receipt, err error) { p.answered(n, part, rc, err) })
	if err != nil {
		p.answered(n, part, client.Receipt{}, err)
	}
}

func (p *publisher) answered(n int, part int32, rc client.Receipt, err error) {
	now := time.Now()
	p.pauses.Answered(part, now)
	if err == nil {
		p.delivery.Sent(part, now) // from now on a consumer waits for it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.history[n]
	if err == nil {
		*s = verify.Sent{Outcome: verify.Acked, Partition: int32(rc.Partition), Offset: uint64(rc.Offset)}
		p.ackedN++
		return
	}
	s.Outcome = verify.Unknown
	var perr *client.PublishError
	if errors.As(err, &perr) && perr.Outcome == client.NotAppended {
		s.Outcome = verify.NotAppended
	}
	p.failed++
	if p.err == nil {
		p.err = fmt.Errorf("record %d: %w", n, err)
	}
}

// stop ends sending and waits until everything sent is answered.
func (p *publisher) stop(ctx context.Context) error {
	p.cancel()
	<-p.done
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return p.producer.Close(ctx)
}

func (p *publisher) sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.history)
}

func (p *publisher) acked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ackedN
}

// entry turns a message into what the checkers compare.
func entry(m *client.Message) (verify.Entry, error) {
	for _, h := range m.Headers {
		if h.Key == numberHeader && len(h.Value) == 8 {
			sum := crc32.Update(crc32.ChecksumIEEE(m.Key), crc32.IEEETable, m.Value)
			return verify.Entry{Offset: uint64(m.Offset), ID: verify.ID{Seq: binary.BigEndian.Uint64(h.Value)}, Sum: sum}, nil
		}
	}
	return verify.Entry{}, fmt.Errorf("partition %d offset %d: a record without its number", m.Partition, m.Offset)
}

// subscriber receives and acknowledges everything in one subscription.
type subscriber struct {
	sub    *client.Subscription
	cancel context.CancelFunc
	done   chan struct{}
	pauses *pause.Meter

	mu        sync.Mutex
	delivered map[int32][]verify.Entry // guarded by mu
	count     int                      // guarded by mu
	err       error                    // guarded by mu
}

func subscribe(ctx context.Context, c *client.Client, topic string) (*subscriber, error) {
	open, cancelOpen := context.WithTimeout(ctx, 30*time.Second)
	defer cancelOpen()
	sub, err := c.Subscribe(open, topic, Subscription, client.StartAt(client.Earliest()))
	if err != nil {
		return nil, err
	}
	loop, cancel := context.WithCancel(ctx)
	s := &subscriber{sub: sub, cancel: cancel, done: make(chan struct{}), pauses: pause.New(), delivered: map[int32][]verify.Entry{}}
	go func() { defer close(s.done); s.loop(loop) }()
	return s, nil
}

func (s *subscriber) loop(ctx context.Context) {
	for m, err := range s.sub.Messages(ctx) {
		if err == nil {
			err = s.take(m)
		}
		if err != nil {
			s.mu.Lock()
			if ctx.Err() == nil {
				s.err = err
			}
			s.mu.Unlock()
			return
		}
	}
}

func (s *subscriber) take(m *client.Message) error {
	e, err := entry(m)
	if err != nil {
		return err
	}
	part := int32(m.Partition)
	s.pauses.Answered(part, time.Now())
	s.mu.Lock()
	s.delivered[part] = append(s.delivered[part], e)
	s.count++
	s.mu.Unlock()
	if err := s.sub.Ack(m); !errors.Is(err, client.ErrPartitionLost) {
		return err
	}
	return nil
}

func (s *subscriber) received() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func (s *subscriber) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *subscriber) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := s.sub.Close(ctx)
	if errors.Is(err, client.ErrPartitionLost) {
		err = nil // a fault took a partition from it, and with it what it had not committed
	}
	s.cancel()
	<-s.done
	return err
}
