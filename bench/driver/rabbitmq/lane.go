package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/trunkline/trunkline/bench/driver"
)

var (
	errLost   = errors.New("the channel was lost before the confirm")
	errNacked = errors.New("nacked: the broker does not vouch for it")
)

// lane publishes to one partition: a writer, which is run, and beside it for each channel a reader of confirms.
//
// Invariant: waiting holds what was published and not answered, in the order of publishing. On one channel its head is the message
// of the next confirm. What is left when the channel is lost comes first on the next one.
type lane struct {
	p         *producer
	partition int
	in        chan entry

	mu      sync.Mutex
	waiting []entry // at most the window
}

// entry is a message on its way.
type entry struct {
	ctx   context.Context // of Send: no longer tried when it has ended
	m     *driver.Message
	tried bool // it may have left
}

// run goes from one channel to the next until the producer ends.
func (l *lane) run() {
	for n := 0; l.p.ctx.Err() == nil; n++ {
		worked, err := l.session(n)
		l.settle(err)
		if worked {
			n = -1 // to the leader again
		}
		select {
		case <-l.p.ctx.Done():
		case <-time.After(backoff(n)):
		}
	}
	l.settle(errClosed)
}

// session opens a channel and publishes on it until it is lost or the producer ends. It reports whether it came to publishing.
func (l *lane) session(n int) (worked bool, err error) {
	ch, err := l.p.pool.channel(l.p.ctx, l.p.sys.route(l.p.ctx, l.p.topic, l.partition, n))
	if err != nil {
		return false, err
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, cap(l.p.window))) // the library waits where there is no room
	if err := ch.Confirm(false); err != nil {
		return false, errors.Join(fmt.Errorf("confirm mode: %w", err), ch.Close())
	}
	s := &session{lane: l, ch: ch, over: make(chan struct{})}
	go s.read(confirms)
	err = s.write()
	_ = ch.Close() // ends confirms; if it is broken already, so much the better
	<-s.over
	return true, err
}

// settle answers, after a channel was lost, what is not to be tried again: all of it without retry, else what ran out of time.
func (l *lane) settle(why error) {
	l.mu.Lock()
	for len(l.in) > 0 {
		l.waiting = append(l.waiting, <-l.in)
	}
	var again, over []entry
	for _, e := range l.waiting {
		if l.p.retry && e.ctx.Err() == nil && l.p.ctx.Err() == nil {
			again = append(again, e)
		} else {
			over = append(over, e)
		}
	}
	l.waiting = again
	l.mu.Unlock()
	for _, e := range over {
		l.answer(e, errors.Join(why, e.ctx.Err()))
	}
}

// answer ends a message. It may be used again before that returns.
func (l *lane) answer(e entry, err error) {
	if err != nil && !e.tried {
		err = fmt.Errorf("%w: %w", driver.ErrNotAppended, err)
	}
	e.m.Done(e.m, driver.Ack{Err: err, Partition: int32(l.partition), Offset: driver.NoOffset})
	<-l.p.window
}

// pop takes the message of the next confirm.
func (l *lane) pop() (entry, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return entry{}, false
	}
	e := l.waiting[0]
	l.waiting[0] = entry{}
	l.waiting = l.waiting[1:]
	return e, true
}

// session is one channel of a lane.
type session struct {
	lane *lane
	ch   *amqp.Channel
	// written counts messages that the library is done with. The reader looks at it before it answers one: a confirm can be
	// faster than the return of the publish, and an answered message belongs to the bench again.
	written atomic.Uint64
	over    chan struct{} // closed when the reader has ended
}

// write publishes what an earlier channel left, then what comes.
func (s *session) write() error {
	defer s.written.Store(math.MaxUint64)
	l := s.lane
	l.mu.Lock()
	left := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for i, e := range left {
		if err := s.publish(e); err != nil {
			l.mu.Lock()
			l.waiting = append(l.waiting, left[i+1:]...)
			l.mu.Unlock()
			return err
		}
	}
	for {
		select {
		case e := <-l.in:
			if err := s.publish(e); err != nil {
				return err
			}
		case <-s.over:
			return errLost
		case <-l.p.ctx.Done():
			return errClosed
		}
	}
}

func (s *session) publish(e entry) error {
	l := s.lane
	e.tried = true
	l.mu.Lock()
	l.waiting = append(l.waiting, e)
	l.mu.Unlock()
	key, body := strconv.Itoa(l.partition), e.m.Payload
	if err := s.ch.Publish(l.p.topic.Name, key, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}); err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	s.written.Add(1)
	return nil
}

// read answers messages as they are confirmed, until the channel ends. A nack ends it too when there is retry: what is behind the
// message is then published again with it, in order.
func (s *session) read(confirms <-chan amqp.Confirmation) {
	defer close(s.over)
	l := s.lane
	for c := range confirms {
		for s.written.Load() < c.DeliveryTag {
			runtime.Gosched()
		}
		if !c.Ack && l.p.retry {
			return
		}
		e, ok := l.pop()
		if !ok {
			return
		}
		var err error
		if !c.Ack {
			err = errNacked
		}
		l.answer(e, err)
	}
}
