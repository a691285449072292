package chaos

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/hostile"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	neverReadPartitions = 4
	idleSubscribers     = 90                                      // whose application takes nothing
	deafSubscribers     = 10                                      // that read nothing off their streams
	idleCredit          = 256 << 10                               // bytes of a partition that the SDK lets come
	neverReadWindow     = int64(neverReadPartitions * idleCredit) // bytes of one subscriber
	neverReadCalm       = 6 * time.Second                         // before them, and again after them
	neverReadSlowdown   = 1.2                                     // of the fast one's p99, at most
	wokenSubscribers    = 3                                       // that begin to take messages in the end
	openAtOnce          = 10
	timeoutCode         = "timeout" // with which a broker ends a stream that takes nothing
)

// neverRead lets subscribers come that never read, each with a subscription and a connection of its own. Most are of the SDK, and only
// their application takes nothing: the broker must stop when their credit is used up, and go on where it stopped when they take again.
// Some give much credit and read nothing off their streams: the broker must end those with a code. Nobody else may notice.
//
// Counts, each behind "never_read_": came, paused (streams of partitions that stopped), woken, ended (streams that a broker ended with the code timeout),
// memory_mib (the most that a broker took more than before), and those of measured.
type neverRead struct {
	measured
	idlers []*client.Client // of the idle subscriptions
	idle   []*client.Subscription
	deaf   []*hostile.Deaf
	before map[int]int64 // peaks of memory
	since  time.Time
	with   window // the time that is judged
}

func newNeverRead() *neverRead {
	return &neverRead{measured: newMeasured("never_read", neverReadPartitions)}
}

// Inject connects the clients, measures the fast subscription before they ask for anything, and lets them subscribe. That a hundred clients are
// connected costs everybody heartbeats, read or not: what they cost by not reading is asked for.
func (n *neverRead) Inject(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	if _, err := n.open(ctx, cl, neverReadPartitions, func(worker.Report) {}); err != nil {
		return err
	}
	for range idleSubscribers {
		c, err := n.connect(ctx, cl)
		if err != nil {
			return err
		}
		n.idlers = append(n.idlers, c)
	}
	if err := n.learnCalm(ctx, neverReadCalm); err != nil {
		return err
	}
	n.before = n.peaks()
	if err := n.subscribe(ctx); err != nil {
		return err
	}
	if err := n.deafOnes(ctx); err != nil {
		return err
	}
	n.count("came", int64(len(n.idle)+deafSubscribers))
	n.since = time.Now()
	return nil
}

// subscribe opens subscriptions that nobody takes messages from, some at a time.
func (n *neverRead) subscribe(ctx context.Context) error {
	n.idle = make([]*client.Subscription, idleSubscribers)
	errs := make([]error, idleSubscribers)
	for at := 0; at < idleSubscribers; at += openAtOnce {
		var all sync.WaitGroup
		for i := at; i < min(at+openAtOnce, idleSubscribers); i++ {
			all.Go(func() {
				n.idle[i], errs[i] = n.idlers[i].Subscribe(ctx, n.topic, fmt.Sprintf("idle-%d", i), client.StartAt(client.Earliest()), client.WithCredit(idleCredit))
			})
		}
		all.Wait()
	}
	return firstOf(errs)
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// deafOnes opens streams on leaders and does not read them.
func (n *neverRead) deafOnes(ctx context.Context) error {
	d, err := n.admin.Admin().DescribeTopic(ctx, n.topic)
	if err != nil {
		return err
	}
	for i := range deafSubscribers {
		for _, b := range n.brokers {
			var led []protocol.Partition
			for _, p := range d.Partitions {
				if int(p.Leader) == b.ID {
					led = append(led, p.Partition)
				}
			}
			if len(led) == 0 {
				continue
			}
			deaf, err := hostile.OpenDeaf(ctx, b.Listen, d.ID, led, fmt.Sprintf("deaf-%d", i))
			if err != nil {
				return err
			}
			n.deaf = append(n.deaf, deaf)
		}
	}
	return nil
}

// Prove shows that they were there: that each had its window full, and that the deaf ones were ended.
func (n *neverRead) Prove(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	n.with = window{n.since.Add(settling), time.Now()}
	for id, peak := range n.peaks() {
		more := peak - n.before[id]
		n.most("memory_mib", more>>20)
		if bound := (idleSubscribers + deafSubscribers) * neverReadWindow; more > bound {
			n.violation("broker %d took %d MiB more than before, allowed are %d", id, more>>20, bound>>20)
		}
	}
	if err := n.paused(ctx); err != nil {
		return err
	}
	for _, d := range n.deaf {
		for _, end := range d.Ends() {
			if end != timeoutCode {
				n.violation("a stream that nobody reads is not ended with the code %s: %s", timeoutCode, end)
				continue
			}
			n.count("ended", 1)
		}
	}
	return n.wake(ctx)
}

// paused counts the partitions of idle subscriptions that more was published to than their credit. It is an error if not all of them are.
func (n *neverRead) paused(ctx context.Context) error {
	d, err := n.admin.Admin().DescribeTopic(ctx, n.topic)
	if err != nil {
		return err
	}
	for _, p := range d.Partitions {
		if p.Bytes <= idleCredit {
			return fmt.Errorf("partition %d has %d bytes, not more than a subscriber's credit of %d: nobody was slow", p.Partition, p.Bytes, idleCredit)
		}
		n.count("paused", idleSubscribers)
	}
	return nil
}

// wake takes everything that some of the idle subscriptions have missed: from the first message on, without a hole.
func (n *neverRead) wake(ctx context.Context) error {
	d, err := n.admin.Admin().DescribeTopic(ctx, n.topic)
	if err != nil {
		return err
	}
	for i, sub := range n.idle[:wokenSubscribers] {
		next := make([]protocol.Offset, n.partitions)
		missing := func(p client.PartitionDescription) bool { return next[p.Partition] < p.Next }
		for slices.ContainsFunc(d.Partitions, missing) {
			m, err := sub.Receive(ctx)
			if err != nil {
				return fmt.Errorf("idle subscription %d takes messages again: %w", i, err)
			}
			if m.Offset != next[m.Partition] {
				n.violation("idle subscription %d partition %d got offset %d, not %d", i, m.Partition, m.Offset, next[m.Partition])
			}
			next[m.Partition] = m.Offset + 1
			if err := sub.Ack(m); err != nil {
				return fmt.Errorf("idle subscription %d: %w", i, err)
			}
		}
		n.count("woken", 1)
	}
	return nil
}

// Recover lets all of them go but for their connections, measures again without them, and compares.
func (n *neverRead) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	var all sync.WaitGroup
	for _, s := range n.idle {
		all.Go(func() { _ = s.Close(ctx) }) // what it would tell is nobody's concern: no message of it was ever acknowledged
	}
	all.Wait()
	n.leave()
	if err := n.learnCalm(ctx, neverReadCalm); err != nil {
		return err
	}
	acks, deliveries := n.clock.tails(n.with)
	n.compare(acks, deliveries, neverReadSlowdown)
	return n.close(ctx)
}

func (n *neverRead) leave() {
	for _, d := range n.deaf {
		d.Close()
	}
	n.deaf, n.idle, n.idlers = nil, nil, nil
}

// Cleanup ends what an injection left that was interrupted.
func (n *neverRead) Cleanup(keep bool) error {
	n.leave()
	return n.measured.Cleanup(keep)
}
