package planted

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
)

var (
	errClosed = errors.New("closed, nobody knows what became of the message")
	errFull   = fmt.Errorf("%w: the memory for messages is full", driver.ErrNotAppended)
)

// topic is a set of partitions with the subscriptions that read them.
type topic struct {
	name          string
	partitions    []*partition
	subscriptions map[string]*subscription
	ctx           context.Context // ends with the topic
	cancel        context.CancelFunc
	wg            sync.WaitGroup // leaders
}

// CreateTopic makes a topic and starts its leaders.
func (s *system) CreateTopic(_ context.Context, spec driver.Topic) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.topics[spec.Name]; taken {
		return fmt.Errorf("topic %s exists", spec.Name)
	}
	if s.ctx.Err() != nil {
		return fmt.Errorf("create topic %s: the system is closed", spec.Name)
	}
	t := &topic{name: spec.Name, subscriptions: map[string]*subscription{}}
	t.ctx, t.cancel = context.WithCancel(s.ctx)
	for _, name := range spec.Subscriptions {
		t.subscriptions[name] = &subscription{cursors: make([]cursor, spec.Partitions)}
	}
	for id := range int32(spec.Partitions) {
		p := &partition{system: s, topic: t, id: id, wake: make(chan struct{}, 1), log: log{bytes: &s.bytes}, next: period}
		t.partitions = append(t.partitions, p)
		t.wg.Go(p.lead)
	}
	s.topics[spec.Name] = t
	return nil
}

func (s *system) topic(name string) (*topic, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("there is no topic %s", name)
}

// DeleteTopic removes a topic. Its consumers get nothing more.
func (s *system) DeleteTopic(_ context.Context, name string) error {
	t, err := s.topic(name)
	if err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.topics, name)
	s.mu.Unlock()
	t.close(s)
	return nil
}

// close ends the leaders, answers what waits and gives the memory back.
func (t *topic) close(s *system) {
	t.cancel()
	t.wg.Wait()
	for _, p := range t.partitions {
		for _, it := range p.close() {
			it.answer(failed(errClosed))
		}
		p.log.clear()
	}
}

// maxWaiting bounds the messages of a partition without an answer.
const maxWaiting = 8192

// item is a message that waits for its leader.
type item struct {
	m *driver.Message
	p *producer
}

func (it item) answer(a driver.Ack) {
	it.m.Done(it.m, a)
	it.p.settled()
}

// partition is a log and its leader.
type partition struct {
	system *system
	topic  *topic
	id     int32
	wake   chan struct{} // tells the leader that something waits

	mu      sync.Mutex
	waiting []item        // guarded by mu
	room    chan struct{} // guarded by mu; closed when there is room again; nil: nobody waits for it
	closed  bool          // guarded by mu

	log  log
	seen int // messages so far; the leader's
	next int // the message to misbehave with; the leader's
}

// offer gives a message to the leader. It reports false and what to wait for if there is no room.
func (p *partition) offer(it item) (bool, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false, nil, fmt.Errorf("%w: topic %s is gone", driver.ErrNotAppended, p.topic.name)
	}
	if len(p.waiting) >= maxWaiting {
		if p.room == nil {
			p.room = make(chan struct{})
		}
		return false, p.room, nil
	}
	p.waiting = append(p.waiting, it)
	if len(p.waiting) == 1 {
		poke(p.wake)
	}
	return true, nil, nil
}

// take returns all that waits, in exchange for an empty slice.
func (p *partition) take(empty []item) []item {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.takeLocked(empty)
}

func (p *partition) takeLocked(empty []item) []item {
	all := p.waiting
	p.waiting = empty
	if p.room != nil {
		close(p.room)
		p.room = nil
	}
	return all
}

// close refuses messages from now on and returns those that wait.
func (p *partition) close() []item {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.takeLocked(nil)
}

// abandon returns the messages of a producer that wait, and forgets them.
func (p *partition) abandon(from *producer) []item {
	p.mu.Lock()
	defer p.mu.Unlock()
	var theirs []item
	for _, it := range p.takeLocked(nil) {
		if it.p == from {
			theirs = append(theirs, it)
		} else {
			p.waiting = append(p.waiting, it)
		}
	}
	return theirs
}

// lead appends and answers what waits until the topic is gone.
func (p *partition) lead() {
	var batch []item
	var acks []driver.Ack
	for p.ready() {
		clear(batch)
		batch = p.take(batch[:0])
		acks = p.store(batch, acks[:0])
		p.log.publish()
		for _, sub := range p.topic.subscriptions {
			sub.poke()
		}
		for i, it := range batch {
			it.answer(acks[i])
		}
	}
}

// ready waits until something waits and the leader runs. False: the topic is gone.
func (p *partition) ready() bool {
	select {
	case <-p.wake:
	case <-p.topic.ctx.Done():
		return false
	}
	if p.system.profile == slow {
		p.stall()
	}
	for {
		serves, changed := p.system.serves(p.id)
		if serves {
			return p.topic.ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-p.topic.ctx.Done():
			return false
		}
	}
}

// stall stands still during the first 200 ms of every second but the very first.
func (p *partition) stall() {
	since := time.Since(p.system.begin)
	left := 200*time.Millisecond - since%time.Second
	if since < time.Second || left <= 0 {
		return
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
	case <-p.topic.ctx.Done():
	}
}

// poke wakes whoever waits for a channel with room for one.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func failed(err error) driver.Ack {
	return driver.Ack{Err: err, Partition: driver.AnyPartition, Offset: driver.NoOffset}
}
