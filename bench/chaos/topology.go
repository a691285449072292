package chaos

import (
	"slices"

	"github.com/trunkline/trunkline/bench/netlab"
)

// topology says on which ways packets are lost, for brokers 1 to n.
type topology func(victims []int, n int) []netlab.Way

// others returns the brokers of 1 to n that are not victims.
func others(victims []int, n int) []int {
	return slices.DeleteFunc(everyone(n), func(id int) bool { return slices.Contains(victims, id) })
}

// partition keeps the victims and the rest from hearing each other. Clients reach both sides, so that a leader in the minority is
// offered publishes that it must not acknowledge.
func partition(victims []int, n int) []netlab.Way { return netlab.Both(victims, others(victims, n)) }

// deaf lets the victims send to the rest and hear nothing of it.
func deaf(victims []int, n int) []netlab.Way {
	return []netlab.Way{{From: others(victims, n), To: victims}}
}

// mute lets the victims hear the rest and be heard by none of it.
func mute(victims []int, n int) []netlab.Way {
	return []netlab.Way{{From: victims, To: others(victims, n)}}
}

// halfDeaf lets the first victim not hear one other broker, its successor, which a majority goes on to hear.
func halfDeaf(victims []int, n int) []netlab.Way {
	v := victims[0]
	return []netlab.Way{{From: []int{v%n + 1}, To: []int{v}}}
}

// bridge divides the others into two halves that do not hear each other; the first victim hears all, and all hear it. With 5
// brokers each of the others hears a majority, not the same one.
func bridge(victims []int, n int) []netlab.Way {
	rest := others(victims[:1], n)
	return netlab.Both(rest[:len(rest)/2], rest[len(rest)/2:])
}

// ring lets each broker hear its two neighbours only. With 5 brokers each hears a majority, no two the same one.
func ring(_ []int, n int) []netlab.Way {
	var ways []netlab.Way
	for id := 1; id <= n; id++ {
		var far []int
		for other := id + 2; other <= n; other++ {
			if other-id != n-1 {
				far = append(far, other)
			}
		}
		if len(far) > 0 {
			ways = append(ways, netlab.Both([]int{id}, far)...)
		}
	}
	return ways
}

// clientsCut loses everything between clients and victims, each way.
func clientsCut(victims []int, _ int) []netlab.Way {
	ways := netlab.Both([]int{netlab.Hub}, victims)
	for i := range ways {
		ways[i].Proto, ways[i].Percent = clientLink, 100
	}
	return ways
}
