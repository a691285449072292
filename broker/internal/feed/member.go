package feed

import (
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// join takes c into the group. A consumer of the same name that is there already is an older stream of the
// same client: it is ended and what it had active is given up at once. False means that the group has ended.
func (g *group) join(c *Consumer, now time.Time) (ok bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended || isClosed(g.lost) {
		return false, nil
	}
	old := g.members[c.name]
	if old == nil && len(g.members) >= g.m.cfg.MaxConsumers {
		return true, protocol.Errorf(protocol.CodeLimitExceeded, "subscription %q has %d consumers on partition %s already",
			g.key.subscription, len(g.members), g.key.tp)
	}
	if old != nil {
		old.End(protocol.Errorf(protocol.CodeStaleActivation, "a newer stream of consumer %q took over", c.name))
		g.gone = g.gone || g.active == old
	}
	g.members[c.name] = c
	g.changed = true
	if g.activation == 0 {
		g.settle = sooner(g.settleBy, now.Add(g.m.cfg.Settle))
	}
	g.signal()
	return true, nil
}

// leave takes c out of the group.
func (g *group) leave(c *Consumer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.members[c.name] == c {
		delete(g.members, c.name)
		g.changed = true
		g.signal()
	}
	if g.active != c {
		c.leave()
		return
	}
	c.pause()
	g.gone = true
	g.signal()
}

// release ends c's activation on its own word. An older activation is over anyway.
func (g *group) release(c *Consumer, a protocol.Activation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active != c || g.activation != a {
		return
	}
	c.pause()
	g.released = true
	if g.revokeBy.IsZero() {
		delete(g.members, c.name)
		g.changed = true
	}
	g.signal()
}

// ack notes an acknowledgement of c.
func (g *group) ack(c *Consumer, a wire.Ack) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active != c || g.activation != a.Activation || g.released {
		g.m.metrics.stale.Inc()
		return protocol.Errorf(protocol.CodeStaleActivation, "activation %d of subscription %q on partition %s is over",
			a.Activation, g.key.subscription, g.key.tp)
	}
	if most := c.delivered(); a.Offset > most {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"acknowledged up to offset %d, but only %d was delivered", a.Offset, most)
	}
	if a.Offset <= g.acked.wanted && (!a.Commit || a.Offset <= g.acked.hurried) {
		return nil
	}
	g.acked.wanted = max(g.acked.wanted, a.Offset)
	if a.Commit {
		g.acked.hurried = a.Offset
	}
	g.signal()
	return nil
}

// reassign has the owner decided again.
func (g *group) reassign() {
	g.mu.Lock()
	g.changed = true
	g.mu.Unlock()
	g.signal()
}

// view returns who is active and all members.
func (g *group) view() (active string, consumers []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.active != nil {
		active = g.active.name
	}
	return active, g.candidates()
}
