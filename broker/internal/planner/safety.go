package planner

import (
	"fmt"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// urgent relaxes the bounds for what restores safety (Inv1), patient does not.
const (
	patient = 1
	urgent  = 2
)

// MaxConcurrent bounds Limits.Concurrent: what is urgent must fit into the metadata too.
const MaxConcurrent = meta.MaxMoves / urgent

// undo asks for the end of moves to brokers that should not have them, and of those that would wait for a lost broker for ever.
func (p *plan) undo() {
	for _, x := range p.parts {
		if x.Move == nil || x.Move.Undo {
			continue
		}
		reason := p.misplaces(x)
		if x.Move.Add.Broker == 0 {
			reason = p.waitsForLost(x)
		}
		if reason != "" {
			p.act(x, Action{Kind: Undo, Move: x.Move.ID, Add: x.Move.Add.Broker, Remove: x.Move.Remove.Broker, Reason: reason})
		}
	}
}

// misplaces says why the broker to which a replica of x moves should not have it, "" if it may.
func (p *plan) misplaces(x part) string {
	to := x.Move.Add.Broker
	b, known := p.im.Broker(to)
	switch {
	case !known || b.State != meta.Active:
		return "its broker is not active any more"
	case p.facts.DeadFor(to) >= p.limits.RepairAfter:
		return "its broker is dead"
	}
	return ""
}

// waitsForLost says why a move that only removes a replica of x does not get on, "" if it may: package mover takes a voter out only if a
// majority of the others is alive, and one of them is lost. Repair makes that one anew, or resize removes it instead, which leaves a
// majority wherever there is one now.
func (p *plan) waitsForLost(x part) string {
	stay, alive, lost := 0, 0, protocol.BrokerID(0)
	for _, r := range x.Replicas {
		if r == x.Move.Remove {
			continue
		}
		stay++
		if dead := p.facts.DeadFor(r.Broker); dead == 0 {
			alive++
		} else if dead >= p.limits.RepairAfter {
			lost = r.Broker
		}
	}
	if lost == 0 || alive > stay/2 {
		return ""
	}
	return fmt.Sprintf("broker %d is dead, and without the replica on broker %d no majority would be alive", lost, x.Move.Remove.Broker)
}

// repair replaces the replicas of brokers that have been dead for too long, but for those of the metadata shard: a broker that lost its
// replica there could not come back, so that waits until it is decommissioned.
func (p *plan) repair() {
	for _, x := range p.parts {
		if x.topic == nil {
			continue
		}
		for _, r := range x.Replicas {
			if dead := p.facts.DeadFor(r.Broker); dead >= p.limits.RepairAfter {
				p.replace(x, r.Broker, urgent, "broker %d is dead", r.Broker)
			}
		}
	}
}

// replace moves a replica from a broker to the best other one.
func (p *plan) replace(x part, from protocol.BrokerID, factor int, reason string, args ...any) {
	if to, ok := p.target(x, from, factor); ok {
		p.begin(x, to, from, factor, reason, args...)
	}
}

// leave empties brokers that leave, and retires those that are empty. Nothing is in danger meanwhile, so it is as patient as balance, unless
// the broker is silent: somebody replaces a lost one. The replica of the metadata goes last: without it a broker learns of no move any more,
// and could not give away what it leads.
func (p *plan) leave() {
	for _, b := range p.im.Brokers() {
		if b.State != meta.Leaving {
			continue
		}
		empty, factor := true, patient
		if !p.alive(b.ID) {
			factor = urgent
		}
		for _, x := range p.parts {
			if _, _, there := x.Placed(b.ID); !there || x.topic == nil {
				continue
			}
			empty = false
			p.leaving = p.leaving || x.Move != nil || len(p.strangers(x)) > 0
			if _, voter := x.On(b.ID); voter {
				p.replace(x, b.ID, factor, "broker %d leaves", b.ID)
			}
		}
		_, _, there := p.im.Meta.Placed(b.ID)
		switch {
		case !empty:
		case there:
			p.replace(p.parts[0], b.ID, factor, "broker %d leaves", b.ID)
		default:
			p.actions = append(p.actions, Action{Kind: Retire, Broker: b.ID, Reason: "it has left"})
		}
	}
}

// resize gives partitions the number of replicas that their topics want.
func (p *plan) resize() {
	for _, x := range p.parts {
		if x.topic == nil {
			continue
		}
		have, want := len(x.Replicas), x.topic.Replicas
		if have < want {
			if to, ok := p.target(x, 0, patient); ok {
				p.begin(x, to, 0, patient, "the topic wants %d replicas, the partition has %d", want, have)
			}
		}
		if have > want {
			p.begin(x, 0, p.spare(x), patient, "the topic wants %d replicas, the partition has %d", want, have)
		}
	}
}

// spare returns the replica of x that is missed least: of a dead broker, of a zone that others of x share, of a broker with much.
// The preferred leader stays if another can go.
func (p *plan) spare(x part) protocol.BrokerID {
	worst, score := x.Replicas[0].Broker, -1
	for i, r := range x.Replicas {
		b, _ := p.im.Broker(r.Broker)
		s := p.of(r.Broker).replicas
		if i > 0 {
			s += 1 << 40
		}
		if p.sharers(x, b.Zone, r.Broker) > 0 {
			s += 1 << 41
		}
		if !p.alive(r.Broker) {
			s += 1 << 42
		}
		if s > score {
			worst, score = r.Broker, s
		}
	}
	return worst
}
