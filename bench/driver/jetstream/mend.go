package jetstream

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
)

// Pauses of the mender: short enough that a new leader does not wait for it, long enough not to burden an election.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 100 * time.Millisecond
	calm       = time.Second // without a failure the next pause is the first one again
)

// nudge tells the mender that something failed. It never blocks.
func (p *producer) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// mend looks for the new leaders after a failure and publishes again what is to be retried, until the producer ends.
func (p *producer) mend() {
	pause, last := firstPause, time.Now()
	for {
		select {
		case <-p.wake:
		case <-p.life.Done():
			return
		}
		if time.Since(last) > calm {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-p.life.Done():
			return
		}
		p.lookUp()
		p.again()
		pause, last = min(2*pause, lastPause), time.Now()
	}
}

// lookUp asks who leads the partitions where something failed. Where nobody knows in time the old leader stays.
func (p *producer) lookUp() {
	ctx, cancel := context.WithTimeout(p.life, askLimit)
	defer cancel()
	p.mu.Lock()
	stale := slices.Collect(maps.Keys(p.stale))
	clear(p.stale)
	p.mu.Unlock()
	_ = eachOf(ctx, len(stale), askers, func(ctx context.Context, i int) error {
		if id := p.sys.leader(ctx, p.opts.Topic, stale[i]); id != 0 {
			p.leaders[stale[i]].Store(int32(id))
		}
		return nil // the next failure asks again
	})
}

// again publishes what failed, oldest first.
func (p *producer) again() {
	p.mu.Lock()
	failed := p.failed
	p.failed = nil
	p.mu.Unlock()
	slices.SortFunc(failed, func(a, b *publish) int { return cmp.Compare(a.seq, b.seq) })
	for _, to := range failed {
		if err := to.ctx.Err(); err != nil {
			p.answer(to, driver.Ack{Err: err, Partition: int32(to.partition), Offset: driver.NoOffset})
			continue
		}
		p.publish(to)
	}
}
