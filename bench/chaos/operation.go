package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// changeLimit is how long a broker that joined may wait for its share of the replicas, and one that leaves for its end.
	changeLimit = 60 * time.Second
	// moveLimit is how long the move of one replica may take.
	moveLimit = 30 * time.Second
	// drainLimit is how long a drained broker may lead, and exitLimit how long one may take to end that was asked to.
	drainLimit = 10 * time.Second
	exitLimit  = 10 * time.Second
	lookEach   = 200 * time.Millisecond
)

// operation is what the faults have in common that harm nobody: an operator changes the cluster while the load goes on. Inject begins
// it, Prove waits for its end, Recover takes back what is left. No broker is named as a victim, so all must go on all the while.
//
// A step that takes longer than its bound is a violation, and ends the run. Counts, each behind the fault's name: moves (of
// replicas that were seen), moves_undone, newcomers (replicas that were seen for the first time, see arrivals), longest_move_ms, and those of the fault.
type operation struct {
	harmless
	tally
	random *rand.Rand

	cluster *cluster.Cluster
	admin   *client.Client     // nil: nothing is under way
	stop    context.CancelFunc // ends what is under way
	over    chan error         // how it ended
	acts    sync.WaitGroup
}

func newOperation(name string, seed uint64) operation {
	return operation{tally: newTally(name), random: rand.New(rand.NewPCG(seed, 27))}
}

func (o *operation) Name() string { return o.name }

// begin starts to do something, which may last until Recover.
func (o *operation) begin(ctx context.Context, c *cluster.Cluster, do func(context.Context) error) (err error) {
	if o.admin, err = connectTo(ctx, c, "trunkline-chaos-"+o.name); err != nil {
		return err
	}
	acting, stop := context.WithCancel(ctx)
	watching, still := context.WithCancel(acting)
	o.cluster, o.stop, o.over = c, stop, make(chan error, 1)
	o.acts.Go(func() { o.watchMoves(watching) })
	o.acts.Go(func() { o.watchArrivals(watching) })
	o.acts.Go(func() {
		defer still()
		o.over <- do(acting)
	})
	return nil
}

// Prove waits until it is done.
func (o *operation) Prove(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	select {
	case err := <-o.over:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", o.name, ctx.Err())
	}
}

// Recover has nothing to take back.
func (o *operation) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	return o.end(ctx)
}

func (o *operation) end(ctx context.Context) error {
	if o.admin == nil {
		return nil
	}
	o.stop()
	o.acts.Wait()
	err := o.admin.Close(ctx)
	o.admin = nil
	return err
}

// Cleanup ends an injection that was interrupted. No broker runs.
func (o *operation) Cleanup(bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // there is nobody to wait for
	return o.end(ctx)
}

// within waits until something holds. It not being so in time is a violation.
func (o *operation) within(ctx context.Context, limit time.Duration, what func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := what(limited)
		if err == nil {
			return nil
		}
		if sleep(limited, lookEach) == nil {
			continue
		}
		if ctx.Err() == nil {
			err = fmt.Errorf("not within %v: %w", limit, err)
			o.violation("%v", err)
		}
		return err
	}
}

// restate makes a broker active, drained or leaving.
func (o *operation) restate(ctx context.Context, id int, state protocol.BrokerState) error {
	return o.admin.Admin().SetBrokerState(ctx, protocol.BrokerID(id), state)
}

// status returns what the brokers say of one of them; nil if the cluster does not know it, or no more.
func (o *operation) status(ctx context.Context, id int) (*client.BrokerStatus, error) {
	all, err := o.admin.Admin().ClusterStatus(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(b client.BrokerStatus) bool { return b.ID == protocol.BrokerID(id) })
	if at < 0 {
		return nil, nil //nolint:nilnil // not to be there is an answer
	}
	return &all[at], nil
}

// any returns one of the brokers.
func (o *operation) any() int {
	all := o.cluster.Brokers()
	return all[o.random.IntN(len(all))].ID
}

// even waits until no replica moves and each broker has as many of them as the others, but for one.
func (o *operation) even(ctx context.Context) error {
	return o.within(ctx, changeLimit, func(ctx context.Context) error {
		moves, err := o.admin.Admin().Moves(ctx)
		if err != nil {
			return err
		}
		if len(moves) > 0 {
			return fmt.Errorf("%d moves are under way: %+v", len(moves), moves[0])
		}
		d, err := o.admin.Admin().DescribeTopic(ctx, topic)
		if err != nil {
			return err
		}
		return spreadOver(d, o.cluster.Brokers())
	})
}

// spreadOver returns an error unless the replicas are spread evenly over the brokers and on no other one.
func spreadOver(d *client.TopicDescription, brokers []cluster.Broker) error {
	counts := map[protocol.BrokerID]int{}
	for _, b := range brokers {
		counts[protocol.BrokerID(b.ID)] = 0
	}
	for _, p := range d.Partitions {
		for _, b := range p.Replicas {
			if _, known := counts[b]; !known {
				return fmt.Errorf("partition %d has a replica on broker %d, which is gone", p.Partition, b)
			}
			counts[b]++
		}
	}
	low, high := len(d.Partitions), 0
	for _, n := range counts {
		low, high = min(low, n), max(high, n)
	}
	if high-low > 1 {
		return fmt.Errorf("replicas by broker: %v", counts)
	}
	return nil
}

// join adds a broker to the cluster and waits until it is ready.
func (o *operation) join(ctx context.Context) error {
	joining, cancel := context.WithTimeout(ctx, changeLimit)
	defer cancel()
	_, err := o.cluster.Join(joining)
	if err != nil && ctx.Err() == nil {
		o.violation("a broker could not join: %v", err)
	}
	o.count("joined", 1)
	return err
}

// retired waits until the cluster does not know a broker any more that leaves.
func (o *operation) retired(ctx context.Context, id int) error {
	return o.within(ctx, changeLimit, func(ctx context.Context) error {
		b, err := o.status(ctx, id)
		if err != nil || b == nil {
			return err
		}
		return fmt.Errorf("broker %d is %s and has %d replicas (%w)", id, b.State, b.Replicas, b.Err)
	})
}

// caughtUp waits until every replica answers and has what its partition has now.
func (o *operation) caughtUp(ctx context.Context) error {
	var then *client.TopicDescription
	return o.within(ctx, recoverLimit, func(ctx context.Context) error {
		d, err := o.admin.Admin().DescribeTopic(ctx, topic)
		if err == nil {
			err = allAnswer(d)
		}
		if err == nil && then == nil {
			then = d
		}
		if err == nil {
			err = behind(d, then)
		}
		return err
	})
}

// watchMoves notes each move of a replica and how long it takes, as far as can be seen from outside, until ctx ends.
func (o *operation) watchMoves(ctx context.Context) {
	type seen struct {
		begun         time.Time
		undone, tardy bool
	}
	moves := map[uint64]*seen{}
	for sleep(ctx, lookEach) == nil {
		now, err := o.admin.Admin().Moves(ctx)
		if err != nil {
			continue // a broker was away: the next one is asked
		}
		for _, m := range now {
			s := moves[m.ID]
			if s == nil {
				s = &seen{begun: time.Now()}
				moves[m.ID] = s
				o.count("moves", 1)
			}
			if m.Undo && !s.undone {
				s.undone = true
				o.count("moves_undone", 1)
			}
			took := time.Since(s.begun)
			o.most("longest_move_ms", took.Milliseconds())
			if took > moveLimit && !s.tardy {
				s.tardy = true
				o.violation("a move takes more than %v: %+v", moveLimit, m)
			}
		}
	}
}

// watchArrivals judges replicas that are new, until ctx ends.
func (o *operation) watchArrivals(ctx context.Context) {
	a := newArrivals()
	for sleep(ctx, lookEach) == nil {
		d, err := o.admin.Admin().DescribeTopic(ctx, topic)
		if err != nil {
			continue
		}
		for _, late := range a.look(d, time.Now()) {
			o.violation("%s", late)
		}
	}
	o.count("newcomers", a.judged)
}

// removed forgets a broker that has ended, and keeps its log.
func (o *operation) removed(id int) error {
	return errors.Join(keepLog(o.cluster, id), o.cluster.Remove(id))
}
