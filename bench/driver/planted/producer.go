package planted

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/trunkline/trunkline/bench/driver"
)

// producer hands messages to leaders.
type producer struct {
	topic  *topic
	seed   maphash.Seed
	window chan struct{}  // one entry a message without an answer; nil: bounded by maxWaiting only
	open   sync.WaitGroup // messages without an answer
	turn   int32          // the partition of the next message without key
}

// Producer opens a producer. What is sent waits as long as it takes, with Retry and without.
func (s *system) Producer(_ context.Context, opts driver.ProducerOptions) (driver.Producer, error) {
	t, err := s.topic(opts.Topic)
	if err != nil {
		return nil, err
	}
	p := &producer{topic: t, seed: maphash.MakeSeed()}
	if opts.MaxInFlight > 0 {
		p.window = make(chan struct{}, opts.MaxInFlight)
	}
	return p, nil
}

// Send queues a message for the leader of its partition.
func (p *producer) Send(ctx context.Context, m *driver.Message) {
	refuse := func(err error) { m.Done(m, failed(fmt.Errorf("%w: %w", driver.ErrNotAppended, err))) }
	n := p.choose(m)
	if n < 0 || int(n) >= len(p.topic.partitions) {
		refuse(fmt.Errorf("there is no partition %d", n))
		return
	}
	if p.window != nil {
		select {
		case p.window <- struct{}{}:
		case <-ctx.Done():
			refuse(ctx.Err())
			return
		}
	}
	p.open.Add(1)
	for it := (item{m, p}); ; {
		taken, room, err := p.topic.partitions[n].offer(it)
		if taken {
			return
		}
		if err == nil {
			select {
			case <-room:
				continue
			case <-ctx.Done():
				err = fmt.Errorf("%w: %w", driver.ErrNotAppended, ctx.Err())
			}
		}
		it.answer(failed(err))
		return
	}
}

func (p *producer) choose(m *driver.Message) int32 {
	partitions := len(p.topic.partitions)
	switch {
	case m.Partition != driver.AnyPartition:
		return m.Partition
	case m.Key != nil:
		return int32(maphash.Bytes(p.seed, m.Key) % uint64(partitions))
	}
	p.turn = (p.turn + 1) % int32(partitions)
	return p.turn
}

// settled makes room for another message.
func (p *producer) settled() {
	if p.window != nil {
		<-p.window
	}
	p.open.Done()
}

// Close waits for answers; when ctx ends it answers what still waits with an error.
func (p *producer) Close(ctx context.Context) error {
	answered := make(chan struct{})
	go func() { defer close(answered); p.open.Wait() }()
	select {
	case <-answered:
		return nil
	case <-ctx.Done():
	}
	for _, part := range p.topic.partitions {
		for _, it := range part.abandon(p) {
			it.answer(failed(errClosed))
		}
	}
	<-answered // a batch that a leader has in its hands is answered at once
	return ctx.Err()
}
