package client

import (
	"context"
	"fmt"
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

// commit is what one call of Commit waits for.
type commit struct {
	s       *consumer
	targets []target // not decided yet
	lost    bool     // something was acknowledged and will not be committed
}

// target is how far a turn is to be committed.
type target struct {
	t  *turn
	to protocol.Offset
}

// Commit waits until everything acknowledged before the call, and contiguous, is committed on a majority.
// It returns ErrPartitionLost if some of it can not be any more, because the partition went to another
// consumer first. It does so when the rest is committed, and tells each loss once, also one from before the
// call.
func (s *Subscription) Commit(ctx context.Context) error {
	c := s.s.hurry()
	for {
		changed := c.look()
		switch {
		case len(c.targets) > 0:
		case c.lost:
			return ErrPartitionLost
		default:
			return nil
		}
		select {
		case <-changed:
		case <-s.s.ctx.Done():
			return c.cut(context.Cause(s.s.ctx))
		case <-ctx.Done():
			return c.cut(context.Cause(ctx))
		}
	}
}

// hurry has everything committed that is acknowledged, and returns what that is.
func (s *consumer) hurry() *commit {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &commit{s: s}
	for _, f := range s.feeds {
		c.lost = c.lost || f.lost != 0
		f.lost = 0
		for _, t := range []*turn{f.turn, f.last} {
			if t != nil && t.win.Prefix() > t.committed {
				c.targets = append(c.targets, target{t, t.win.Prefix()})
				f.ackNow = true
				f.poke()
			}
		}
	}
	return c
}

// look takes out the targets that are decided and returns what is closed when there is news of the others.
func (c *commit) look() <-chan struct{} {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.targets = slices.DeleteFunc(c.targets, func(x target) bool {
		committed := x.t.committed >= x.to
		if !committed && x.t.over {
			c.lost = true
			if f := x.t.f; f.lost == x.t.activation {
				f.lost = 0
			}
		}
		return committed || x.t.over
	})
	return c.s.changed
}

// cut is the error of a commit that ends before everything is decided.
func (c *commit) cut(cause error) error {
	if c.lost {
		return fmt.Errorf("trunkline: commit: %w (%w)", cause, ErrPartitionLost)
	}
	return fmt.Errorf("trunkline: commit: %w", cause)
}
