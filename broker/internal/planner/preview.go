package planner

import (
	"fmt"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// previewLimit bounds the actions that a preview lists.
const previewLimit = 300

// Preview is what a planner is going to ask for if nothing else happens: for people, not for execution.
type Preview struct {
	Actions []Action // in order, at most 300, as if there were no bounds on moves at one time
	LeftOut int      // so many more at least
	Notes   []string // sentences: what waits or cannot be done, and why
}

// Preview returns what would be asked for next, here and now. Only the leader of the metadata shard knows for how long all brokers have
// been alive; the others tell of what is done for comfort that it waits. It may be called from any goroutine and takes as long as a plan.
func (p *Planner) Preview() Preview {
	f := Facts{DeadFor: p.cfg.DeadFor}
	if since := p.calm.Load(); since != nil {
		f.Calm = time.Since(*since)
	}
	return foresee(p.cfg.Meta.Image(), f, p.cfg.Limits)
}

// foresee makes a preview. It is pure.
func foresee(im *meta.Image, f Facts, l Limits) Preview {
	wide := l
	wide.Concurrent, wide.PerBroker = len(im.Moves())+2*previewLimit, meta.MaxMoves
	now := decide(im, f, wide)
	v := Preview{Actions: now.actions}
	if dead := awaited(im, f, l); dead != 0 {
		v.note("Nothing is moved for balance while broker %d is silent.", dead)
	} else if f.Calm < l.CalmAfter {
		f.Calm = l.CalmAfter
		if v.Actions = decide(im, f, wide).actions; len(v.Actions) > len(now.actions) {
			v.note("What is for balance waits until all brokers have been alive for %v.", l.CalmAfter)
		}
	}
	for _, b := range im.Brokers() {
		v.explain(now, b)
	}
	v.resizes(now)
	v.LeftOut = max(0, len(v.Actions)-previewLimit)
	v.Actions = v.Actions[:len(v.Actions)-v.LeftOut]
	return v
}

// explain says of a silent or leaving broker what waits.
func (v *Preview) explain(p *plan, b meta.Broker) {
	held, stuck := p.held(b.ID)
	dead := p.facts.DeadFor(b.ID)
	switch {
	case held == 0:
	case b.State == meta.Leaving && stuck > 0:
		v.note("Broker %d leaves, but %d of its %d replicas cannot be moved: no other active broker that answers is without one, or fewer than "+
			"a majority of their voters answer. Add a broker, or bring back those that are silent.", b.ID, stuck, held)
	case b.State == meta.Leaving || dead == 0:
	case dead < p.limits.RepairAfter:
		v.note("Broker %d has been silent for %v. Unless it comes back, its %d replicas are made anew on others in %v.",
			b.ID, dead.Round(time.Second), held, (p.limits.RepairAfter - dead).Round(time.Second))
	case stuck > 0:
		v.note("Broker %d is taken for dead, but %d of its %d replicas cannot be made anew: no other active broker that answers is without one, "+
			"or fewer than a majority of their voters answer. Bring it back, or add a broker.", b.ID, stuck, held)
	}
}

// held counts the replicas of a broker, and those of them that do not move and cannot.
func (p *plan) held(b protocol.BrokerID) (held, stuck int) {
	for _, x := range p.parts {
		if _, on := x.On(b); !on || x.topic == nil && p.facts.DeadFor(b) > 0 {
			continue
		}
		held++
		if !p.touched[x.Shard] && (!p.movable(x) || len(p.strangers(x)) == 0) {
			stuck++
		}
	}
	return held, stuck
}

// resizes says which topics cannot get the replicas that they want.
func (v *Preview) resizes(p *plan) {
	short := map[*meta.Topic]int{}
	for _, x := range p.parts {
		if x.topic != nil && len(x.Replicas) < x.topic.Replicas && !p.touched[x.Shard] {
			short[x.topic]++
		}
	}
	for _, t := range p.im.Topics() {
		if n := short[t]; n > 0 {
			v.note("Topic %s wants %d replicas, which %d of its partitions cannot get: too few active brokers answer.", t.Name, t.Replicas, n)
		}
	}
}

func (v *Preview) note(format string, args ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
}
