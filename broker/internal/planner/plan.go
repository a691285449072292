package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

// Kind is what an action asks for.
type Kind uint8

// The kinds of actions.
const (
	Begin  Kind = iota // a move of a replica
	Undo               // of a move
	Retire             // of a broker
	Prefer             // another leader
)

// Action is one thing to ask of the metadata, with the reason for people.
type Action struct {
	Kind        Kind
	Topic       string // name, empty for the metadata shard
	TP          protocol.TopicPartition
	Shard       uint64
	Move        uint64            // Undo
	Add, Remove protocol.BrokerID // Begin, and what an Undo takes back; 0: none
	Broker      protocol.BrokerID // Retire: who; Prefer: the new leader
	Reason      string
}

// Facts are what a plan needs to know beside the image.
type Facts struct {
	// DeadFor returns how long a broker has not been heard, 0 for one that is alive.
	DeadFor func(protocol.BrokerID) time.Duration
	// Calm is how long all brokers that were not given up have been alive; spread, balance and prefer wait for Limits.CalmAfter of it.
	Calm time.Duration
}

// Limits bound what is under way at one time.
type Limits struct {
	Concurrent  int           // moves of the whole cluster
	PerBroker   int           // moves into one broker, and out of one
	RepairAfter time.Duration // a broker dead for so long loses its replicas
	CalmAfter   time.Duration // all brokers have been alive for so long before anything is moved for balance
}

// Plan returns what to ask for now.
func Plan(im *meta.Image, f Facts, l Limits) []Action { return decide(im, f, l).actions }

func decide(im *meta.Image, f Facts, l Limits) *plan {
	p := newPlan(im, f, l)
	p.undo()
	p.repair()
	p.leave()
	p.resize()
	if f.Calm >= l.CalmAfter && len(p.actions) == 0 && !p.leaving {
		p.spread()
		p.balance()
	}
	if f.Calm >= l.CalmAfter && p.moves == 0 {
		p.prefer() // each move may change who leads
	}
	return p
}

// plan is one run of Plan.
type plan struct {
	im      *meta.Image
	facts   Facts
	limits  Limits
	actions []Action

	parts   []part          // the metadata shard first
	touched map[uint64]bool // shards with a move or an action
	fit     []meta.Broker   // active and alive: may get replicas
	loads   map[protocol.BrokerID]*load
	moves   int  // under way or asked for
	leaving bool // a broker that leaves has a replica that moves, or can move
}

// part is one partition, or the metadata shard, whose topic is nil.
type part struct {
	*meta.Partition
	topic  *meta.Topic
	number protocol.Partition
}

// load is what a broker will carry once everything under way has ended.
type load struct {
	replicas, leaders int
	into, out         int // moves under way
	topic             map[protocol.TopicID]int
}

func newPlan(im *meta.Image, f Facts, l Limits) *plan {
	p := &plan{im: im, facts: f, limits: l, touched: map[uint64]bool{}, loads: map[protocol.BrokerID]*load{}}
	for _, b := range im.Brokers() {
		p.loads[b.ID] = &load{topic: map[protocol.TopicID]int{}}
		if b.State == meta.Active && f.DeadFor(b.ID) == 0 {
			p.fit = append(p.fit, b)
		}
	}
	p.parts = append(p.parts, part{Partition: &im.Meta})
	for _, t := range im.Topics() {
		for i := range t.Partitions {
			p.parts = append(p.parts, part{Partition: &t.Partitions[i], topic: t, number: protocol.Partition(i)})
		}
	}
	for _, x := range p.parts {
		p.count(x)
	}
	return p
}

// count takes a partition into the loads, as it will be after its move.
func (p *plan) count(x part) {
	for i, r := range x.Replicas {
		p.carry(x, r.Broker, 1)
		if i == 0 && x.topic != nil {
			p.of(r.Broker).leaders++
		}
	}
	if x.Move == nil {
		return
	}
	p.moves++
	p.touched[x.Shard] = true
	p.shift(x, x.Move.Add.Broker, x.Move.Remove.Broker)
}

// shift counts a move of x. The metadata shard is everywhere and weighs nothing.
func (p *plan) shift(x part, add, remove protocol.BrokerID) {
	if add != 0 {
		p.carry(x, add, 1)
		p.of(add).into++
	}
	if remove != 0 {
		p.carry(x, remove, -1)
		p.of(remove).out++
	}
}

func (p *plan) carry(x part, b protocol.BrokerID, by int) {
	if x.topic != nil {
		l := p.of(b)
		l.replicas += by
		l.topic[x.topic.ID] += by
	}
}

// of returns the load of a broker, also of one that is not registered (a founder that was never there).
func (p *plan) of(b protocol.BrokerID) *load {
	l := p.loads[b]
	if l == nil {
		l = &load{topic: map[protocol.TopicID]int{}}
		p.loads[b] = l
	}
	return l
}

// begin asks for a move of x, if the bounds allow and it can be made; factor relaxes the bounds.
func (p *plan) begin(x part, add, remove protocol.BrokerID, factor int, reason string, args ...any) bool {
	switch {
	case p.touched[x.Shard] || !p.movable(x) || p.moves >= factor*p.limits.Concurrent:
		return false
	case add != 0 && p.of(add).into >= factor*p.limits.PerBroker:
		return false
	case remove != 0 && p.of(remove).out >= factor*p.limits.PerBroker:
		return false
	}
	p.moves++
	p.touched[x.Shard] = true
	p.shift(x, add, remove)
	p.act(x, Action{Kind: Begin, Add: add, Remove: remove, Reason: fmt.Sprintf(reason, args...)})
	return true
}

// act adds an action about x.
func (p *plan) act(x part, a Action) {
	a.Shard = x.Shard
	if x.topic != nil {
		a.Topic, a.TP = x.topic.Name, protocol.TopicPartition{Topic: x.topic.ID, Partition: x.number}
	}
	p.actions = append(p.actions, a)
}

// movable reports whether a majority of the voters is alive.
func (p *plan) movable(x part) bool {
	alive := 0
	for _, r := range x.Replicas {
		if p.alive(r.Broker) {
			alive++
		}
	}
	return alive > len(x.Replicas)/2
}

// awaited returns the first broker that balance waits for, 0 if there is none: one that is silent and not given up. A broker is given up that
// has been dead for RepairAfter and whose replicas of topics have all been made anew: nothing is known to depend on its return.
func awaited(im *meta.Image, f Facts, l Limits) protocol.BrokerID {
	for _, b := range im.Brokers() {
		if dead := f.DeadFor(b.ID); dead > 0 && (dead < l.RepairAfter || hasReplicas(im, b.ID)) {
			return b.ID
		}
	}
	return 0
}

// hasReplicas reports whether a broker has a replica of a topic, or gets one.
func hasReplicas(im *meta.Image, b protocol.BrokerID) bool {
	for _, t := range im.Topics() {
		for i := range t.Partitions {
			if _, _, there := t.Partitions[i].Placed(b); there {
				return true
			}
		}
	}
	return false
}

func (p *plan) alive(b protocol.BrokerID) bool { return p.facts.DeadFor(b) == 0 }

// target returns the best broker for a new replica of x that takes the place of the one on leaving (0: none): a zone that
// the others do not have, then the fewest replicas. ok is false if there is none with room for a move.
func (p *plan) target(x part, leaving protocol.BrokerID, factor int) (best protocol.BrokerID, ok bool) {
	candidates := slices.DeleteFunc(p.strangers(x), func(b meta.Broker) bool { return p.of(b.ID).into >= factor*p.limits.PerBroker })
	if len(candidates) == 0 {
		return 0, false
	}
	return slices.MinFunc(candidates, func(a, b meta.Broker) int {
		la, lb := p.of(a.ID), p.of(b.ID)
		return cmp.Or(cmp.Compare(p.sharers(x, a.Zone, leaving), p.sharers(x, b.Zone, leaving)),
			cmp.Compare(la.replicas, lb.replicas), cmp.Compare(la.into, lb.into), cmp.Compare(a.ID, b.ID))
	}).ID, true
}

// strangers returns the brokers that may get a replica of x: those without one.
func (p *plan) strangers(x part) []meta.Broker {
	return slices.DeleteFunc(slices.Clone(p.fit), func(b meta.Broker) bool {
		_, _, there := x.Placed(b.ID)
		return there
	})
}

// sharers counts the replicas of x in a zone, but for the one on leaving.
func (p *plan) sharers(x part, zone string, leaving protocol.BrokerID) int {
	n := 0
	for _, r := range x.Replicas {
		if b, _ := p.im.Broker(r.Broker); r.Broker != leaving && b.Zone == zone {
			n++
		}
	}
	return n
}
