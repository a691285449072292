package rabbitmq

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"

	"github.com/trunkline/trunkline/bench/driver"
)

// defaultWindow is how many messages of a producer may be unconfirmed. Beyond a few hundred only their wait grows.
const defaultWindow = 500

// producer deals messages out to one lane for each partition.
type producer struct {
	sys    *system
	topic  *topic
	retry  bool
	pool   *pool
	window chan struct{} // one token for each message without an answer
	lanes  []*lane
	next   uint32 // partition of the next message without a key

	ctx  context.Context // of the lanes
	stop context.CancelFunc
	all  sync.WaitGroup

	mu     sync.Mutex
	closed bool // no lane takes more
}

func (s *system) Producer(ctx context.Context, opts driver.ProducerOptions) (driver.Producer, error) {
	t, err := s.topic(opts.Topic)
	if err != nil {
		return nil, err
	}
	size := opts.MaxInFlight
	if size <= 0 {
		size = defaultWindow
	}
	p := &producer{
		sys: s, topic: t, retry: opts.Retry, window: make(chan struct{}, size),
		pool: newPool(fmt.Sprintf("trunkbench producer %d", opts.ID), s.brokers), next: uint32(opts.ID),
	}
	p.ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	for i := range t.Partitions {
		l := &lane{p: p, partition: i, in: make(chan entry, size)}
		p.lanes = append(p.lanes, l)
		p.all.Go(l.run)
	}
	s.opened(p)
	return p, nil
}

// Send hands m to the lane of its partition.
func (p *producer) Send(ctx context.Context, m *driver.Message) {
	select {
	case p.window <- struct{}{}:
	case <-ctx.Done():
		refuse(m, ctx.Err())
		return
	case <-p.ctx.Done():
		refuse(m, errClosed)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		<-p.window
		refuse(m, errClosed)
		return
	}
	p.lanes[p.partition(m)].in <- entry{ctx: ctx, m: m} // it has room for the whole window
}

// partition chooses one. RabbitMQ has no partitioner: without a key its users take turns.
func (p *producer) partition(m *driver.Message) int {
	switch {
	case m.Partition >= 0:
		return int(m.Partition) % len(p.lanes)
	case m.Key != nil:
		h := fnv.New32a()
		_, _ = h.Write(m.Key)
		return int(h.Sum32() % uint32(len(p.lanes)))
	default:
		p.next++
		return int(p.next % uint32(len(p.lanes)))
	}
}

// Close waits for the answers, then ends the lanes, which fail what is left.
func (p *producer) Close(ctx context.Context) error {
	p.mu.Lock()
	again := p.closed
	p.closed = true
	p.mu.Unlock()
	if again {
		return nil
	}
	var err error
	for range cap(p.window) {
		select {
		case p.window <- struct{}{}: // full when nothing is unanswered
			continue
		case <-ctx.Done():
			err = fmt.Errorf("close producer: messages were left without an answer: %w", ctx.Err())
			p.pool.cut()
		}
		break
	}
	p.stop()
	defer context.AfterFunc(ctx, p.pool.cut)()
	p.all.Wait()
	p.pool.close(ctx)
	p.sys.closed(p)
	return err
}

// refuse answers a message that never left.
func refuse(m *driver.Message, why error) {
	m.Done(m, driver.Ack{
		Err: fmt.Errorf("%w: %w", driver.ErrNotAppended, why), Partition: driver.AnyPartition, Offset: driver.NoOffset,
	})
}
