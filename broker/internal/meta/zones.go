package meta

import "slices"

// zones spreads the replicas of each partition: every zone gets level of them, or one on each of its brokers if it has
// fewer, and extra zones of those that have more brokers get one more. The zone that a partition uses most is thus at
// most one ahead of every zone that has a broker left.
type zones struct {
	of    []int // of[i]: zone of broker i
	size  []int // size[z]: brokers of zone z
	level int
	extra int

	spare int   // replicas of all partitions that are left to hand out as one more
	least []int // least[z]: replicas of all partitions that zone z still needs at least
	above []int // above[z]: replicas that zone z gets beyond, at most one for each partition
}

func newZones(loads []Load, partitions, replicas int) *zones {
	z := &zones{of: make([]int, len(loads))}
	var names []string
	for i, l := range loads {
		n := slices.Index(names, l.Zone)
		if n < 0 {
			n = len(names)
			names = append(names, l.Zone)
			z.size = append(z.size, 0)
		}
		z.of[i] = n
		z.size[n]++
	}
	for z.level < replicas && z.total(z.level+1) <= replicas {
		z.level++
	}
	z.extra = replicas - z.total(z.level)
	z.spare = partitions * z.extra
	z.least, z.above = make([]int, len(z.size)), make([]int, len(z.size))
	for n, size := range z.size {
		z.least[n] = partitions * min(size, z.level)
	}
	return z
}

// total returns the replicas of a partition that gets n in each zone, as far as the zones have brokers.
func (z *zones) total(n int) int {
	sum := 0
	for _, size := range z.size {
		sum += min(size, n)
	}
	return sum
}

// takes reports whether broker i may be given one more replica, of partitions in all.
func (z *zones) takes(i, partitions int) bool {
	n := z.of[i]
	return z.least[n] > 0 || z.spare > 0 && z.size[n] > z.level && z.above[n] < partitions
}

// give counts one more replica on broker i.
func (z *zones) give(i int) {
	n := z.of[i]
	if z.least[n] > 0 {
		z.least[n]--
		return
	}
	z.spare--
	z.above[n]++
}

// room returns how many replicas of the next partition go to each zone. One more goes to the zones that have most of them
// left, which always leaves what the remaining partitions can use up (Havel and Hakimi).
func (z *zones) room() []int {
	room := make([]int, len(z.size))
	for n, size := range z.size {
		room[n] = min(size, z.level)
	}
	for range z.extra {
		best := -1
		for n, size := range z.size {
			if size > z.level && room[n] == z.level && (best < 0 || z.above[n] > z.above[best]) {
				best = n
			}
		}
		room[best]++
		z.above[best]--
	}
	return room
}
