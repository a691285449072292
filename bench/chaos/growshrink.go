package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/protocol"
)

// betweenKills and everyTen are times from the kill of a leader to the next one, if it has recovered by then; downFor is how long it is
// away.
var (
	betweenKills = Span{6 * time.Second, 8 * time.Second}
	everyTen     = Span{10 * time.Second, 10*time.Second + time.Millisecond}
	downFor      = Span{0, 800 * time.Millisecond}
)

// growShrink lets brokers join, waits until they have their share of the replicas, and decommissions as many, founders or some that joined.
//
//	join, each -> even -> rest -> each: decommission -> retired -> process ends by itself, and says why -> directory removed -> even
//	|- kills of leaders -|             |- and again, if asked for -|
//
// Counts, each behind its name: joined, left, founders_left, kills, join_ms (of all) and leave_ms (the longest of one), and those of
// operation.
type growShrink struct {
	operation
	by    int  // brokers that join
	kills Span // from one to the next; zero: none
	first int  // brokers with which the cluster began
	rest  func(context.Context) error

	killed time.Time // when a leader was killed last
}

func newGrowShrink(name string, seed uint64, by int, kills Span) *growShrink {
	return &growShrink{operation: newOperation(name, seed), by: by, kills: kills, rest: func(context.Context) error { return nil }}
}

func (g *growShrink) restBy(rest func(context.Context) error) { g.rest = rest }

func (*growShrink) changesMembers() {}

func (g *growShrink) Setup(_ context.Context, _ string, n int) error {
	g.first = n
	return nil
}

func (g *growShrink) Inject(ctx context.Context, c *cluster.Cluster, _ []int) error {
	return g.begin(ctx, c, func(ctx context.Context) error {
		if err := g.beside(ctx, g.grow); err != nil {
			return err
		}
		if err := g.rest(ctx); err != nil {
			return err
		}
		for range g.by {
			id := g.any()
			if err := g.beside(ctx, func(ctx context.Context) error { return g.retire(ctx, id) }); err != nil {
				return err
			}
			if err := g.leave(ctx, id); err != nil {
				return err
			}
		}
		return nil
	})
}

// beside does something while leaders are killed, if that is asked for.
func (g *growShrink) beside(ctx context.Context, do func(context.Context) error) error {
	if g.kills == (Span{}) {
		return do(ctx)
	}
	killing, still := context.WithCancel(ctx)
	defer still()
	killed := make(chan error, 1)
	random := rand.New(rand.NewPCG(g.random.Uint64(), 1))
	go func() { killed <- g.killLeaders(ctx, killing, random) }()
	err := do(ctx)
	still()
	return errors.Join(err, <-killed)
}

// grow lets brokers join, one after the other, and waits until all have their share.
func (g *growShrink) grow(ctx context.Context) error {
	begun := time.Now()
	for range g.by {
		if err := g.join(ctx); err != nil {
			return err
		}
	}
	err := g.even(ctx)
	g.most("join_ms", time.Since(begun).Milliseconds())
	return err
}

// retire decommissions a broker.
func (g *growShrink) retire(ctx context.Context, id int) error {
	begun := time.Now()
	if err := g.restate(ctx, id, protocol.BrokerLeaving); err != nil {
		return err
	}
	err := g.retired(ctx, id)
	g.most("leave_ms", time.Since(begun).Milliseconds())
	return err
}

// farewell is what a broker says that was retired, while it ran or when it started.
var farewell = regexp.MustCompile(`was decommissioned|was retired`)

// leave waits until the process of a retired broker has ended by itself, removes it and waits until all is even.
func (g *growShrink) leave(ctx context.Context, id int) error {
	err := g.within(ctx, exitLimit, func(context.Context) error {
		if b, err := g.cluster.Broker(id); err != nil || b.PID != 0 {
			return errors.Join(err, fmt.Errorf("broker %d (pid %d) was retired and runs", id, b.PID))
		}
		state, err := g.cluster.LastExit(id)
		if err == nil && (!state.Exited() || state.ExitCode() == 0) {
			err = fmt.Errorf("broker %d ended with %v, not by itself with a code", id, state)
		}
		return err
	})
	if err != nil {
		return err
	}
	text, err := os.ReadFile(g.cluster.Log(id))
	if err != nil {
		return err
	}
	if !farewell.Match(text) {
		g.violation("broker %d was retired and ended, and its log does not say why: %s", id, g.cluster.Log(id))
	}
	if err := g.removed(id); err != nil {
		return err
	}
	g.count("left", 1)
	if id <= g.first {
		g.count("founders_left", 1)
	}
	return g.even(ctx)
}

// killLeaders kills the leader of a partition again and again, the first at once, unless one was killed a moment ago, and each when the one
// before has caught up, until killing ends. The brokers run then.
func (g *growShrink) killLeaders(ctx, killing context.Context, random *rand.Rand) error {
	for sleep(killing, g.kills.draw(random)-time.Since(g.killed)) == nil {
		g.killed = time.Now()
		d, err := g.admin.Admin().DescribeTopic(ctx, topic)
		if err != nil {
			return err
		}
		id := int(d.Partitions[random.IntN(len(d.Partitions))].Leader)
		if id == 0 {
			continue
		}
		if err := g.killOne(ctx, id, downFor.draw(random)); err != nil {
			if b, serr := g.status(ctx, id); b != nil || serr != nil { // else it was retired meanwhile
				return errors.Join(err, serr)
			}
		}
	}
	return ctx.Err()
}

// killOne kills a broker, starts it after some time and waits until it has caught up.
func (g *growShrink) killOne(ctx context.Context, id int, down time.Duration) error {
	if err := g.cluster.Kill(ctx, id); err != nil {
		return err
	}
	g.count("kills", 1)
	if err := sleep(ctx, down); err != nil {
		return err
	}
	if err := g.cluster.Spawn(id); err != nil {
		return err
	}
	if err := g.cluster.WaitReady(ctx, id); err != nil {
		return err
	}
	return g.caughtUp(ctx)
}
