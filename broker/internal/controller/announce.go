package controller

import (
	"context"
	"sync"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// announcements are the leaderships that were not broadcast yet, at most one per partition. Adding never blocks.
type announcements struct {
	ready chan struct{} // has a token when leaders is not empty

	mu      sync.Mutex
	leaders map[protocol.TopicPartition]wire.Leader // guarded by mu
}

func (a *announcements) init() {
	a.ready = make(chan struct{}, 1)
	a.leaders = make(map[protocol.TopicPartition]wire.Leader)
}

func (a *announcements) add(l wire.Leader) {
	a.mu.Lock()
	a.leaders[protocol.TopicPartition{Topic: l.Topic, Partition: l.Partition}] = l
	a.mu.Unlock()
	select {
	case a.ready <- struct{}{}:
	default:
	}
}

func (a *announcements) take() []wire.Leader {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]wire.Leader, 0, len(a.leaders))
	for _, l := range a.leaders {
		out = append(out, l)
	}
	clear(a.leaders)
	return out
}

// announce broadcasts new leaderships at once, what piled up meanwhile together, and all of them from time to time:
// broadcasts get lost, and brokers come back.
func (c *Controller) announce(ctx context.Context) {
	tick := time.NewTicker(c.cfg.RefreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.pending.ready:
			c.broadcast(c.pending.take())
		case <-tick.C:
			c.broadcast(c.refresh())
		case <-ctx.Done():
			return
		}
	}
}

func (c *Controller) broadcast(leaders []wire.Leader) {
	for _, b := range meta.EncodeLeaders(leaders) {
		c.cfg.Broadcast(b)
	}
}

// refresh returns the leaderships of this broker. Of the partitions it follows it knows from the log who began the
// newest epoch; that goes into the table, in case the leader's own announcement was lost.
func (c *Controller) refresh() []wire.Leader {
	var own, followed []wire.Leader
	for _, r := range c.running() {
		l := wire.Leader{Topic: r.spec().tp.Topic, Partition: r.spec().tp.Partition, Leader: c.cfg.Self}
		if epoch, ok := r.serving(); ok {
			l.Epoch = epoch
			own = append(own, l)
			continue
		}
		l.Epoch, l.Leader = r.newest()
		followed = append(followed, l)
	}
	c.cfg.Leaders.ObserveAll(own)
	c.cfg.Leaders.ObserveAll(followed)
	return own
}
