package meta

import (
	"cmp"
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

// Load is what a broker carries before a placement.
type Load struct {
	Broker        protocol.BrokerID
	Zone          string // what fails together
	Replicas      int    // of all topics
	Leaders       int    // partitions of all topics it is the preferred leader of
	TopicReplicas int    // of the topic that gets partitions
	TopicLeaders  int
}

// Place chooses brokers for new partitions of one topic. It returns one list per partition, the preferred leader
// first. It is pure: the same input gives the same output on every broker.
//
// The replicas of a partition are spread over as many zones as there are before a zone is used twice, and then again: no
// zone gets two more than another that has a broker left. Within that, the counts of replicas of a topic placed on equal
// terms differ by at most one between the brokers of a zone; if all zones have as many brokers, also between all
// brokers, and then so do the counts of preferred leaders. (With zones of other sizes the brokers of a small zone
// carry more, and leaders are as even as the replicas allow.) Who carries the odd one is decided by the load of all
// topics, so many small topics spread too; a broker that joined later gets its share of each new topic, not all of it.
//
// It needs 1 <= replicas <= len(loads).
func Place(loads []Load, partitions, replicas int) [][]protocol.BrokerID {
	p := newPlacer(loads, partitions, replicas)
	p.quotas(partitions, replicas)
	p.groups(partitions, replicas)
	p.elect()
	p.balance()
	return p.lists()
}

type placer struct {
	loads []Load // by broker; counts grow as the placement is made
	zones *zones
	quota []int // quota[i]: replicas that broker i still gets
	sets  [][]int
	lead  []int // lead[k]: index of the preferred leader of partition k, an element of sets[k]
}

func newPlacer(loads []Load, partitions, replicas int) *placer {
	p := &placer{loads: slices.Clone(loads), quota: make([]int, len(loads))}
	slices.SortFunc(p.loads, func(a, b Load) int { return cmp.Compare(a.Broker, b.Broker) })
	p.zones = newZones(p.loads, partitions, replicas)
	return p
}

// quotas hands out replicas one by one to the broker with the fewest of the topic, then the fewest of all. No broker
// gets more than one replica per partition, and each zone gets what it has to. Among equals the first rounds prefer
// brokers that lead little and the others brokers that lead much, so that each partition can find a leader that has room.
func (p *placer) quotas(partitions, replicas int) {
	expect := p.expected()
	for k := range partitions * replicas {
		best := -1
		for i := range p.loads {
			if p.quota[i] == partitions || !p.zones.takes(i, partitions) {
				continue
			}
			if best < 0 || p.fewer(i, best, lead(expect, i, best, k < partitions)) {
				best = i
			}
		}
		p.zones.give(best)
		p.quota[best]++
		p.loads[best].TopicReplicas++
		p.loads[best].Replicas++
		if k < partitions {
			expect[best] += oneLeader
		}
	}
}

// expected returns a number per broker that orders them by the partitions of the topic they lead, then by those of all
// topics; one more partition adds oneLeader. It is the start of a guess at how many each will lead.
func (p *placer) expected() []int64 {
	expect := make([]int64, len(p.loads))
	for i, l := range p.loads {
		expect[i] = int64(l.TopicLeaders)<<32 + int64(l.Leaders)
	}
	return expect
}

const oneLeader = 1<<32 + 1

// lead orders i and j: who is expected to lead less comes first where a leader is sought, last otherwise.
func lead(expect []int64, i, j int, leader bool) int {
	if leader {
		return cmp.Compare(expect[i], expect[j])
	}
	return cmp.Compare(expect[j], expect[i])
}

func (p *placer) fewer(i, j, byLeaders int) bool {
	a, b := &p.loads[i], &p.loads[j]
	return cmp.Or(cmp.Compare(a.TopicReplicas, b.TopicReplicas), cmp.Compare(a.Replicas, b.Replicas), byLeaders) < 0
}

// groups makes the replica sets: each takes one replica from the brokers with the largest quotas of each zone, which
// always leaves quotas that the remaining partitions can use up (Havel and Hakimi). Among equals a set gets one broker that leads
// little and else those that lead much.
func (p *placer) groups(partitions, replicas int) {
	expect := p.expected()
	for range partitions {
		set, room := make([]int, 0, replicas), p.zones.room()
		for len(set) < replicas {
			best := -1
			for i := range p.loads {
				if room[p.zones.of[i]] == 0 || slices.Contains(set, i) {
					continue
				}
				if best < 0 || cmp.Or(cmp.Compare(p.quota[best], p.quota[i]), lead(expect, i, best, len(set) == 0)) < 0 {
					best = i
				}
			}
			set = append(set, best)
			room[p.zones.of[best]]--
		}
		expect[set[0]] += oneLeader
		for _, i := range set {
			p.quota[i]--
		}
		slices.Sort(set)
		p.sets = append(p.sets, set)
	}
}

// elect gives each partition the leader that leads least so far.
func (p *placer) elect() {
	p.lead = make([]int, len(p.sets))
	for k, set := range p.sets {
		best := set[0]
		for _, i := range set[1:] {
			a, b := &p.loads[i], &p.loads[best]
			if cmp.Or(cmp.Compare(a.TopicLeaders, b.TopicLeaders), cmp.Compare(a.Leaders, b.Leaders)) < 0 {
				best = i
			}
		}
		p.lead[k] = best
		p.loads[best].TopicLeaders++
		p.loads[best].Leaders++
	}
}

// balance moves leaderships along chains of partitions (broker a gives one to b, b gives one to c, ...) while that
// makes the ends more equal. Such chains exist until the counts are as equal as any choice can make them; every step
// lowers the sum of squares of the topic's counts, or keeps it and lowers that of all counts, so it ends.
func (p *placer) balance() {
	for {
		moved := false
		for from := range p.loads {
			for p.shift(from) {
				moved = true
			}
		}
		if !moved {
			return
		}
	}
}

// shift looks breadth first for a chain that begins at from and improves the balance, and moves along it.
func (p *placer) shift(from int) bool {
	led := make([][]int, len(p.loads)) // led[i]: partitions led by i
	for k, i := range p.lead {
		led[i] = append(led[i], k)
	}
	via := make([]int, len(p.loads)) // via[i]: the partition that would move to i, -1 unseen
	for i := range via {
		via[i] = -1
	}
	queue := []int{from}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		if i != from && p.improves(from, i) {
			p.move(from, i, via)
			return true
		}
		for _, k := range led[i] {
			for _, j := range p.sets[k] {
				if j != from && via[j] < 0 {
					via[j] = k
					queue = append(queue, j)
				}
			}
		}
	}
	return false
}

// improves reports whether one leadership less on a and one more on b is better.
func (p *placer) improves(a, b int) bool {
	x, y := &p.loads[a], &p.loads[b]
	return cmp.Or(cmp.Compare(x.TopicLeaders-1, y.TopicLeaders), cmp.Compare(x.Leaders-1, y.Leaders)) > 0
}

func (p *placer) move(from, to int, via []int) {
	p.loads[from].TopicLeaders--
	p.loads[from].Leaders--
	p.loads[to].TopicLeaders++
	p.loads[to].Leaders++
	for to != from {
		k := via[to]
		to, p.lead[k] = p.lead[k], to
	}
}

// lists puts the leader first and turns the followers from one partition of a leader to its next, so that the
// partitions of a broker that fails do not all go to the same one.
func (p *placer) lists() [][]protocol.BrokerID {
	turn := make([]int, len(p.loads))
	out := make([][]protocol.BrokerID, len(p.sets))
	for k, set := range p.sets {
		leader := p.lead[k]
		followers := make([]protocol.BrokerID, 0, len(set)-1)
		for _, i := range set {
			if i != leader {
				followers = append(followers, p.loads[i].Broker)
			}
		}
		list := append(make([]protocol.BrokerID, 0, len(set)), p.loads[leader].Broker)
		for n := range followers {
			list = append(list, followers[(n+turn[leader])%len(followers)])
		}
		turn[leader]++
		out[k] = list
	}
	return out
}
