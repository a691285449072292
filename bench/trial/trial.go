package trial

import (
	"context"
	"errors"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
)

// Subscription is the name of the subscription that receives everything.
const Subscription = "trial"

// Options say what to do.
type Options struct {
	Topic      string // exists, is empty, and nobody else writes to it
	Partitions int    // of the topic
	Rate       int    // records a second, open loop
	// Record returns record n with its partition set. Its headers are replaced by the number that identifies it.
	Record func(n int) client.Record

	Hang bool          // faults stop brokers (SIGSTOP) instead of killing them
	Hold time.Duration // how long a victim stays dead or stopped

	Say func(format string, args ...any) // a line for people
}

// Trial is one trial under way.
type Trial struct {
	opts    Options
	cluster *cluster.Cluster
	client  *client.Client
	pub     *publisher
	sub     *subscriber
}

// Start begins to publish and to consume. Judge or Abandon ends it.
func Start(ctx context.Context, cl *cluster.Cluster, c *client.Client, opts Options) (*Trial, error) {
	t := &Trial{opts: opts, cluster: cl, client: c}
	var err error
	if t.sub, err = subscribe(ctx, c, opts.Topic); err != nil {
		return nil, err
	}
	if t.pub, err = publish(ctx, c, opts, t.sub.pauses); err != nil {
		return nil, errors.Join(err, t.sub.stop(ctx))
	}
	return t, nil
}

// Abandon stops everything without a verdict.
func (t *Trial) Abandon(ctx context.Context) error {
	return errors.Join(t.pub.stop(ctx), t.sub.stop(ctx))
}

// Sent returns how many records were sent.
func (t *Trial) Sent() int { return t.pub.sent() }

// Acked returns how many records were acknowledged.
func (t *Trial) Acked() int { return t.pub.acked() }

// Received returns how many records the subscriber was given.
func (t *Trial) Received() int { return t.sub.received() }

// Failure returns what ended the subscriber, nil while it runs.
func (t *Trial) Failure() error { return t.sub.failure() }

// Progress says once a second how it goes, until ctx ends.
func (t *Trial) Progress(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var sent, acked, got int
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s, a, g := t.Sent(), t.Acked(), t.Received()
		t.opts.Say("published %7d (%5d/s)   acked %7d (%5d/s)   delivered %7d (%5d/s)   waiting %d", s, s-sent, a, a-acked, g, g-got, s-a)
		sent, acked, got = s, a, g
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
