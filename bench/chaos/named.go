package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/hostile"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/protocol"
)

const (
	namedPartitions = 6
	namedRate       = 1000 // messages a second
	namedBatch      = 1000 // messages that the consumer acknowledges at a time: it must keep up alone
	namedWindow     = 256  // of one partition without an answer
	namedPause      = 500 * time.Millisecond
	openedLimit     = 10 * time.Second // until a successor has taken over
	zombieTime      = 700 * time.Millisecond
	impostures      = 5 // messages of an impostor for each partition
)

// named takes a named producer from its process again and again, under load, in three ways:
//
//	SIGKILL, and a successor under the same name at once
//	a successor while the process is stopped in the middle of its sending, which then goes on: a zombie
//	a successor while the process goes on, and beside it somebody who speaks the protocol himself with the epoch that is over
//
// Counts, each behind "named_": restarts, kills, zombies, resumed (messages that were in the log and that nobody had been told of), zombie_fenced and
// impostor_fenced (publishes refused as fenced), late_acks (answers from before the take-over that a zombie read after it),
// acked, broken.
type named struct {
	clients
	random   *rand.Rand
	books    *namedBooks
	group    *groupBooks
	reader   *worker.Client
	producer *worker.Client // of the storm's goroutine, while it runs
}

// newNamed returns the fault. What it does follows from the seed, when depends on the machine.
func newNamed(seed uint64) *named {
	return &named{clients: newClients("named", namedPartitions), random: rand.New(rand.NewPCG(seed, 33))}
}

// Inject starts a producer, a consumer that gets everything, and the storm.
func (n *named) Inject(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	acting, err := n.begin(ctx, cl, n.take)
	if err != nil {
		return err
	}
	n.books = newNamedBooks(n.partitions, n.ledger, n.violation)
	n.group = newGroupBooks(n.partitions, n.ledger, n.violation)
	t := n.task()
	t.Consume = &worker.Consume{Subscription: "named", Consumer: "all", Batch: namedBatch}
	if n.reader, err = n.crew.Start(t); err != nil {
		return err
	}
	if n.producer, err = n.successor(ctx); err != nil {
		return err
	}
	if err := await(ctx, n.group.orphaned); err != nil {
		return err
	}
	n.acts.Go(func() { n.storm(acting, cl.Brokers()) })
	return nil
}

func (n *named) take(r worker.Report) {
	switch {
	case r.What == worker.Failed:
		n.violation("client %d ended: %s", r.Client, r.Text)
	case r.What == worker.Gone:
		n.ended(r)
		n.group.take(r)
	case n.books.started(r.Client):
		n.books.take(r)
	default:
		n.group.take(r)
	}
}

// successor starts a producer and waits until it has taken the name over.
func (n *named) successor(ctx context.Context) (*worker.Client, error) {
	t := n.task()
	t.Publish = &worker.Publish{Name: "chaos", Rate: namedRate, InFlight: namedWindow}
	opened, err := n.books.start(func() (int, error) {
		c, err := n.crew.Start(t)
		if err != nil {
			return 0, err
		}
		n.producer = c
		return c.Number(), nil
	})
	if err != nil {
		return nil, err
	}
	n.count("restarts", 1)
	limit, cancel := context.WithTimeout(ctx, openedLimit)
	defer cancel()
	select {
	case <-opened:
		return n.producer, nil
	case <-limit.Done():
		return n.producer, fmt.Errorf("client %d has not taken the name over within %v: %w", n.producer.Number(), openedLimit, limit.Err())
	}
}

// storm replaces the producer until ctx ends.
func (n *named) storm(ctx context.Context, brokers []cluster.Broker) {
	for turn := n.random.IntN(3); sleep(ctx, namedPause+time.Duration(n.random.Int64N(int64(namedPause)))) == nil; turn++ {
		old, over := n.producer, n.books.identity()
		var err error
		switch turn % 3 {
		case 0:
			n.count("kills", 1)
			err = old.Kill()
			if err == nil {
				_, err = n.successor(ctx)
			}
		case 1:
			err = n.zombie(ctx, old)
		default:
			err = errors.Join(n.replaced(ctx, old), n.impostor(ctx, over, brokers))
		}
		if err != nil && ctx.Err() == nil {
			n.violation("%v", err)
			return
		}
	}
}

// zombie stops the old producer, starts a successor and lets the old one go on.
func (n *named) zombie(ctx context.Context, old *worker.Client) error {
	if err := old.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	_, err := n.successor(ctx)
	return errors.Join(err, old.Signal(syscall.SIGCONT), n.bury(ctx, old))
}

// replaced starts a successor while the old producer goes on.
func (n *named) replaced(ctx context.Context, old *worker.Client) error {
	_, err := n.successor(ctx)
	return errors.Join(err, n.bury(ctx, old))
}

// bury lets a zombie send for a while, and then leave.
func (n *named) bury(ctx context.Context, old *worker.Client) error {
	n.count("zombies", 1)
	_ = sleep(ctx, zombieTime) // leaving takes its time also when ctx ends
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	return old.Leave(leaving)
}

// impostor sends with an epoch that is over: what was sent before, what is next, and what is far ahead.
func (n *named) impostor(ctx context.Context, over identity, brokers []cluster.Broker) error {
	d, err := n.admin.Admin().DescribeTopic(ctx, n.topic)
	if err != nil {
		return err
	}
	im := hostile.Impostor{Topic: d.ID, Producer: over.producer, Epoch: over.epoch}
	for _, p := range d.Partitions {
		at := slices.IndexFunc(brokers, func(b cluster.Broker) bool { return b.ID == int(p.Leader) })
		if at < 0 {
			continue // it has no leader
		}
		var sequences []protocol.Sequence
		for i := range impostures {
			sequences = append(sequences, protocol.Sequence(p.Next)+protocol.Sequence(i*100)-protocol.Sequence(min(100, p.Next)))
		}
		value := payload.Encode(verify.ID{Producer: uint32(n.partitions), Seq: 0}) // of a producer who does not exist
		answers, err := im.Send(ctx, brokers[at].Listen, p.Partition, sequences, value)
		if err != nil {
			return err
		}
		for what, times := range answers {
			if what != protocol.CodeProducerFenced.String() {
				n.violation("an impostor with epoch %d was answered %s on partition %d, %d times", over.epoch, what, p.Partition, times)
			}
		}
		n.count("impostor_fenced", answers[protocol.CodeProducerFenced.String()])
	}
	return nil
}

// Prove returns an error unless a producer was killed and a zombie went on sending. Where the books found something broken that is what
// is to be told.
func (n *named) Prove(context.Context, *cluster.Cluster, []int) error {
	fenced := n.books.counts()["zombie_fenced"]
	if c := n.counted(); c["broken"] == 0 && (c["kills"] == 0 || c["zombies"] == 0 || fenced == 0) {
		return fmt.Errorf("no producer was killed and no zombie sent: %v, %d refused as fenced", c, fenced)
	}
	return nil
}

// Recover ends the storm and judges.
func (n *named) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	n.still()
	err := await(ctx, n.books.owing) // the storm may have ended just after a take-over
	err = errors.Join(err, n.producer.Leave(ctx))
	n.settle(ctx)
	err = errors.Join(err, n.reader.Leave(ctx))
	for name, times := range n.books.counts() {
		n.count(name, times)
	}
	return errors.Join(err, n.finish(ctx))
}
