package proxy

import "sync/atomic"

// Direction is one of the two ways through a proxy.
type Direction int

// The directions.
const (
	ToTarget Direction = iota // from those who dialled the front
	ToClient
)

// String returns the direction as it stands in names of counters.
func (d Direction) String() string {
	if d == ToTarget {
		return "to_target"
	}
	return "to_client"
}

func (d Direction) reverse() Direction { return 1 - d }

// counts are counters by name; the names are fixed when it is made.
type counts map[string]*atomic.Int64

func newCounts(names ...string) counts {
	c := counts{}
	for _, n := range names {
		c[n] = new(atomic.Int64)
	}
	return c
}

func (c counts) add(name string, n int) { c[name].Add(int64(n)) }

// into copies the counters, with a prefix before their names.
func (c counts) into(all map[string]int64, prefix string) {
	for name, n := range c {
		all[prefix+name] = n.Load()
	}
}

// snapshot returns the counters of a proxy: its own, and those of each direction with the direction before the name.
func snapshot(own counts, ways [2]counts) map[string]int64 {
	all := map[string]int64{}
	own.into(all, "")
	for d, c := range ways {
		c.into(all, Direction(d).String()+"_")
	}
	return all
}
