package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/client"
)

// bringUp sets the faults up, starts brokers and load, and warms up.
func (r *run) bringUp(ctx context.Context) error {
	dir := filepath.Join(r.dir, "cluster")
	spec := cluster.Spec{Dir: dir, Brokers: r.opts.Brokers, Binary: r.opts.Binary, Config: r.opts.brokerConfig(), Tied: true}
	for _, f := range r.faults {
		if err := f.Setup(ctx, dir, r.opts.Brokers); err != nil {
			return err
		}
		if s, ok := f.(shaper); ok {
			if err := s.Shape(&spec); err != nil {
				return err
			}
		}
	}
	up, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	var err error
	if r.cluster, err = cluster.Up(up, spec); err != nil {
		return err
	}
	if r.admin, err = r.connect(up); err != nil {
		return err
	}
	wanted := client.TopicSpec{Partitions: r.opts.Partitions, Replicas: r.opts.Replicas}
	wanted.RetentionBytes = keepBytes
	if _, err := r.admin.Admin().CreateTopic(up, topic, wanted); err != nil {
		return err
	}
	if err := r.awaitTopic(up); err != nil {
		return err
	}
	if r.load, err = startLoad(ctx, r.connect, &r.opts, r.health); err != nil {
		return err
	}
	r.watch = observe.Start(ctx, observe.Config{Brokers: r.adminAddresses, Acked: r.totalAcked, Delivered: r.load.totalDelivered})
	return r.warm(ctx)
}

// adminAddresses returns where the brokers are asked how they are, by ID.
func (r *run) adminAddresses() map[int]string {
	all := map[int]string{}
	for _, b := range r.cluster.Brokers() {
		all[b.ID] = b.Admin
	}
	return all
}

// warm lets the load run, takes down what the brokers hold meanwhile, and lets it go slowly then if that is asked for.
func (r *run) warm(ctx context.Context) error {
	for end := time.Now().Add(warmUp); time.Now().Before(end); {
		if err := sleep(ctx, observe.Interval); err != nil {
			return err
		}
		r.health.baseline(r.watch.Vitals())
	}
	if r.opts.Load > 0 {
		return r.slowDown(ctx)
	}
	return nil
}

// awaitTopic waits until every broker knows the topic: each client of the load begins at another one.
func (r *run) awaitTopic(ctx context.Context) error {
	for {
		d, err := r.describe(ctx)
		if err == nil {
			err = allAnswer(d)
		}
		if err == nil {
			return nil
		}
		if sleep(ctx, recoverPoll) != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
}

func (r *run) connect(ctx context.Context) (*client.Client, error) {
	cf, err := client.LoadContext(r.cluster.Context())
	if err != nil {
		return nil, err
	}
	opts, err := cf.Options()
	if err != nil {
		return nil, err
	}
	return client.Connect(ctx, cf.Brokers, append(opts, client.WithName("trunkline-chaos"))...)
}
