package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/client"
)

// Times around a fault.
const (
	settle       = 1500 * time.Millisecond // healthy time before each fault
	watch        = time.Second             // pauses that begin within this time of a fault belong to it
	recoverLimit = 60 * time.Second        // bound on a victim's return
	caughtUp     = 2000                    // records a replica may lag before the next fault
	backOrder    = 200                     // time between polls, ms
	describeIn   = 10 * time.Second
)

// kill is one fault that was injected.
type kill struct {
	broker     int
	partitions []int32 // that the victim led
	at         time.Time
	back       time.Time // when the victim was started again, or went on
	recovered  time.Time // when it had caught up
}

func (k *kill) end() time.Time { return k.at.Add(watch) }

// injectFaults kills (or stops) the busiest leader opts.Kills times, one at a time, and waits each time until the victim is back
// and has caught up. It goes on until the whole input was published once.
func (r *run) injectFaults(ctx context.Context) ([]kill, error) {
	var kills []kill
	for len(kills) < r.opts.Kills {
		if err := sleep(ctx, settle); err != nil {
			return kills, err
		}
		k, err := r.strike(ctx)
		if err != nil {
			return kills, err
		}
		err = r.awaitRecovery(ctx)
		k.recovered = time.Now()
		kills = append(kills, k)
		if err != nil {
			return kills, fmt.Errorf("after fault %d (broker %d): %w", len(kills), k.broker, err)
		}
		what := "kill"
		if r.opts.Hang {
			what = "hang"
		}
		r.say("%s %d of %d: broker %d led %d partitions; publish pause %v", what, len(kills), r.opts.Kills, k.broker, len(k.partitions),
			r.pub.pauses.around(k.partitions, k.at, k.end()).Round(100*time.Microsecond))
		if err := r.sub.failure(); err != nil {
			return kills, fmt.Errorf("subscriber: %w", err)
		}
	}
	for r.pub.sent() < len(r.input.lines) {
		if err := sleep(ctx, settle); err != nil {
			return kills, err
		}
	}
	return kills, sleep(ctx, settle)
}

// strike takes the broker that leads most partitions out for opts.Hold and brings it back.
func (r *run) strike(ctx context.Context) (kill, error) {
	t, err := r.describe(ctx)
	if err != nil {
		return kill{}, err
	}
	led := map[int][]int32{}
	busiest := 0
	for _, p := range t.Partitions {
		b := int(p.Leader)
		led[b] = append(led[b], int32(p.Partition))
		if b != 0 && (busiest == 0 || len(led[b]) > len(led[busiest])) {
			busiest = b
		}
	}
	if busiest == 0 {
		return kill{}, errors.New("no partition has a leader")
	}
	k := kill{broker: busiest, partitions: led[busiest], at: time.Now()}
	if r.opts.Hang {
		if err := r.cluster.Pause(busiest); err != nil {
			return k, err
		}
		if err := sleep(ctx, r.opts.Hold); err != nil {
			return k, errors.Join(err, r.cluster.Resume(busiest))
		}
		k.back = time.Now()
		return k, r.cluster.Resume(busiest)
	}
	if err := r.cluster.Kill(ctx, busiest); err != nil {
		return k, err
	}
	if err := sleep(ctx, r.opts.Hold); err != nil {
		return k, err
	}
	up, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	k.back = time.Now()
	return k, r.cluster.Start(up, busiest)
}

// awaitRecovery waits until every partition has a leader and every replica has nearly what its leader has.
func (r *run) awaitRecovery(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	for {
		lag := r.lag(ctx)
		if lag == nil {
			return nil
		}
		if err := sleep(ctx, backOrder*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %w", err, lag)
		}
	}
}

// lag returns nil when all replicas are close behind their leaders, otherwise what is missing.
func (r *run) lag(ctx context.Context) error {
	t, err := r.describe(ctx)
	if err != nil {
		return err
	}
	for _, p := range t.Partitions {
		if p.Leader == 0 {
			return fmt.Errorf("partition %d has no leader", p.Partition)
		}
		for _, s := range p.States {
			if s.Err != nil {
				return fmt.Errorf("broker %d does not answer: %w", s.Broker, s.Err)
			}
			if s.Next+caughtUp < p.Next {
				return fmt.Errorf("partition %d: broker %d has %d of %d records", p.Partition, s.Broker, s.Next, p.Next)
			}
		}
	}
	return nil
}

func (r *run) describe(ctx context.Context) (*client.TopicDescription, error) {
	ctx, cancel := context.WithTimeout(ctx, describeIn)
	defer cancel()
	return r.client.Admin().DescribeTopic(ctx, topic)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
