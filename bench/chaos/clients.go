package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
)

// clients is what the faults that harm clients have in common. They have a topic of their own, whose clients are processes, and judge
// it by themselves; the victims, which are brokers, are left alone. Of a violation Counts says how often (NAME_broken), and Violations
// the first few in words.
//
// Each injection goes: Inject makes the topic and begins, Prove looks at what has happened so far, Recover ends it, waits until all is
// answered and delivered, judges, and removes the topic.
type clients struct {
	harmless
	tally
	command    []string // starts a client process
	partitions int
	retention  uint64 // bytes of a partition; 0: everything

	injected int // so far
	topic    string
	admin    *client.Client // nil: no injection is under way
	crew     *worker.Crew
	context  string
	ledger   *verify.Ledger // lane p is of partition p; one subscription
	stop     context.CancelFunc
	acts     sync.WaitGroup // what goes on between Inject and Recover
}

func newClients(name string, partitions int) clients {
	return clients{tally: newTally(name), partitions: partitions}
}

func (c *clients) Name() string { return c.name }

// Available finds the program that clients are.
func (c *clients) Available() error {
	self, err := os.Executable()
	if err != nil {
		return &UnavailableError{c.name, err.Error()}
	}
	c.command = []string{self, "chaos-client"}
	return nil
}

// ended notes the end of a client, which must be asked for or a SIGKILL.
func (c *clients) ended(r worker.Report) {
	if r.Text != "" && r.Text != "signal: killed" {
		c.violation("client %d ended by itself: %s", r.Client, r.Text)
	}
}

// begin makes a topic and a crew, whose reports on gets. The context that it returns ends with Recover or Cleanup: what was begun by
// Inject outlives Inject's own.
func (c *clients) begin(ctx context.Context, cl *cluster.Cluster, on func(worker.Report)) (context.Context, error) {
	c.injected++
	c.topic, c.context = fmt.Sprintf("%s-%d", c.name, c.injected), cl.Context()
	c.ledger = verify.NewLedger(c.partitions, 1)
	var err error
	if c.admin, err = connectTo(ctx, cl, "trunkline-chaos-"+c.name); err != nil {
		return nil, err
	}
	spec := client.TopicSpec{Partitions: c.partitions, Replicas: len(cl.Brokers())}
	spec.RetentionBytes = c.retention
	if _, err := c.admin.Admin().CreateTopic(ctx, c.topic, spec); err != nil {
		return nil, err
	}
	if err := c.awaitTopic(ctx); err != nil {
		return nil, err
	}
	if c.crew, err = worker.NewCrew(c.command, on); err != nil {
		return nil, err
	}
	acting, stop := context.WithCancel(context.WithoutCancel(ctx))
	c.stop = stop
	return acting, nil
}

func connectTo(ctx context.Context, cl *cluster.Cluster, name string) (*client.Client, error) {
	cf, err := client.LoadContext(cl.Context())
	if err != nil {
		return nil, err
	}
	opts, err := cf.Options()
	if err != nil {
		return nil, err
	}
	return client.Connect(ctx, cf.Brokers, append(opts, client.WithName(name))...)
}

// awaitTopic waits until every broker knows the topic: clients begin at any of them.
func (c *clients) awaitTopic(ctx context.Context) error {
	for {
		d, err := c.admin.Admin().DescribeTopic(ctx, c.topic)
		if err == nil {
			err = allAnswer(d)
		}
		if err == nil {
			return nil
		}
		if sleep(ctx, recoverPoll) != nil {
			return fmt.Errorf("topic %s: %w", c.topic, err)
		}
	}
}

func (c *clients) task() worker.Task { return worker.Task{Context: c.context, Topic: c.topic} }

// still ends what goes on between Inject and Recover.
func (c *clients) still() {
	if c.stop != nil {
		c.stop()
	}
	c.acts.Wait()
}

// settle waits until everything acknowledged is delivered, or nothing comes any more, and takes over what the ledger found.
func (c *clients) settle(ctx context.Context) {
	last, since := c.ledger.Missing(0), time.Now()
	for last > 0 && time.Since(since) < drainPatient && sleep(ctx, drainPoll) == nil {
		if now := c.ledger.Missing(0); now != last {
			last, since = now, time.Now()
		}
	}
	if last > 0 && ctx.Err() != nil {
		c.violation("%d acknowledged messages were still on their way when there was no more time", last)
		return
	}
	t := c.ledger.Tally()
	for _, e := range t.Examples {
		c.violation("%s", e)
	}
	if n := t.Lost + t.Duplicated + t.Reordered + t.Phantom + t.Unanswered; n > 0 {
		c.violation("lost %d, duplicated %d, reordered %d, phantom %d, without an answer %d", t.Lost, t.Duplicated, t.Reordered, t.Phantom, t.Unanswered)
	}
	if t.Acked == 0 {
		c.violation("nothing was acknowledged")
	}
	c.count("acked", t.Acked)
	c.count("redelivered", t.Redelivered)
}

// finish removes the topic and ends everything that belongs to one injection.
func (c *clients) finish(ctx context.Context) error {
	if c.admin == nil {
		return nil
	}
	return errors.Join(c.admin.Admin().DeleteTopic(ctx, c.topic), c.end(ctx))
}

// end kills what is left of the clients. The topic stays.
func (c *clients) end(ctx context.Context) error {
	c.still()
	var errs []error
	if c.crew != nil {
		errs = append(errs, c.crew.Close())
	}
	if c.admin != nil {
		errs = append(errs, c.admin.Close(ctx))
	}
	c.crew, c.admin, c.stop = nil, nil, nil
	return errors.Join(errs...)
}

// Cleanup ends what an injection left that was interrupted. No broker runs.
func (c *clients) Cleanup(bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // there is nobody to wait for
	return c.end(ctx)
}
