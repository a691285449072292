package hostile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// Siege is an attack on brokers that others use meanwhile: a storm of handshakes, and beside it shots of random and mutated frames and of
// garbage on every port. It makes a topic, to which anything may happen, and removes it in the end.
type Siege struct {
	Brokers    []cluster.Broker   `json:"brokers"`
	Spared     []protocol.TopicID `json:"spared"` // topics that lawful requests leave alone
	Seed       uint64             `json:"seed"`   // of the frames
	Handshakes int                `json:"handshakes"`
	Lanes      int                `json:"lanes"`  // handshakes at a time
	Shots      int                `json:"shots"`  // shots of frames at a time
	Frames     int                `json:"frames"` // a second, of all shots
}

const endSiege = 5 * time.Second // bound on removing the topic

// Run attacks until ctx ends. Once a second, and at last, it tells how much was thrown since the beginning: offered, done, half (open),
// refused and failed (handshakes of the storm), frames, cut (streams), missed (shots that did not get in).
func (s *Siege) Run(ctx context.Context, c *client.Client, tell func(map[string]int64)) error {
	a, err := s.aim(ctx, c)
	if err != nil {
		return err
	}
	st := &storm{limit: rate.NewLimiter(rate.Limit(s.Handshakes), s.Lanes)}
	for _, b := range s.Brokers {
		st.addrs = append(st.addrs, b.Listen)
	}
	shots := &attack{seed: s.Seed, aims: a, tally: newTally(), pace: rate.NewLimiter(rate.Limit(s.Frames), s.Frames)}
	count := func() {
		tell(map[string]int64{
			"offered": st.offered.Load(), "done": st.done.Load(), "half": st.half.Load(), "refused": st.refused.Load(), "failed": st.failed.Load(),
			"frames": shots.tally.frames.Load(), "cut": shots.tally.cut.Load(), "missed": shots.tally.failedDials.Load(),
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() { every(ctx, time.Second, count) })
	wg.Go(func() { shots.run(ctx, s.Shots, 1<<62) })
	wg.Go(func() { err = st.run(ctx, s.Lanes) })
	wg.Wait()
	count()
	if n := shots.tally.accepted.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d handshakes with a wrong ALPN succeeded", n))
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endSiege)
	defer cancel()
	return errors.Join(err, c.Admin().DeleteTopic(end, targetName))
}

// aim makes the target and learns who leads it.
func (s *Siege) aim(ctx context.Context, c *client.Client) (*aims, error) {
	a := &aims{brokers: s.Brokers, partitions: partitions, spared: s.Spared}
	var err error
	if a.bombs, err = makeBombs(); err != nil {
		return nil, fmt.Errorf("bombs: %w", err)
	}
	spec := client.TopicSpec{Partitions: partitions, Replicas: min(3, len(s.Brokers))}
	spec.RetentionBytes, spec.SegmentBytes = keepBytes, keepBytes/2
	if _, err := c.Admin().CreateTopic(ctx, targetName, spec); err != nil {
		return nil, err
	}
	a.target, a.led, err = leaders(ctx, c, targetName)
	return a, err
}
