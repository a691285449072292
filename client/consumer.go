package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

// consumer is what a Subscription and a Reader have in common: a feed per partition, and handing out
// what the feeds have buffered. One lock guards it and its feeds: everything under it is short, unpacking
// of batches is done outside.
type consumer struct {
	c       *Client
	topic   string
	topicID protocol.TopicID
	name    string // of the subscription; empty for a reader
	cfg     consumeConfig

	ctx    context.Context // ends with Close or a fatal error
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	wake   chan struct{} // holds one; passed on by who takes it while there is more

	mu      sync.Mutex // guards the following, and the feeds
	feeds   map[protocol.Partition]*feed
	ready   []*feed       // that have something to hand out, in turn
	err     error         // ends Receive
	closing bool          // nothing is handed out any more
	leaving bool          // streams are to end in good order
	changed chan struct{} // closed and replaced when commits, turns or streams move on
	events  []func()      // callbacks to be made, in order
	telling bool          // somebody makes them
	closed  chan struct{} // not nil once Close has begun; closed when it is done
}

func newConsumer(c *Client, topic string, id protocol.TopicID, name string, cfg consumeConfig) *consumer {
	s := &consumer{
		c: c, topic: topic, topicID: id, name: name, cfg: cfg,
		wake: make(chan struct{}, 1), changed: make(chan struct{}),
		feeds: make(map[protocol.Partition]*feed),
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

// subscribes reports whether there are activations and acknowledgements.
func (s *consumer) subscribes() bool { return s.name != "" }

// add starts the feed of a partition.
func (s *consumer) add(p protocol.Partition, start Start) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.feeds[p]; ok || s.closing {
		return f
	}
	f := &feed{
		s: s, partition: p, start: start.of(p),
		tp:   protocol.TopicPartition{Topic: s.topicID, Partition: p},
		kick: make(chan struct{}, 1), opened: make(chan struct{}),
	}
	s.feeds[p] = f
	s.wg.Go(func() { f.run(s.ctx) })
	return f
}

// awaitOpened waits until the feeds were accepted by their leaders.
func (s *consumer) awaitOpened(ctx context.Context, feeds []*feed) error {
	for _, f := range feeds {
		select {
		case <-f.opened:
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			if f.why != nil {
				return fmt.Errorf("open partition %d: %w (%w)", f.partition, context.Cause(ctx), f.why)
			}
			return fmt.Errorf("open partition %d: %w", f.partition, context.Cause(ctx))
		}
	}
	return nil
}

// fail ends the consumer for a reason that will not pass.
func (s *consumer) fail(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
	}
	s.move()
	s.mu.Unlock()
	s.cancel(err)
}

// move wakes those who wait for a change. Called with mu held.
func (s *consumer) move() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// event queues a callback. Called with mu held; tell follows without it.
func (s *consumer) event(f func()) { s.events = append(s.events, f) }

// tell makes the callbacks, one at a time and in order.
func (s *consumer) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.telling {
		return
	}
	s.telling = true
	for len(s.events) > 0 {
		events := s.events
		s.events = nil
		s.mu.Unlock()
		for _, f := range events {
			f()
		}
		s.mu.Lock()
	}
	s.telling = false
}

// offer puts a feed into the queue if it may hand something out. Called with mu held.
func (s *consumer) offer(f *feed) {
	if f.queued || !f.has() {
		return
	}
	f.queued = true
	s.ready = append(s.ready, f)
	s.signal()
}

func (s *consumer) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// receive returns the next message.
func (s *consumer) receive(ctx context.Context) (*Message, error) {
	m, err := await(ctx, s, s.take)
	if m != nil {
		s.c.hooks.messages(s.name, m)
	}
	return m, err
}

// await returns what take finds next.
func await[T any](ctx context.Context, s *consumer, take func() (*T, error)) (*T, error) {
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		m, err := take()
		if m != nil {
			return m, nil
		}
		if err != nil {
			s.signal() // for the others
			return nil, err
		}
		select {
		case <-s.wake:
		case <-s.ctx.Done():
		case <-ctx.Done():
		}
	}
}

// take returns a message if there is one now, or why there will be none.
func (s *consumer) take() (*Message, error) { return takeBy(s, (*feed).pop) }

// takeBy returns what pop finds in one of the feeds if there is something now, or why there will be nothing.
func takeBy[T any](s *consumer, pop func(*feed) (*T, popped)) (*T, error) {
	s.mu.Lock()
	defer func() {
		if len(s.ready) > 0 {
			s.signal()
		}
		told := len(s.events) > 0
		s.mu.Unlock()
		if told {
			s.tell()
		}
	}()
	for {
		switch {
		case s.err != nil:
			return nil, s.err
		case s.closing:
			return nil, ErrClosed
		case len(s.ready) == 0:
			if s.exhausted() {
				return nil, io.EOF
			}
			return nil, nil
		}
		f := s.ready[0]
		m, got := pop(f)
		switch got {
		case gotMessage:
			return m, nil
		case gotBatch:
			s.ready = append(s.ready[1:], f)
			return m, nil
		case gotBatchEnd: // the next partition's turn
			s.ready = append(s.ready[1:], f)
		case gotNothing:
			s.ready = s.ready[1:]
			f.queued = false
		case gotPacked:
			s.ready = s.ready[1:]
			f.unpack()
		}
	}
}

// exhausted reports whether a reader that stops at the end has handed out everything. Called with mu
// held.
func (s *consumer) exhausted() bool {
	if !s.cfg.stopAtEnd {
		return false
	}
	for _, f := range s.feeds {
		if !f.complete || f.unpacking || f.it != nil || len(f.buf) > 0 {
			return false
		}
	}
	return true
}

// messages iterates over receive.
func (s *consumer) messages(ctx context.Context) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for {
			m, err := s.receive(ctx)
			if errors.Is(err, ErrClosed) || errors.Is(err, io.EOF) {
				return
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// closeGrace bounds how long Close waits for brokers to end the streams.
const closeGrace = time.Second

// close ends the consumer: commit first, then the streams in good order, then the rest. Another call has it go on without the
// brokers when its own ctx ends.
func (s *consumer) close(ctx context.Context, commit func(context.Context) error) error {
	s.mu.Lock()
	first := s.closed == nil
	if first {
		s.closed = make(chan struct{})
		s.closing = true
	}
	closed := s.closed
	s.mu.Unlock()
	if !first {
		return awaitClosed(ctx, closed, s.cancel)
	}
	defer close(closed)
	s.signal()
	var err error
	if commit != nil {
		err = commit(ctx)
	}
	if s.subscribes() {
		s.leave(ctx)
	}
	s.cancel(ErrClosed)
	s.wg.Wait()
	s.tell()
	return err
}

// leave asks the feeds to end their streams and waits for it.
func (s *consumer) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeGrace)
	defer cancel()
	s.mu.Lock()
	s.leaving = true
	for _, f := range s.feeds {
		f.poke()
	}
	s.mu.Unlock()
	for {
		s.mu.Lock()
		open := false
		for _, f := range s.feeds {
			open = open || f.streaming
		}
		changed := s.changed
		s.mu.Unlock()
		if !open {
			return
		}
		select {
		case <-changed:
		case <-s.ctx.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// assigned lists the partitions that are handed out.
func (s *consumer) assigned() []protocol.Partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []protocol.Partition
	for p, f := range s.feeds {
		if f.live && !f.revoking {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}
