package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	transferPartitions = 4
	transferEach       = time.Second
	// transferP99 is how long a publish may take at the 99th percentile while every leadership moves once a second.
	transferP99 = 300 * time.Millisecond
)

// transfers let one broker lead everything, and another one a second later: all are drained but one, in turns. Beside them goes steady
// traffic, whose times are measured.
//
// Counts, each behind its name: rounds, leaders_moved (of the steady traffic's partitions, as seen at the end of each round), turns_lost (which a hand-over
// must not cost), and those of measured.
type transfers struct {
	measured
	since time.Time
}

func newTransfers() *transfers {
	return &transfers{measured: newMeasured("transfers", transferPartitions)}
}

// Inject measures the steady traffic alone, and begins.
func (t *transfers) Inject(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	acting, err := t.open(ctx, cl, transferPartitions, func(worker.Report) {})
	if err != nil {
		return err
	}
	if err := t.learnCalm(ctx, baseline); err != nil {
		return err
	}
	t.since = time.Now()
	t.acts.Go(func() {
		if err := t.rotate(acting); acting.Err() == nil {
			t.violation("%v", err)
		}
	})
	return nil
}

// rotate lets another broker lead each time, until ctx ends or it cannot, and says why.
func (t *transfers) rotate(ctx context.Context) error {
	for _, b := range t.brokers[1:] {
		if err := t.restate(ctx, b.ID, protocol.BrokerDrained); err != nil {
			return err
		}
	}
	var led *client.TopicDescription
	for k := 0; ; k++ {
		round := time.Now()
		now, next := t.brokers[k%len(t.brokers)].ID, t.brokers[(k+1)%len(t.brokers)].ID
		if err := t.restate(ctx, next, protocol.BrokerActive); err != nil {
			return err
		}
		if err := t.restate(ctx, now, protocol.BrokerDrained); err != nil {
			return err
		}
		if err := sleep(ctx, transferEach-time.Since(round)); err != nil {
			return err
		}
		t.count("rounds", 1)
		d, err := t.admin.Admin().DescribeTopic(ctx, t.topic)
		if err != nil {
			return err
		}
		if led != nil {
			t.count("leaders_moved", movedLeaders(led, d))
		}
		led = d
	}
}

// movedLeaders counts the partitions that have another leader.
func movedLeaders(before, after *client.TopicDescription) (n int64) {
	for i, p := range after.Partitions {
		if p.Leader != 0 && p.Leader != before.Partitions[i].Leader {
			n++
		}
	}
	return n
}

func (t *transfers) restate(ctx context.Context, id int, state protocol.BrokerState) error {
	return t.admin.Admin().SetBrokerState(ctx, protocol.BrokerID(id), state)
}

// Prove judges what the traffic was like.
func (t *transfers) Prove(context.Context, *cluster.Cluster, []int) error {
	acks, deliveries := t.clock.tails(window{t.since, time.Now()})
	t.most("ack_p99_us", acks.P99.Microseconds())
	t.most("p99_us", deliveries.P99.Microseconds())
	t.most("max_ms", acks.Max.Milliseconds())
	if acks.P99 > transferP99 {
		t.violation("publish p99 %v while leaderships move, allowed are %v", acks.P99.Round(time.Millisecond), transferP99)
	}
	if n := t.counted()["rounds"]; n == 0 {
		return fmt.Errorf("no round of transfers in %v", time.Since(t.since))
	}
	return nil
}

// Recover makes all brokers active and waits for what the traffic has sent.
func (t *transfers) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	t.still()
	for _, b := range t.brokers {
		if err := t.restate(ctx, b.ID, protocol.BrokerActive); err != nil {
			return err
		}
	}
	return t.close(ctx)
}
