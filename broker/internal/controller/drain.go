package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// drainPause is the pause between two rounds of transfers, and how often the metadata shard's leader is looked at.
const drainPause = 25 * time.Millisecond

// Drain hands every leadership that another living broker can take to that broker, transferParallel at a time, and
// again as long as some remain, until ctx ends. It returns an error that says how many remain; partitions without
// another living replica are not counted.
func (c *Controller) Drain(ctx context.Context) error {
	for {
		g := errgroup.Group{}
		g.SetLimit(transferParallel)
		for _, r := range c.transferable() {
			g.Go(func() error { return c.handOver(ctx, r) })
		}
		g.Go(func() error { return c.handOverMeta(ctx) })
		err := g.Wait()
		left := len(c.transferable())
		if left == 0 && !c.leadsMeta() {
			return nil
		}
		select {
		case <-time.After(drainPause):
		case <-ctx.Done():
			return fmt.Errorf("drain: %d partitions are still led here: %w", left, errors.Join(ctx.Err(), err))
		}
	}
}

// transferable returns the replicas that lead and can be relieved.
func (c *Controller) transferable() []*replica {
	return slices.DeleteFunc(c.running(), func(r *replica) bool {
		l := r.lead.Load()
		return l == nil || !l.Self || len(c.successors(r.spec.brokers(), r.spec.shard)) == 0
	})
}

// successors returns the living brokers that may take over, best first: the preferred leader, then the others, in
// turn so that the leaderships of this broker spread.
func (c *Controller) successors(brokers []protocol.BrokerID, shard uint64) []protocol.BrokerID {
	preferred := brokers[0]
	others := slices.DeleteFunc(slices.Clone(brokers), func(b protocol.BrokerID) bool {
		return b == c.cfg.Self || !c.cfg.Alive(b)
	})
	if len(others) > 1 {
		turn := int(shard % uint64(len(others)))
		others = append(others[turn:], others[:turn]...)
	}
	slices.SortStableFunc(others, func(a, b protocol.BrokerID) int {
		switch preferred {
		case a:
			return -1
		case b:
			return 1
		}
		return 0
	})
	return others
}

func (c *Controller) handOver(ctx context.Context, r *replica) (err error) {
	for _, to := range c.successors(r.spec.brokers(), r.spec.shard) {
		if err = r.transfer(ctx, to); err == nil || ctx.Err() != nil {
			return err
		}
		if l := r.lead.Load(); !l.Self {
			return nil // it went elsewhere
		}
		c.log.Warn("leadership was not handed over", "topic", r.spec.topic, "partition", r.spec.tp.Partition,
			"to", to, "err", err)
	}
	return err
}

func (c *Controller) leadsMeta() bool {
	if !c.hasMeta() || len(c.successors(c.cfg.MetaReplicas, raftnode.MetaShard)) == 0 {
		return false
	}
	l, _ := c.host.leader(raftnode.MetaShard)
	return l.Self
}

// handOverMeta asks for one transfer of the metadata shard and waits for its effect, at most transferWait.
func (c *Controller) handOverMeta(ctx context.Context) error {
	if !c.leadsMeta() {
		return nil
	}
	to := c.successors(c.cfg.MetaReplicas, raftnode.MetaShard)[0]
	if err := c.host.transfer(ctx, raftnode.MetaShard, to); err != nil {
		return fmt.Errorf("hand over the metadata shard: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, transferWait)
	defer cancel()
	tick := time.NewTicker(drainPause)
	defer tick.Stop()
	for c.leadsMeta() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("hand over the metadata shard to broker %d: %w", to, ctx.Err())
		}
	}
	return nil
}

// transferWait is a little more than an election timeout, after which Raft gives a transfer up.
const transferWait = 2500 * time.Millisecond
