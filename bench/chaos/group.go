package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/verify"
)

const (
	groupPartitions = 6
	groupRate       = 500 // messages a second: what two consumers can do who wait for each commit
	groupWindow     = 256 // of one partition without an answer
	groupBatch      = 40  // messages that a consumer holds before it acknowledges them
	groupWork       = 500 // microseconds for each

	minMembers, maxMembers = 2, 5
	groupPause             = 1500 * time.Millisecond // between two events, at least, and as much again at most
	handoverLimit          = 3 * time.Second
	cursorEach             = 250 * time.Millisecond
	leaveLimit             = 15 * time.Second
)

// group kills consumers of a subscription in the middle of a batch, and lets consumers join and leave, every few seconds, while the
// subscription's topic is published to.
//
// Counts, each behind "group_": kills, mid_batch (partitions whose consumer was killed with messages delivered and not committed), joins, leaves, handovers,
// handover_ms (the longest time that a partition had no consumer), redelivered, acked, cursors_asked, broken.
type group struct {
	clients
	random   *rand.Rand
	books    *groupBooks
	producer *worker.Client
	members  []member // of the storm's goroutine, while it runs
	named    int      // names that were given
}

type member struct {
	*worker.Client
	name string
}

// newGroup returns the fault. What it does follows from the seed, when depends on the machine.
func newGroup(seed uint64) *group {
	return &group{clients: newClients("group", groupPartitions), random: rand.New(rand.NewPCG(seed, 32))}
}

// Inject starts producer, consumers and the storm.
func (g *group) Inject(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	acting, err := g.begin(ctx, cl, g.take)
	if err != nil {
		return err
	}
	g.books = newGroupBooks(g.partitions, g.ledger, g.violation)
	g.members = nil
	for len(g.members) < maxMembers-1 {
		if err := g.join(""); err != nil {
			return err
		}
	}
	t := g.task()
	t.Publish = &worker.Publish{Rate: groupRate, InFlight: groupWindow}
	if g.producer, err = g.crew.Start(t); err != nil {
		return err
	}
	if err := await(ctx, g.books.orphaned); err != nil {
		return err
	}
	g.acts.Go(func() { g.storm(acting) })
	g.acts.Go(func() { g.askCursors(acting) })
	return nil
}

// take notes a report of any client.
func (g *group) take(r worker.Report) {
	switch r.What {
	case worker.Sent:
		g.ledger.Sent(uint32(r.Partition), r.Seq)
	case worker.Acked:
		g.ledger.Answered(uint32(r.Partition), r.Seq, verify.Acked, r.Partition, r.Offset)
	case worker.Refused, worker.Unknown:
		g.ledger.Answered(uint32(r.Partition), r.Seq, outcomes[r.What], -1, -1)
		g.violation("client %d partition %d message %d: %s: %s", r.Client, r.Partition, r.Seq, r.What, r.Text)
	case worker.Failed:
		g.violation("client %d ended: %s", r.Client, r.Text)
	case worker.Gone:
		g.ended(r)
		g.books.take(r)
	default:
		g.books.take(r)
	}
}

var outcomes = map[worker.What]verify.Outcome{worker.Acked: verify.Acked, worker.Refused: verify.NotAppended, worker.Unknown: verify.Unknown}

// join starts a consumer, under a new name if none is given.
func (g *group) join(name string) error {
	if name == "" {
		g.named++
		name = fmt.Sprintf("consumer-%d", g.named)
	}
	t := g.task()
	t.Consume = &worker.Consume{Subscription: "group", Consumer: name, Batch: groupBatch, Pause: groupWork}
	c, err := g.crew.Start(t)
	if err == nil {
		g.members = append(g.members, member{c, name})
	}
	return err
}

// storm kills, joins and leaves until ctx ends.
func (g *group) storm(ctx context.Context) {
	for sleep(ctx, groupPause+time.Duration(g.random.Int64N(int64(groupPause)))) == nil {
		at := g.random.IntN(len(g.members))
		m := g.members[at]
		var err error
		switch n := g.random.IntN(4); {
		case n == 0 && len(g.members) < maxMembers:
			g.count("joins", 1)
			err = g.join("")
		case n == 1 && len(g.members) > minMembers:
			g.count("leaves", 1)
			g.members = append(g.members[:at], g.members[at+1:]...)
			leaving, cancel := context.WithTimeout(ctx, leaveLimit)
			err = m.Leave(leaving)
			cancel()
		default:
			g.count("kills", 1)
			g.members = append(g.members[:at], g.members[at+1:]...)
			err = errors.Join(m.Kill(), g.replace(ctx, m.name))
		}
		if err != nil && ctx.Err() == nil {
			g.violation("%v", err)
		}
	}
}

// replace starts another consumer for one that was killed, as a supervisor would: at once under its name, or later under another.
func (g *group) replace(ctx context.Context, name string) error {
	if g.random.IntN(2) == 0 {
		name = ""
		if sleep(ctx, time.Duration(g.random.Int64N(int64(time.Second)))) != nil {
			return nil
		}
	}
	return g.join(name)
}

// askCursors asks the leaders again and again what is committed.
func (g *group) askCursors(ctx context.Context) {
	for sleep(ctx, cursorEach) == nil {
		known := g.books.known()
		if states, err := g.admin.Admin().Subscriptions(ctx, g.topic); err == nil {
			g.books.cursors(states, known)
			g.count("cursors_asked", 1)
		}
	}
}

// Prove returns an error unless a consumer was killed in the middle of a batch, and its partition went to another one.
func (g *group) Prove(context.Context, *cluster.Cluster, []int) error {
	_, handovers := g.books.longest()
	if n := g.counted(); n["kills"] == 0 || g.books.killedMidBatch() == 0 || handovers == 0 || n["cursors_asked"] == 0 {
		return fmt.Errorf("no consumer was killed in the middle of a batch and replaced: %v, %d handovers", n, handovers)
	}
	return nil
}

// Recover ends the storm and judges.
func (g *group) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	g.still()
	err := g.producer.Leave(ctx)
	if aerr := await(ctx, g.books.orphaned); aerr != nil {
		g.violation("%v", aerr)
	}
	g.settle(ctx)
	worst, handovers := g.books.longest()
	for _, m := range g.members {
		err = errors.Join(err, m.Leave(ctx))
	}
	if worst > handoverLimit {
		g.violation("a partition had no consumer for %v, more than %v", worst.Round(time.Millisecond), handoverLimit)
	}
	g.count("handovers", int64(handovers))
	g.count("mid_batch", g.books.killedMidBatch())
	g.most("handover_ms", worst.Milliseconds())
	return errors.Join(err, g.finish(ctx))
}
