package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/protocol"
)

const (
	lostRow = "lost-broker"
	// repairAfter is moves.repair_after where brokers are lost, and noticeLimit how much later the first replica must be on its way.
	repairAfter = 10 * time.Second
	noticeLimit = 5 * time.Second
	// remakeLimit is how long the repair of everything may take.
	remakeLimit = 3 * time.Minute
)

// losing kills a broker for good and does nothing about it: the others must make its replicas anew by themselves.
//
//	join -> even -> cargo -> SIGKILL -> repair_after -> moves -> every partition whole on living brokers
//	-> cargo read back, removed -> the lost one leaves -> retired -> directory removed -> even
//
// Counts, each behind its name: joined, lost, notice_ms (from the kill to the first move), repair_ms (from then until all is whole),
// repaired (replicas), repaired_bytes (of records in them), whole_ms (from the kill), and those of operation. Times are the longest.
type losing struct {
	operation
	cargo
}

func newLosing(o *Options) *losing {
	return &losing{operation: newOperation("lost_broker", o.Seed), cargo: cargo{bytes: int64(o.CargoMB) << 20}}
}

func (*losing) changesMembers() {}

func (l *losing) Inject(ctx context.Context, c *cluster.Cluster, _ []int) error {
	return l.begin(ctx, c, func(ctx context.Context) error {
		if err := l.join(ctx); err != nil {
			return err
		}
		if err := l.even(ctx); err != nil {
			return err
		}
		if err := l.fill(ctx, l.admin); err != nil {
			return err
		}
		id := l.any()
		if err := l.lose(ctx, id); err != nil {
			return err
		}
		if err := l.empty(ctx, l.admin, l.violation); err != nil {
			return err
		}
		if err := l.restate(ctx, id, protocol.BrokerLeaving); err != nil {
			return err
		}
		return errors.Join(l.retired(ctx, id), l.removed(id), l.even(ctx))
	})
}

// lose kills a broker and measures how the others make up for it.
func (l *losing) lose(ctx context.Context, id int) error {
	placed, err := l.replicasOn(ctx, id)
	if err != nil {
		return err
	}
	if len(placed) == 0 {
		return fmt.Errorf("broker %d has no replica to lose", id)
	}
	if err := l.cluster.Kill(ctx, id); err != nil {
		return err
	}
	killed := time.Now()
	l.count("lost", 1)
	err = l.within(ctx, repairAfter+noticeLimit, func(ctx context.Context) error {
		moves, err := l.admin.Admin().Moves(ctx)
		if err == nil && len(moves) == 0 {
			err = fmt.Errorf("broker %d is dead and no replica of it is made anew", id)
		}
		return err
	})
	if err != nil {
		return err
	}
	begun := time.Now()
	l.most("notice_ms", begun.Sub(killed).Milliseconds())
	if err := l.within(ctx, remakeLimit, func(ctx context.Context) error { return l.whole(ctx, id) }); err != nil {
		return err
	}
	l.most("repair_ms", time.Since(begun).Milliseconds())
	l.most("whole_ms", time.Since(killed).Milliseconds())
	l.count("repaired", int64(len(placed)))
	for name, n := range placed {
		if name.topic == cargoTopic {
			l.count("repaired_bytes", n*cargoRecord)
		}
	}
	return nil
}

// replicaOf names a partition of which a broker has one.
type replicaOf struct {
	topic string
	part  protocol.Partition
}

// replicasOn returns which replicas a broker has, and how many records are in each.
func (l *losing) replicasOn(ctx context.Context, id int) (map[replicaOf]int64, error) {
	all := map[replicaOf]int64{}
	for _, name := range []string{topic, cargoTopic} {
		d, err := l.admin.Admin().DescribeTopic(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, p := range d.Partitions {
			if slices.Contains(p.Replicas, protocol.BrokerID(id)) {
				all[replicaOf{name, p.Partition}] = int64(p.Next)
			}
		}
	}
	return all, nil
}

// whole returns an error while replicas move, or one is on a broker that is lost.
func (l *losing) whole(ctx context.Context, lost int) error {
	moves, err := l.admin.Admin().Moves(ctx)
	if err != nil {
		return err
	}
	if len(moves) > 0 {
		return fmt.Errorf("%d moves are under way: %+v", len(moves), moves[0])
	}
	left, err := l.replicasOn(ctx, lost)
	if err == nil && len(left) > 0 {
		err = fmt.Errorf("%d replicas are on broker %d, which is lost", len(left), lost)
	}
	return err
}
