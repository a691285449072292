package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/failpoints"
)

const (
	hitLimit = 20 * time.Second // until a point is passed under load
	hitPoll  = 2 * time.Millisecond
)

// tagged is what faults share that need brokers of the build with failpoints.
type tagged struct {
	harmless
	binary string // path of that build's trunklined
}

// taggedBinary returns where `make faults` puts it, beside the normal one.
func taggedBinary(normal string) string {
	return filepath.Join(filepath.Dir(normal), "faults", filepath.Base(normal))
}

func (t *tagged) Available() error {
	if _, err := os.Stat(t.binary); err != nil {
		return &UnavailableError{"failpoints", fmt.Sprintf("%v: build it with `make faults`", err)}
	}
	return nil
}

// Shape makes all brokers run that build.
func (t *tagged) Shape(spec *cluster.Spec) error {
	spec.Binary = t.binary
	return nil
}

// setPlan gives all victims a plan.
func setPlan(ctx context.Context, c *cluster.Cluster, victims []int, plan string) error {
	return each(victims, func(id int) error {
		b, err := c.Broker(id)
		if err == nil {
			err = failpoints.Set(ctx, b.Admin, plan)
		}
		if err != nil {
			return fmt.Errorf("broker %d: failpoints %q: %w", id, plan, err)
		}
		return nil
	})
}

// acted returns how often points of a broker acted since its start, all taken together.
func acted(ctx context.Context, c *cluster.Cluster, id int, points ...string) (n int64, err error) {
	b, err := c.Broker(id)
	if err != nil {
		return 0, err
	}
	r, err := failpoints.Get(ctx, b.Admin)
	for _, p := range points {
		n += r.Points[p].Acted
	}
	return n, err
}
