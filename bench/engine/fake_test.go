package engine

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
)

// fake is a message system in this process, as sound as it gets, whose speed and availability tests set.
type fake struct {
	about   driver.About
	nodes   int
	deaf    bool         // delivers nothing
	refuse  error        // every publish is answered so
	stalled atomic.Int64 // Unix nanoseconds until which nothing moves
	passed  atomic.Int64 // messages
	halt    int64        // with so many passed nothing moves for haltFor; 0: never
	down    atomic.Int64 // ID of the node that is away

	mu     sync.Mutex
	gap    time.Duration // between two messages over the whole system; 0: as fast as it goes
	next   time.Time     // when the next message may pass
	topics map[string]*fakeTopic
}

type fakeTopic struct {
	mu         sync.Mutex
	cond       *sync.Cond
	partitions [][][]byte
	turn       int
}

func newFake() *fake {
	return &fake{
		nodes: 3, topics: map[string]*fakeTopic{},
		about: driver.About{System: "fake", Profile: "memory", Ordered: true, NoDuplicates: true},
	}
}

func (f *fake) About() driver.About { return f.about }

func (f *fake) Nodes() []driver.Node {
	nodes := make([]driver.Node, f.nodes)
	for i := range nodes {
		nodes[i].ID = i + 1
	}
	return nodes
}

func (f *fake) CreateTopic(_ context.Context, t driver.Topic) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	topic := &fakeTopic{partitions: make([][][]byte, t.Partitions)}
	topic.cond = sync.NewCond(&topic.mu)
	f.topics[t.Name] = topic
	return nil
}

func (f *fake) DeleteTopic(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.topics, name)
	return nil
}

func (f *fake) topic(name string) *fakeTopic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.topics[name]
}

// Leaders: partition p is led by node p modulo 3, plus 1.
func (f *fake) Leaders(_ context.Context, name string) ([]int, error) {
	leaders := make([]int, len(f.topic(name).partitions))
	for p := range leaders {
		leaders[p] = p%f.nodes + 1
	}
	return leaders, nil
}

func (f *fake) Kill(_ context.Context, node int) error  { f.down.Store(int64(node)); return nil }
func (f *fake) Stop(_ context.Context, node int) error  { f.down.Store(int64(node)); return nil }
func (f *fake) Pause(_ context.Context, node int) error { f.down.Store(int64(node)); return nil }
func (f *fake) Resume(context.Context, int) error       { f.down.Store(0); return nil }
func (f *fake) Start(context.Context, int) error        { f.down.Store(0); return nil }
func (f *fake) Close(context.Context) error             { return nil }
func (f *fake) stall(d time.Duration)                   { f.stalled.Store(time.Now().Add(d).UnixNano()) }
func (t *fakeTopic) place(m *driver.Message) (p int) {
	if m.Partition != driver.AnyPartition {
		return int(m.Partition)
	}
	t.turn++
	return t.turn % len(t.partitions)
}

func (f *fake) slow(gap time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gap = gap
}

// haltFor is longer than a small workload lasts.
const haltFor = 2 * time.Second

// pass waits until a message may be stored.
func (f *fake) pass() {
	if f.passed.Add(1) == f.halt {
		f.stall(haltFor)
	}
	for time.Now().UnixNano() < f.stalled.Load() {
		time.Sleep(time.Millisecond)
	}
	f.mu.Lock()
	now := time.Now()
	if f.next.Before(now.Add(-20 * time.Millisecond)) {
		f.next = now
	}
	f.next = f.next.Add(f.gap)
	wait := f.next.Sub(now)
	f.mu.Unlock()
	if wait > time.Millisecond {
		time.Sleep(wait)
	}
}

type fakeProducer struct {
	f     *fake
	t     *fakeTopic
	queue chan *driver.Message
	wg    sync.WaitGroup
}

func (f *fake) Producer(_ context.Context, o driver.ProducerOptions) (driver.Producer, error) {
	most := o.MaxInFlight
	if most == 0 {
		most = 1000
	}
	p := &fakeProducer{f: f, t: f.topic(o.Topic), queue: make(chan *driver.Message, most)}
	p.wg.Go(func() {
		for m := range p.queue {
			p.store(m)
		}
	})
	return p, nil
}

func (p *fakeProducer) Send(ctx context.Context, m *driver.Message) {
	select {
	case p.queue <- m:
	case <-ctx.Done():
		m.Done(m, driver.Ack{Err: ctx.Err(), Partition: driver.AnyPartition, Offset: driver.NoOffset})
	}
}

func (p *fakeProducer) store(m *driver.Message) {
	if p.f.refuse != nil {
		m.Done(m, driver.Ack{Err: p.f.refuse, Partition: driver.AnyPartition, Offset: driver.NoOffset})
		return
	}
	p.f.pass()
	p.t.mu.Lock()
	at := p.t.place(m)
	p.t.mu.Unlock()
	for int64(at%p.f.nodes+1) == p.f.down.Load() {
		time.Sleep(time.Millisecond)
	}
	p.t.mu.Lock()
	offset := len(p.t.partitions[at])
	p.t.partitions[at] = append(p.t.partitions[at], bytes.Clone(m.Payload))
	p.t.cond.Broadcast()
	p.t.mu.Unlock()
	m.Done(m, driver.Ack{Partition: int32(at), Offset: int64(offset)})
}

func (p *fakeProducer) Close(context.Context) error {
	close(p.queue)
	p.wg.Wait()
	return nil
}

type fakeConsumer struct {
	t      *fakeTopic
	closed bool // guarded by t.mu
	wg     sync.WaitGroup
}

// Consumer serves the first member of a subscription; others stand by.
func (f *fake) Consumer(_ context.Context, o driver.ConsumerOptions) (driver.Consumer, error) {
	c := &fakeConsumer{t: f.topic(o.Topic)}
	if o.ID == 0 && !f.deaf {
		c.wg.Go(func() { c.read(o.Deliver) })
	}
	return c, nil
}

func (c *fakeConsumer) read(deliver func(*driver.Delivery)) {
	next := make([]int, len(c.t.partitions))
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	for !c.closed {
		moved := false
		for p := range next {
			for ; next[p] < len(c.t.partitions[p]); next[p]++ {
				moved = true
				payload := c.t.partitions[p][next[p]]
				c.t.mu.Unlock()
				deliver(&driver.Delivery{Partition: int32(p), Offset: int64(next[p]), Payload: payload})
				c.t.mu.Lock()
			}
		}
		if !moved {
			c.t.cond.Wait()
		}
	}
}

func (c *fakeConsumer) Close(context.Context) error {
	c.t.mu.Lock()
	c.closed = true
	c.t.cond.Broadcast()
	c.t.mu.Unlock()
	c.wg.Wait()
	return nil
}
