package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
	"github.com/trunkline/trunkline/client"
)

const (
	// churnTail is how long the churn goes on beside the victim that starts again.
	churnTail = 3 * time.Second
	// churnKept bounds the operations that are kept for the file that a failing run leaves.
	churnKept = 20_000
)

// churning kills brokers while topics are made, published to, read, deleted and made again under the same names.
//
//	Inject: churn begins, until a topic was deleted and records were published ; SIGKILL
//	hold:   churn without the victim
//	Recover: the victim starts, churn goes on, ends, its topics are deleted, and everything is judged
//
// Counts, each behind "churn_": kills, topic_create, topic_delete, topic_describe (that took effect), records_answered_ok,
// records_read, records_reads.
type churning struct {
	kill
	seed  uint64
	begun time.Time // of the first injection: all histories count from here

	injected int
	clients  []*client.Client // of the injection that is under way
	now      *churn           // nil: none is
	ids      *verify.Identities
	ops      []history.Op
	counts   map[string]int64
	broken   []string // at most maxTrouble
}

func newChurning(seed uint64) *churning {
	return &churning{seed: seed, ids: verify.NewIdentities(), counts: map[string]int64{}}
}

func (f *churning) Name() string { return "churn" }

func (f *churning) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	if f.injected == 0 {
		f.begun = time.Now()
	}
	f.injected++
	var workers []churner
	for range churners {
		cl, err := connectTo(ctx, c, "trunkline-chaos-churn")
		if err != nil {
			return err
		}
		f.clients = append(f.clients, cl)
		workers = append(workers, churnClient{cl, cl.Admin()})
	}
	prefix := fmt.Sprintf("churn-%d", f.injected)
	f.now = startChurn(context.WithoutCancel(ctx), workers, prefix, len(c.Brokers()), f.seed+uint64(f.injected), f.begun, f.ids)
	if err := await(ctx, f.now.underWay); err != nil {
		return err
	}
	f.counts["kills"] += int64(len(victims))
	return f.kill.Inject(ctx, c, victims)
}

func (f *churning) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	if err := f.kill.Recover(ctx, c, victims); err != nil {
		return err
	}
	if err := sleep(ctx, churnTail); err != nil {
		return err
	}
	f.now.stop()
	if err := f.now.clear(ctx, f.clients[0].Admin()); err != nil {
		return fmt.Errorf("delete the topics that are left: %w", err)
	}
	violations, counts, err := f.now.judge()
	f.note(violations, counts)
	f.ops = append(f.ops, f.now.history()...)
	f.ops = f.ops[max(0, len(f.ops)-churnKept):]
	f.now = nil
	return errors.Join(err, f.leave(ctx))
}

// note takes over what was found in one injection.
func (f *churning) note(violations []string, counts map[string]int64) {
	for name, n := range counts {
		f.counts[name] += n
	}
	for _, v := range violations {
		if len(f.broken) < maxTrouble {
			f.broken = append(f.broken, "churn: "+v)
		}
	}
}

func (f *churning) leave(ctx context.Context) error {
	var errs []error
	for _, c := range f.clients {
		errs = append(errs, c.Close(ctx))
	}
	f.clients = nil
	return errors.Join(errs...)
}

// Cleanup ends an injection that was interrupted. No broker runs.
func (f *churning) Cleanup(bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // there is nobody to wait for
	if f.now != nil {
		f.now.cancel()
	}
	err := f.leave(ctx) // what is under way ends with its client
	if f.now != nil {
		f.now.stop()
		f.ops = append(f.ops, f.now.history()...)
	}
	return err
}

// Counts says what was done, over all injections.
func (f *churning) Counts() map[string]int64 {
	out := map[string]int64{}
	for name, n := range f.counts {
		out["churn_"+name] = n
	}
	return out
}

// Violations says which promises were broken.
func (f *churning) Violations() []string {
	return append(append([]string(nil), f.broken...), f.ids.Findings().Examples...)
}

// History returns the operations on topics, the newest churnKept of them.
func (f *churning) History() []history.Op { return f.ops }

// underWay returns an error until a topic was deleted and something was published.
func (c *churn) underWay() error {
	done := map[history.Kind]int{}
	for _, o := range c.history() {
		if o.Class == history.OK {
			done[o.Kind]++
		}
	}
	counts := c.records.counted()
	if done[history.Delete] == 0 || counts["answered_ok"] == 0 {
		return fmt.Errorf("no topic was deleted yet, or nothing published: %v", done)
	}
	return nil
}

// churnClient is a client as a worker of the churn uses it.
type churnClient struct {
	c *client.Client
	*client.Admin
}

func (c churnClient) Publish(
	ctx context.Context, name string, values [][]byte, opened func(), answered func(int, client.Receipt, error),
) error {
	p, err := c.c.Producer(ctx, name, client.WithDeliveryTimeout(churnLimit))
	if err != nil {
		return err
	}
	opened()
	for i, v := range values {
		done := func(r client.Receipt, err error) { answered(i, r, err) }
		if err := p.Send(context.WithoutCancel(ctx), client.Record{Value: v}, done); err != nil {
			answered(i, client.Receipt{}, err)
		}
	}
	return p.Close(ctx)
}

func (c churnClient) Read(ctx context.Context, name string, each func(*client.Message)) error {
	r, err := c.c.Reader(ctx, name, client.StartAt(client.Earliest()), client.StopAtEnd())
	if err != nil {
		return err
	}
	defer func() { _ = r.Close(ctx) }() // nothing was written through it
	for {
		m, err := r.Receive(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		each(m)
	}
}
