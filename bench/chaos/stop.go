package chaos

import (
	"context"
	"fmt"

	"github.com/trunkline/trunkline/bench/cluster"
)

// stop is SIGSTOP: the process does nothing, its connections and its disk stay, and it wakes up in a later world.
type stop struct {
	harmless
	times int64
}

func (s *stop) Name() string { return "stop" }

func (s *stop) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	return each(victims, func(id int) error { return freeze(ctx, c, id) })
}

func (s *stop) Prove(_ context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		b, err := c.Broker(id)
		if err != nil {
			return err
		}
		standing, err := stopped(b.PID)
		if err == nil && !standing {
			err = fmt.Errorf("broker %d (pid %d) runs after SIGSTOP", id, b.PID)
		}
		if err != nil {
			return err
		}
		s.times++
	}
	return nil
}

func (s *stop) Recover(_ context.Context, c *cluster.Cluster, victims []int) error {
	return each(victims, c.Resume)
}

func (s *stop) Counts() map[string]int64 { return map[string]int64{"stopped": s.times} }
