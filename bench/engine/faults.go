package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/workload"
)

// Bounds of faults.
const (
	leadersMax = 10 * time.Second // for asking who leads
	hitMax     = 30 * time.Second // until a node is gone
	returnMax  = 60 * time.Second // until it is healthy again
	returnSeen = time.Second      // at least, between the last return and the end of the measured part
)

// strike is one fault that was made.
type strike struct {
	kind     workload.FaultKind
	node     int
	led      []int // partitions of all topics
	at, back time.Duration
}

// makeFaults follows the schedule. A node that does not come back ends it, and the run has failed.
func (r *run) makeFaults(ctx context.Context, from time.Duration) error {
	for _, f := range r.w.Faults {
		at := from + f.At
		for range max(f.Repeat, 1) {
			r.sleepUntil(ctx, at)
			if ctx.Err() != nil {
				return nil
			}
			s, returned, err := r.strike(ctx, f)
			if err != nil || !returned {
				return err
			}
			r.faults = append(r.faults, s)
			at = s.back + f.Every
		}
	}
	return nil
}

// strike takes a node out, holds it and brings it back; false if it did not come back. An error means that it could not be hit
// at all.
func (r *run) strike(ctx context.Context, f workload.Fault) (s strike, returned bool, err error) {
	s.kind = f.Kind
	s.node, s.led = r.victim(ctx, f.Node)
	r.costs.sample()
	hitting, cancel := context.WithTimeout(ctx, hitMax)
	defer cancel()
	s.at = r.now()
	if err := r.hit(hitting, s); err != nil {
		return s, false, fmt.Errorf("%s node %d: %w", s.kind, s.node, err)
	}
	r.sleepUntil(ctx, r.now()+f.Hold)
	returning, cancel := context.WithTimeout(context.WithoutCancel(ctx), returnMax) // nothing stays paused, whatever happens
	defer cancel()
	if err := r.bringBack(returning, s); err != nil {
		r.notes.fail("node %d did not come back after %s: %v", s.node, s.kind, err)
		return s, false, nil
	}
	s.back = r.now()
	away := (s.back - s.at).Round(time.Millisecond)
	r.opts.Log("%s node %d, which led %d partitions; back after %v", s.kind, s.node, len(s.led), away)
	return s, true, nil
}

func (r *run) hit(ctx context.Context, s strike) error {
	switch s.kind {
	case workload.Kill:
		return r.sys.Kill(ctx, s.node)
	case workload.Restart:
		return r.sys.Stop(ctx, s.node)
	default:
		return r.sys.Pause(ctx, s.node)
	}
}

func (r *run) bringBack(ctx context.Context, s strike) error {
	if s.kind == workload.Pause {
		return r.sys.Resume(ctx, s.node)
	}
	return r.sys.Start(ctx, s.node)
}

// victim returns a node and the partitions that it leads: the wanted one or, for 0, the one that leads most, the first of them.
// Where nobody knows who leads it is node 1, with no partitions.
func (r *run) victim(ctx context.Context, wanted int) (int, []int) {
	ctx, cancel := context.WithTimeout(ctx, leadersMax)
	defer cancel()
	led := map[int][]int{}
	for t, topic := range r.topics {
		leaders, err := r.sys.Leaders(ctx, topic)
		r.note(err, "leaders of topic "+topic)
		for p, node := range leaders {
			led[node] = append(led[node], t*r.w.PartitionsPerTopic+p)
		}
	}
	if wanted != 0 {
		return wanted, led[wanted]
	}
	most := 1
	for _, node := range r.sys.Nodes() {
		if len(led[node.ID]) > len(led[most]) {
			most = node.ID
		}
	}
	return most, led[most]
}

// measured returns the faults with their pauses, as seen at the end of the run. Where it is not known what the victim led,
// the pauses are those of any partition.
func (r *run) measured() []results.Fault {
	from, end := time.Duration(r.meter.window.from.Load()), time.Duration(r.meter.window.to.Load())
	now := r.now()
	all := make([]int, r.w.Topics*r.w.PartitionsPerTopic)
	for i := range all {
		all[i] = i
	}
	var list []results.Fault
	for i, s := range r.faults {
		next := end
		if i+1 < len(r.faults) {
			next = r.faults[i+1].at
		}
		hit := s.led
		if len(hit) == 0 {
			hit = all
		}
		list = append(list, results.Fault{
			Kind: string(s.kind), Node: s.node, At: (s.at - from).Seconds(), Back: (s.back - from).Seconds(), Led: len(s.led),
			PublishPause:  milliseconds(r.pauses.publishing(hit, gap{s.at, s.back}, now)),
			DeliveryPause: milliseconds(r.pauses.delivering(hit, gap{s.at, s.back}, now)),
			ReturnPause:   milliseconds(r.pauses.within(gap{s.back, next}, now)),
		})
	}
	return list
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
