package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/client"
)

const (
	recoverLimit = 60 * time.Second // until brokers are back, have caught up and everything acknowledges again
	recoverPoll  = 50 * time.Millisecond
	describeIn   = 10 * time.Second
	// deniedLimit is how long a broker that is ready may deny the topic: then it has lost it.
	deniedLimit = 10 * time.Second
)

// awaitRecovery waits until the victims say that they are ready, every replica holds what its partition held then, and every
// partition has acknowledged something since.
func (r *run) awaitRecovery(ctx context.Context, f *Injected, started time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	if err := each(f.Victims, func(id int) error { return r.cluster.WaitReady(ctx, id) }); err != nil {
		return err
	}
	ready := time.Now()
	f.Restart = millis(ready.Sub(started))
	acked := r.load.counts()
	var then *client.TopicDescription
	known := ready // when the topic was last not denied
	for {
		d, err := r.describe(ctx)
		if err == nil && then == nil {
			err = allAnswer(d)
			if err == nil {
				then = d
			}
		}
		if err == nil {
			err = behind(d, then)
		}
		if err == nil {
			err = idle(r.load.counts(), acked)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, client.ErrTopicNotFound) {
			known = time.Now()
		}
		if time.Since(known) > deniedLimit {
			return fmt.Errorf("ready, and the topic is lost: %w", err)
		}
		if len(r.load.notes()) > 0 { // it is broken already: waiting shows nothing more
			return fmt.Errorf("ready, and a client was told what it must never be: %w", err)
		}
		if serr := sleep(ctx, recoverPoll); serr != nil {
			return fmt.Errorf("ready, but not recovered within %v: %w", recoverLimit, err)
		}
	}
	now := time.Now()
	f.CatchUp = millis(now.Sub(ready))
	f.Pause = millis(r.load.pauses.Longest(everyPartition(r.opts.Partitions), f.at, now))
	f.Pauses = r.stepPauses(r.faults[f.Fault], now)
	return nil
}

// stepPauses returns the longest pause of each partition in each step that the fault took since it was injected.
func (r *run) stepPauses(f Fault, end time.Time) (all []float64) {
	s, ok := f.(stepper)
	if !ok {
		return nil
	}
	steps := append(s.steps(), end)
	for i, from := range steps[:len(steps)-1] {
		for part := range int32(r.opts.Partitions) {
			all = append(all, millis(r.load.pauses.Longest([]int32{part}, from, steps[i+1])))
		}
	}
	return all
}

// await waits until something holds, and returns what it still says when ctx ends.
func await(ctx context.Context, what func() error) error {
	for {
		err := what()
		if err == nil {
			return nil
		}
		if serr := sleep(ctx, recoverPoll); serr != nil {
			return fmt.Errorf("%w: %w", err, serr)
		}
	}
}

// everyPartition returns the numbers of n partitions.
func everyPartition(n int) []int32 {
	parts := make([]int32, n)
	for i := range parts {
		parts[i] = int32(i)
	}
	return parts
}

// allAnswer returns an error if a partition has no leader or a replica does not answer.
func allAnswer(d *client.TopicDescription) error {
	for _, p := range d.Partitions {
		if p.Leader == 0 {
			return fmt.Errorf("partition %d has no leader", p.Partition)
		}
		for _, s := range p.States {
			if s.Err != nil {
				return fmt.Errorf("partition %d: broker %d does not answer: %w", p.Partition, s.Broker, s.Err)
			}
		}
	}
	return nil
}

// behind returns an error if a replica holds less than its partition held then.
func behind(d, then *client.TopicDescription) error {
	if err := allAnswer(d); err != nil {
		return err
	}
	for i, p := range d.Partitions {
		for _, s := range p.States {
			if want := then.Partitions[i].Next; s.Next < want {
				return fmt.Errorf("partition %d: broker %d holds %d of %d messages", p.Partition, s.Broker, s.Next, want)
			}
		}
	}
	return nil
}

// idle returns an error if a partition has acknowledged nothing since.
func idle(now, since []int64) error {
	for p, n := range now {
		if n == since[p] {
			return fmt.Errorf("partition %d acknowledges nothing", p)
		}
	}
	return nil
}

func (r *run) describe(ctx context.Context) (*client.TopicDescription, error) {
	ctx, cancel := context.WithTimeout(ctx, describeIn)
	defer cancel()
	return r.admin.Admin().DescribeTopic(ctx, topic)
}
