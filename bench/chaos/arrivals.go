package chaos

import (
	"fmt"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// arrivalLag is how far behind a replica may be when it begins to count: what its partition held so long before must be on it.
const arrivalLag = 5 * time.Second

// arrivals judge that a replica counts only when it has caught up. It is told of a partition's replicas again and again; one that is
// listed for the first time must hold what its partition held arrivalLag before. Memory: the ends of the partitions, one for each look within arrivalLag.
type arrivals struct {
	listed map[place]bool // and has answered
	ends   []endsAt       // oldest first; the first is at least arrivalLag old, if there is such a one
	judged int64
}

// endsAt is where partitions ended at a time.
type endsAt struct {
	at   time.Time
	next []protocol.Offset
}

func newArrivals() *arrivals { return &arrivals{listed: map[place]bool{}} }

// look takes one description and returns what is wrong with replicas that are new in it.
func (a *arrivals) look(d *client.TopicDescription, now time.Time) (late []string) {
	for len(a.ends) > 1 && now.Sub(a.ends[1].at) >= arrivalLag {
		a.ends = a.ends[1:]
	}
	first := len(a.ends) == 0
	next := make([]protocol.Offset, len(d.Partitions))
	listed := map[place]bool{}
	for i, p := range d.Partitions {
		next[i] = p.Next
		for _, s := range p.States {
			at := place{s.Broker, p.Partition}
			listed[at] = a.listed[at] || s.Err == nil
			if first || a.listed[at] || s.Err != nil {
				continue
			}
			a.judged++
			if then := a.ends[0]; now.Sub(then.at) >= arrivalLag && s.Next < then.next[i] {
				late = append(late, fmt.Sprintf("partition %d: broker %d counts as a replica with %d messages, %v before there were %d", p.Partition,
					s.Broker, s.Next, now.Sub(then.at).Round(time.Millisecond), then.next[i]))
			}
		}
	}
	a.listed, a.ends = listed, append(a.ends, endsAt{now, next})
	return late
}
