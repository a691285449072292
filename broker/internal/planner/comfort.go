package planner

import (
	"cmp"
	"slices"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// spread moves replicas out of zones that their partitions have twice into zones that they do not have.
func (p *plan) spread() {
	for _, x := range p.parts {
		if x.topic == nil {
			continue
		}
		for _, r := range slices.Backward(x.Replicas) {
			b, _ := p.im.Broker(r.Broker)
			if p.sharers(x, b.Zone, r.Broker) == 0 {
				continue
			}
			to, ok := p.target(x, r.Broker, patient)
			if t, _ := p.im.Broker(to); ok && p.sharers(x, t.Zone, r.Broker) == 0 {
				p.begin(x, to, r.Broker, patient, "two of its replicas are in zone %q", b.Zone)
				break
			}
		}
	}
}

// balance moves replicas from the brokers with the most to those with the fewest.
func (p *plan) balance() {
	for p.balanceOnce() {
	}
}

func (p *plan) balanceOnce() bool {
	if p.moves >= p.limits.Concurrent {
		return false
	}
	order := slices.Clone(p.fit)
	slices.SortFunc(order, func(a, b meta.Broker) int {
		return cmp.Or(cmp.Compare(p.of(a.ID).replicas, p.of(b.ID).replicas), cmp.Compare(a.ID, b.ID))
	})
	for _, to := range order {
		for _, from := range slices.Backward(order) {
			if p.of(from.ID).replicas-p.of(to.ID).replicas < 2 {
				break
			}
			if p.moveOne(from, to) {
				return true
			}
		}
	}
	return false
}

// moveOne moves the replica from one broker to another that makes the topics most equal and takes no zone away.
func (p *plan) moveOne(from, to meta.Broker) bool {
	best, gain := -1, 0
	for i, x := range p.parts {
		if x.topic == nil || p.touched[x.Shard] || !p.fits(x, from, to) {
			continue
		}
		g := 2*(p.of(from.ID).topic[x.topic.ID]-p.of(to.ID).topic[x.topic.ID]) + 1
		if x.Replicas[0].Broker == from.ID {
			g-- // leaders last: they have to hand over
		}
		if best < 0 || g > gain {
			best, gain = i, g
		}
	}
	return best >= 0 && p.begin(p.parts[best], to.ID, from.ID, patient, "broker %d has %d replicas, broker %d has %d",
		from.ID, p.of(from.ID).replicas, to.ID, p.of(to.ID).replicas)
}

// fits reports whether x has a replica on from and may have it on to instead.
func (p *plan) fits(x part, from, to meta.Broker) bool {
	_, has := x.On(from.ID)
	_, _, there := x.Placed(to.ID)
	return has && !there && p.sharers(x, to.Zone, from.ID) <= p.sharers(x, from.Zone, from.ID)
}

// prefer makes other replicas the preferred leaders of some partitions, along a chain of partitions from the broker that leads most to one
// that leads least (broker a gives one to b, b gives one to c): one leadership less for the first, one more for the last.
func (p *plan) prefer() {
	for p.preferOnce() {
	}
}

func (p *plan) preferOnce() bool {
	for _, from := range slices.SortedFunc(slices.Values(p.fit), func(a, b meta.Broker) int {
		return cmp.Or(cmp.Compare(p.of(b.ID).leaders, p.of(a.ID).leaders), cmp.Compare(a.ID, b.ID))
	}) {
		if chain := p.chain(from.ID); len(chain) > 0 {
			for _, s := range chain {
				p.touched[s.part.Shard] = true
				p.of(s.part.Replicas[0].Broker).leaders--
				p.of(s.to).leaders++
				p.act(s.part, Action{Kind: Prefer, Broker: s.to, Reason: "to balance the leaders"})
			}
			return true
		}
	}
	return false
}

// handover is one link of a chain: the partition gets the preferred leader to.
type handover struct {
	part part
	to   protocol.BrokerID
	prev protocol.BrokerID // who gives it
}

// chain looks breadth first for the shortest chain from a broker to one that leads at least two fewer.
func (p *plan) chain(from protocol.BrokerID) []handover {
	via := map[protocol.BrokerID]handover{from: {}}
	queue := []protocol.BrokerID{from}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if p.of(from).leaders-p.of(at).leaders >= 2 {
			var chain []handover
			for b := at; b != from; b = via[b].prev {
				chain = append(chain, via[b])
			}
			return chain
		}
		for _, x := range p.parts {
			if x.topic == nil || p.touched[x.Shard] || x.Replicas[0].Broker != at {
				continue
			}
			for _, r := range x.Replicas[1:] {
				if _, seen := via[r.Broker]; !seen && p.isFit(r.Broker) {
					via[r.Broker] = handover{part: x, to: r.Broker, prev: at}
					queue = append(queue, r.Broker)
				}
			}
		}
	}
	return nil
}

func (p *plan) isFit(b protocol.BrokerID) bool {
	return slices.ContainsFunc(p.fit, func(f meta.Broker) bool { return f.ID == b })
}
