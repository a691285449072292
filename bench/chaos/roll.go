package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/protocol"
)

// rolling restarts all brokers in order, one after the other, as an operator does it for an upgrade.
//
//	each: drained -> leads nothing -> SIGTERM -> ended -> start, ready -> caught up -> active
//
// Counts, each behind its name: restarts, drain_ms and exit_ms (the longest), and those of operation.
type rolling struct {
	operation
	begun []time.Time // each restart of the last roll
}

func newRolling(seed uint64) *rolling { return &rolling{operation: newOperation("roll", seed)} }

func (r *rolling) Inject(ctx context.Context, c *cluster.Cluster, _ []int) error {
	return r.begin(ctx, c, func(ctx context.Context) error {
		r.begun = nil
		for _, b := range c.Brokers() {
			if err := r.restart(ctx, b.ID); err != nil {
				return fmt.Errorf("restart of broker %d: %w", b.ID, err)
			}
		}
		return nil
	})
}

func (r *rolling) steps() []time.Time { return r.begun }

func (r *rolling) restart(ctx context.Context, id int) error {
	begun := time.Now()
	r.begun = append(r.begun, begun)
	if err := r.restate(ctx, id, protocol.BrokerDrained); err != nil {
		return err
	}
	err := r.within(ctx, drainLimit, func(ctx context.Context) error {
		b, err := r.status(ctx, id)
		switch {
		case err != nil:
			return err
		case b == nil || b.Err != nil:
			return fmt.Errorf("broker %d does not answer", id)
		case b.Leading > 0:
			return fmt.Errorf("broker %d is %s and leads %d partitions", id, b.State, b.Leading)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.most("drain_ms", time.Since(begun).Milliseconds())
	if err := r.stopInOrder(ctx, id); err != nil {
		return err
	}
	if err := r.cluster.Start(ctx, id); err != nil {
		return err
	}
	r.count("restarts", 1)
	if err := r.caughtUp(ctx); err != nil {
		return err
	}
	return r.restate(ctx, id, protocol.BrokerActive)
}

// stopInOrder asks a broker to end, and judges how.
func (r *rolling) stopInOrder(ctx context.Context, id int) error {
	b, err := r.cluster.Broker(id)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := r.cluster.Stop(ctx, id); err != nil {
		return err
	}
	took := time.Since(begun)
	r.most("exit_ms", took.Milliseconds())
	if took > exitLimit {
		r.violation("broker %d, which led nothing, took %v to end, at most %v are allowed", id, took, exitLimit)
	}
	return r.within(ctx, dieWithin, func(context.Context) error {
		state, err := r.cluster.Exit(id, b.PID)
		if err == nil && !state.Success() {
			err = fmt.Errorf("broker %d was asked to end and did so with %v", id, state)
		}
		return err
	})
}
