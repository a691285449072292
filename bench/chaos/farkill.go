package chaos

import (
	"context"
	"errors"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/proxy"
)

const (
	// farWay is how much longer each direction between two brokers takes, about that between continents.
	farWay = 100 * time.Millisecond
	// farKnown is when brokers know how far they are: they look twice a second and believe the lowest of four.
	farKnown = 3 * time.Second
)

// farKill kills victims while all brokers are far from each other, and starts them there.
type farKill struct {
	*fronted
	kill kill
}

func newFarKill(f *fronts) Fault {
	far := proxy.TCPSettings{Ways: bothWays(proxy.Way{Delay: farWay})}
	return &farKill{fronted: &fronted{fronts: f, name: "far-kill", effect: "tcp_to_target_delayed", inject: everyRaft(far)}}
}

// Inject takes the brokers apart, lets them notice, and kills.
func (f *farKill) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	if err := f.fronted.Inject(ctx, c, victims); err != nil {
		return err
	}
	if err := sleep(ctx, farKnown); err != nil {
		return err
	}
	return f.kill.Inject(ctx, c, victims)
}

func (f *farKill) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	return errors.Join(f.fronted.Prove(ctx, c, victims), f.kill.Prove(ctx, c, victims))
}

func (f *farKill) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	return errors.Join(f.kill.Recover(ctx, c, victims), f.fronted.Recover(ctx, c, victims))
}
