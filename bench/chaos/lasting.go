package chaos

import (
	"context"
	"fmt"

	"github.com/trunkline/trunkline/bench/cluster"
)

// lasting is a plan that is in force while the fault holds; its victims live on. Plans take turns.
type lasting struct {
	tagged
	name   string
	plans  []string
	points []string // that must act

	turn   int
	before map[int]int64 // acts of the victims until now
	acts   int64
}

// newSlowFsync makes each fsync of the victims 50 ms longer.
func newSlowFsync(o *Options) Fault {
	return &lasting{
		tagged: tagged{binary: taggedBinary(o.Binary)}, name: "slow-fsync",
		plans: []string{"fs.sync=delay:50ms;fs.datasync=delay:50ms"}, points: []string{"fs.datasync"},
	}
}

// newClock puts the wall clock of the victims, as records and retention see it, an hour forward and an hour back in turns. The
// clock is read by leaders.
func newClock(o *Options) Fault {
	return &lasting{
		tagged: tagged{binary: taggedBinary(o.Binary)}, name: "clock",
		plans: []string{"clock=offset:+1h", "clock=offset:-1h"}, points: []string{"clock"},
	}
}

func (f *lasting) Name() string { return f.name }

func (f *lasting) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	f.before = map[int]int64{}
	for _, id := range victims {
		n, err := acted(ctx, c, id, f.points...)
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
		f.before[id] = n
	}
	plan := f.plans[f.turn%len(f.plans)]
	f.turn++
	return setPlan(ctx, c, victims, plan)
}

// Prove shows that the points acted, and waits for that if the fault held for a moment only.
func (f *lasting) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	ctx, cancel := context.WithTimeout(ctx, hitLimit)
	defer cancel()
	for _, id := range victims {
		for {
			n, err := acted(ctx, c, id, f.points...)
			if err != nil {
				return fmt.Errorf("broker %d: %w", id, err)
			}
			if n > f.before[id] {
				f.acts += n - f.before[id]
				break
			}
			if err := sleep(ctx, recoverPoll); err != nil {
				return fmt.Errorf("broker %d did not pass %v within %v", id, f.points, hitLimit)
			}
		}
	}
	return nil
}

func (f *lasting) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	return setPlan(ctx, c, victims, "")
}

// Counts tells how often the points acted.
func (f *lasting) Counts() map[string]int64 { return map[string]int64{f.name: f.acts} }
