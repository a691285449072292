package trial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/client"
)

// Times around a fault.
const (
	Settle       = 1500 * time.Millisecond // healthy time before each fault
	watch        = time.Second             // pauses that begin within this time of a fault belong to it
	recoverLimit = 60 * time.Second        // bound on a victim's return
	caughtUp     = 2000                    // records a replica may lag before the next fault
	backOrder    = 200                     // time between polls, ms
	describeIn   = 10 * time.Second
)

// Kill is one fault that was injected.
type Kill struct {
	Broker     int
	Partitions []int32       // that the victim led
	Pause      time.Duration // longest pause of publishing on them

	at        time.Time
	back      time.Time // when the victim was started again, or went on
	recovered time.Time // when it had caught up
}

func (k *Kill) end() time.Time { return k.at.Add(watch) }

// Strike lets the traffic settle, takes the busiest leader out and brings it back, and waits until it has caught up.
func (t *Trial) Strike(ctx context.Context) (Kill, error) {
	if err := sleep(ctx, Settle); err != nil {
		return Kill{}, err
	}
	k, err := t.strike(ctx)
	if err != nil {
		return k, err
	}
	err = t.awaitRecovery(ctx)
	k.recovered = time.Now()
	if err != nil {
		return k, fmt.Errorf("after the fault of broker %d: %w", k.Broker, err)
	}
	k.Pause = t.pub.pauses.Longest(k.Partitions, k.at, k.end())
	if err := t.Failure(); err != nil {
		return k, fmt.Errorf("subscriber: %w", err)
	}
	return k, nil
}

// strike takes the broker that leads most partitions out for opts.Hold and brings it back.
func (t *Trial) strike(ctx context.Context) (Kill, error) {
	d, err := t.describe(ctx)
	if err != nil {
		return Kill{}, err
	}
	led := map[int][]int32{}
	busiest := 0
	for _, p := range d.Partitions {
		b := int(p.Leader)
		led[b] = append(led[b], int32(p.Partition))
		if b != 0 && (busiest == 0 || len(led[b]) > len(led[busiest])) {
			busiest = b
		}
	}
	if busiest == 0 {
		return Kill{}, errors.New("no partition has a leader")
	}
	k := Kill{Broker: busiest, Partitions: led[busiest], at: time.Now()}
	if t.opts.Hang {
		if err := t.cluster.Pause(busiest); err != nil {
			return k, err
		}
		if err := sleep(ctx, t.opts.Hold); err != nil {
			return k, errors.Join(err, t.cluster.Resume(busiest))
		}
		k.back = time.Now()
		return k, t.cluster.Resume(busiest)
	}
	if err := t.cluster.Kill(ctx, busiest); err != nil {
		return k, err
	}
	if err := sleep(ctx, t.opts.Hold); err != nil {
		return k, err
	}
	up, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	k.back = time.Now()
	return k, t.cluster.Start(up, busiest)
}

// awaitRecovery waits until every partition has a leader and every replica has nearly what its leader has.
func (t *Trial) awaitRecovery(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	for {
		lag := t.lag(ctx)
		if lag == nil {
			return nil
		}
		if err := sleep(ctx, backOrder*time.Millisecond); err != nil {
			return fmt.Errorf("%w: %w", err, lag)
		}
	}
}

// lag returns nil when all replicas are close behind their leaders, otherwise what is missing.
func (t *Trial) lag(ctx context.Context) error {
	d, err := t.describe(ctx)
	if err != nil {
		return err
	}
	for _, p := range d.Partitions {
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

func (t *Trial) describe(ctx context.Context) (*client.TopicDescription, error) {
	ctx, cancel := context.WithTimeout(ctx, describeIn)
	defer cancel()
	return t.client.Admin().DescribeTopic(ctx, t.opts.Topic)
}
