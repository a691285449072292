package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/client/internal/cluster"
	"github.com/trunkline/trunkline/client/internal/outbox"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// lane is a producer's way to one partition: the queue, and the goroutine that keeps a stream on the
// leader while the producer is open.
//
// Results of Send are handed out in order by whoever finds nobody else doing it (deliver), without mu.
type lane struct {
	p         *Producer
	partition protocol.Partition
	tp        protocol.TopicPartition
	wake      chan struct{} // for the writer; holds one
	opened    chan struct{} // closed when the first stream was accepted
	ended     chan struct{} // closed when run has returned
	running   atomic.Bool   // run was started

	mu        sync.Mutex // guards the following
	box       *outbox.Box
	id        protocol.ProducerID
	epoch     protocol.ProducerEpoch
	wasOpened bool
	dead      error     // why nothing is accepted any more
	why       error     // why nothing moves at the moment, for error texts
	oldest    time.Time // when the oldest pending item came
	urgent    uint64    // items below this index do not linger
	free      int       // bytes left of the buffer bound
	queue     []*ticket // callers that wait for them, first come first served
	watches   map[<-chan struct{}]*watch
	results   []*outbox.Item // to be handed out
	handing   bool           // somebody does
	flushes   []flush
	overdue   *time.Timer             // of the delivery timeout, nil without one
	renew     context.CancelCauseFunc // ends the session, if there is one

	build *batch.Builder // of the writer's goroutine
}

// ticket is a caller that waits for buffer space.
type ticket struct {
	size    int
	granted chan struct{}
}

// watch ends the items of one caller's context. Guarded by lane.mu.
type watch struct {
	items int
	stop  func() bool
}

// flush waits until all items below index are settled.
type flush struct {
	index uint64
	done  chan struct{}
}

// call is what a lane knows of one record's caller; it is the item's Tag.
type call struct {
	record *Record              // for hooks; nil without
	done   func(Receipt, error) // of Send, may be nil
	ready  chan struct{}        // of Publish: closed with the result
}

func newLane(p *Producer, partition protocol.Partition) *lane {
	l := &lane{
		p: p, partition: partition,
		tp:   protocol.TopicPartition{Topic: p.topicID, Partition: partition},
		wake: make(chan struct{}, 1), opened: make(chan struct{}), ended: make(chan struct{}),
		id: p.id, epoch: p.epoch,
		free: p.cfg.bufferBytes, watches: make(map[<-chan struct{}]*watch),
		build: batch.NewBuilder(batch.Compression(p.cfg.compression)),
	}
	l.box = outbox.New(p.cfg.name == "", l.settled)
	if p.cfg.deliveryTimeout > 0 {
		l.overdue = time.AfterFunc(time.Hour, l.expire)
		l.overdue.Stop()
	}
	return l
}

// run keeps a stream open until the producer is closed or cannot go on.
func (l *lane) run(ctx context.Context) {
	defer close(l.ended)
	err := l.p.c.cluster.Run(ctx, cluster.Follow{
		Partition: l.tp,
		OnWait:    l.setWhy,
		OnRetry: func(attempt int, err error) {
			l.setWhy(err)
			l.p.c.retried(RetryEvent{
				What: "produce", Topic: l.p.topic, Partition: l.partition, Attempt: attempt, Err: err,
			})
		},
	}, l.session)
	l.kill(l.p.failure(err))
}

func (l *lane) setWhy(err error) {
	l.mu.Lock()
	l.why = err
	l.mu.Unlock()
}

// kill ends the lane: everything fails, now and later.
func (l *lane) kill(err error) {
	l.mu.Lock()
	if l.dead == nil {
		l.dead = err
	}
	l.box.FailAll(false, l.dead)
	l.turnAway()
	if l.overdue != nil {
		l.overdue.Stop()
	}
	l.mu.Unlock()
	l.deliver()
}

// turnAway ends the wait of those who want room in the buffer of a lane that is dead. Called with mu held.
func (l *lane) turnAway() {
	for _, t := range l.queue {
		close(t.granted)
	}
	l.queue = nil
}

// fail is a *PublishError of this lane.
func (l *lane) fail(o Outcome, err error) error {
	return &PublishError{Outcome: o, Topic: l.p.topic, Partition: l.partition, Err: err}
}

// late is the end of a context together with what held the record up. Called with mu held.
func (l *lane) late(cause error) error {
	if l.why == nil {
		return cause
	}
	return fmt.Errorf("%w (%w)", cause, l.why)
}

// reserve waits for size bytes of the buffer. A record larger than the whole buffer needs all of it.
func (l *lane) reserve(ctx context.Context, size int) error {
	size = l.cost(size)
	l.mu.Lock()
	if l.dead != nil {
		defer l.mu.Unlock()
		return l.fail(NotAppended, l.dead)
	}
	if len(l.queue) == 0 && l.free >= size {
		l.free -= size
		l.mu.Unlock()
		return nil
	}
	l.urgent = max(l.urgent, l.box.Added()) // a full buffer does not linger
	l.poke()
	if l.p.cfg.maxBlock < 0 {
		defer l.mu.Unlock()
		return l.fail(NotAppended, l.late(l.busy()))
	}
	t := &ticket{size: size, granted: make(chan struct{})}
	l.queue = append(l.queue, t)
	l.mu.Unlock()
	var blocked <-chan time.Time // without a bound never
	if d := l.p.cfg.maxBlock; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		blocked = timer.C
	}
	var cause error
	select {
	case <-t.granted:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.dead != nil {
			return l.fail(NotAppended, l.dead)
		}
		return nil
	case <-blocked:
		cause = l.busy()
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fail(NotAppended, l.late(l.withdraw(t, cause)))
}

// busy is the end of a caller's patience with a full buffer.
func (l *lane) busy() error {
	return fmt.Errorf("%w: no room in the buffer of %d bytes for %v", ErrBusy, l.p.cfg.bufferBytes, max(0, l.p.cfg.maxBlock))
}

// withdraw takes a ticket back, or the space it was granted meanwhile. Called with mu held.
func (l *lane) withdraw(t *ticket, cause error) error {
	for i, q := range l.queue {
		if q == t {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			l.grant(0)
			return cause
		}
	}
	if l.dead == nil {
		l.grant(t.size)
	}
	return cause
}

func (l *lane) cost(size int) int { return min(size, l.p.cfg.bufferBytes) }

// grant gives freed bytes to those who wait. Called with mu held.
func (l *lane) grant(bytes int) {
	l.free += bytes
	for len(l.queue) > 0 && l.queue[0].size <= l.free {
		l.free -= l.queue[0].size
		close(l.queue[0].granted)
		l.queue = l.queue[1:]
	}
}

// add queues a record whose space is reserved.
func (l *lane) add(ctx context.Context, it *outbox.Item) error {
	l.mu.Lock()
	if l.dead != nil {
		defer l.mu.Unlock()
		l.grant(l.cost(it.Size))
		return l.fail(NotAppended, l.dead)
	}
	if l.box.Pending() == 0 {
		l.oldest = time.Now()
	}
	index := l.box.Add(it)
	if it.Tag.(*call).ready != nil || l.p.cfg.linger <= 0 {
		l.urgent = max(l.urgent, index+1)
	}
	if it.Cancel != nil {
		l.watch(ctx, it.Cancel)
	}
	// A writer that already lingers is only disturbed when there is something for it to do now.
	poke := l.box.Pending() == 1 || index < l.urgent || l.box.PendingBytes() >= l.p.cfg.batchBytes
	l.mu.Unlock()
	if poke {
		l.poke()
	}
	return nil
}

func (l *lane) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// watch sees to it that items end with their caller's context. Items of the same context share one
// watch, which is what makes it cheap. Called with mu held.
func (l *lane) watch(ctx context.Context, ch <-chan struct{}) {
	if w, ok := l.watches[ch]; ok {
		w.items++
		return
	}
	l.watches[ch] = &watch{items: 1, stop: context.AfterFunc(ctx, func() {
		l.mu.Lock()
		l.box.CancelAll(ch, l.late(context.Cause(ctx)))
		l.mu.Unlock()
		l.deliver()
	})}
}

// cancel ends one item for Publish, whose context has ended.
func (l *lane) cancel(it *outbox.Item, cause error) {
	l.mu.Lock()
	l.box.Cancel(it, l.late(cause))
	l.mu.Unlock()
	l.deliver()
}

// settled is called by the box, with mu held, for every item that has its result.
func (l *lane) settled(it *outbox.Item) {
	if l.dead == nil {
		l.grant(l.cost(it.Size))
	}
	if w, ok := l.watches[it.Cancel]; ok && it.Cancel != nil {
		if w.items--; w.items == 0 {
			w.stop()
			delete(l.watches, it.Cancel)
		}
	}
	c := it.Tag.(*call)
	if c.ready != nil {
		close(c.ready)
	}
	if c.done != nil || l.p.c.hooks.record != nil {
		l.results = append(l.results, it)
	}
}

// deliver hands out results, and then wakes flushes. Only one goroutine does it at a time, in order; what
// others find meanwhile it hands out as well.
func (l *lane) deliver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.handing {
		return
	}
	l.handing = true
	for len(l.results) > 0 {
		results := l.results
		l.results = nil
		l.mu.Unlock()
		for _, it := range results {
			l.hand(it)
		}
		l.mu.Lock()
	}
	l.handing = false
	low := l.box.Low()
	waiting := l.flushes[:0]
	for _, f := range l.flushes {
		if f.index <= low {
			close(f.done)
		} else {
			waiting = append(waiting, f)
		}
	}
	l.flushes = waiting
}

// hand gives one result to its caller.
func (l *lane) hand(it *outbox.Item) {
	c := it.Tag.(*call)
	receipt, err := l.receipt(it)
	l.p.c.hooks.recordDone(l.p.topic, c.record, receipt, err)
	if c.done != nil {
		c.done(receipt, err)
	}
}

// receipt turns an item's result into what the caller gets.
func (l *lane) receipt(it *outbox.Item) (Receipt, error) {
	if r := it.Result; r.Err != nil {
		return Receipt{}, l.fail(r.Outcome, r.Err)
	}
	return Receipt{
		Partition: l.partition, Offset: it.Result.Offset, Epoch: it.Result.Epoch,
		Duplicate: it.Result.Duplicate,
	}, nil
}

// flush returns a channel that is closed when everything queued before is settled and handed out.
func (l *lane) flush() <-chan struct{} {
	f := flush{done: make(chan struct{})}
	l.mu.Lock()
	f.index = l.box.Added()
	l.urgent = max(l.urgent, f.index)
	if f.index <= l.box.Low() && len(l.results) == 0 && !l.handing {
		close(f.done)
	} else {
		l.flushes = append(l.flushes, f)
	}
	l.mu.Unlock()
	l.poke()
	return f.done
}

// nextSequence is that of the next record to be queued.
func (l *lane) nextSequence() protocol.Sequence {
	l.mu.Lock()
	defer l.mu.Unlock()
	next, _ := l.box.Next()
	return next + protocol.Sequence(l.box.Unsealed())
}

// expire is called when the oldest batch in flight may be over the delivery timeout.
func (l *lane) expire() {
	l.mu.Lock()
	oldest := l.box.Oldest()
	if oldest == nil || l.dead != nil {
		l.mu.Unlock()
		return
	}
	if left := time.Until(oldest.Sealed.Add(l.p.cfg.deliveryTimeout)); left > 0 {
		l.overdue.Reset(left)
		l.mu.Unlock()
		return
	}
	end := l.giveUp(false, l.late(errDeliveryTimeout))
	if l.renew != nil {
		l.renew(end) // its stream belongs to the old identity
	}
	l.mu.Unlock()
	l.deliver()
}

var errDeliveryTimeout = errors.New("delivery timeout")

// giveUp fails what is sealed, and returns what a session ends with then. The place in the sequence stays open, so an anonymous
// lane goes on under a new identity and a named one ends. Called with mu held.
func (l *lane) giveUp(definite bool, err error) error {
	l.box.FailSealed(definite, err)
	if l.epoch != 0 || l.id.Named() {
		l.dead = fmt.Errorf("%w: %w", ErrPoisoned, err)
		l.box.FailAll(definite, l.dead)
		l.turnAway()
		return cluster.Stop(l.dead)
	}
	l.id = randomID()
	l.box.Renew()
	return cluster.Retry(err)
}
