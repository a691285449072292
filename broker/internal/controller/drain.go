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
		for _, r := range c.transferable(c.cfg.Alive) {
			g.Go(func() error { return c.handOver(ctx, r, c.heirs(r, c.cfg.Alive)) })
		}
		g.Go(func() error { return c.handOverMeta(ctx, c.metaHeirs()) })
		err := g.Wait()
		left := len(c.transferable(c.cfg.Alive))
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

// Relieve hands leaderships over to brokers that would take publishes, one round of transfers, transferParallel at a time. A
// broker whose disk is nearly full refuses publishes, so it calls this for as long as that lasts: an election may make it a
// leader again. What nobody else can lead stays here, and so does the metadata shard, which a reserve is kept for.
func (c *Controller) Relieve(ctx context.Context) error {
	g := errgroup.Group{}
	g.SetLimit(transferParallel)
	for _, r := range c.transferable(c.cfg.Roomy) {
		g.Go(func() error { return c.handOver(ctx, r, c.heirs(r, c.cfg.Roomy)) })
	}
	return g.Wait()
}

// transferable returns the replicas that lead and that a broker which is fit can relieve.
func (c *Controller) transferable(fit func(protocol.BrokerID) bool) []*replica {
	return slices.DeleteFunc(c.running(), func(r *replica) bool {
		l := r.lead.Load()
		return l == nil || !l.Self || len(c.heirs(r, fit)) == 0
	})
}

// heirs returns the other brokers that are fit to lead in the place of r, best first.
func (c *Controller) heirs(r *replica, fit func(protocol.BrokerID) bool) []protocol.BrokerID {
	return c.successors(r.spec().brokers(), r.spec().shard, fit)
}

// metaHeirs returns the other brokers that are fit to lead the metadata shard, best first.
func (c *Controller) metaHeirs() []protocol.BrokerID {
	return c.successors(c.metaVoters(), raftnode.MetaShard, c.cfg.Alive)
}

// successors returns the other brokers that are fit to take over, best first: those with room on their disks before those
// without, and among them the preferred leader, then the others, in turn so that the leaderships of this broker spread.
func (c *Controller) successors(brokers []protocol.BrokerID, shard uint64, fit func(protocol.BrokerID) bool) []protocol.BrokerID {
	others := slices.DeleteFunc(slices.Clone(brokers), func(b protocol.BrokerID) bool {
		return b == c.cfg.Self || !fit(b)
	})
	if len(others) > 1 {
		turn := int(shard % uint64(len(others)))
		others = append(others[turn:], others[:turn]...)
	}
	worth := make(map[protocol.BrokerID]int, len(others))
	for _, b := range others {
		if c.cfg.Roomy(b) {
			worth[b] += 2
		}
		if b == brokers[0] { // the preferred leader
			worth[b]++
		}
	}
	slices.SortStableFunc(others, func(a, b protocol.BrokerID) int { return worth[b] - worth[a] })
	return others
}

// handOver hands a leadership to one of the brokers, the first that takes it.
func (c *Controller) handOver(ctx context.Context, r *replica, heirs []protocol.BrokerID) (err error) {
	for _, to := range heirs {
		if err = r.transfer(ctx, to, 0); err == nil || ctx.Err() != nil {
			return err
		}
		if l := r.lead.Load(); !l.Self {
			return nil // it went elsewhere
		}
		c.log.Warn("leadership was not handed over", "topic", r.spec().topic, "partition", r.spec().tp.Partition,
			"to", to, "err", err)
	}
	return err
}

func (c *Controller) leadsMeta() bool {
	if !c.hasMeta() || len(c.metaHeirs()) == 0 {
		return false
	}
	l, _ := c.host.leader(raftnode.MetaShard)
	return l.Self
}

// handOverMeta asks for one transfer of the metadata shard to the first heir and waits for its effect, at most transferWait.
func (c *Controller) handOverMeta(ctx context.Context, heirs []protocol.BrokerID) error {
	if !c.leadsMeta() || len(heirs) == 0 {
		return nil
	}
	to := heirs[0]
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
