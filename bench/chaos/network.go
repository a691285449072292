package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/netlab"
	"github.com/trunkline/trunkline/bench/observe"
)

const (
	// lossLimit is how long Prove waits until each way has lost a packet. Brokers ping each other 20 times a second.
	lossLimit = 5 * time.Second
	lossPoll  = 20 * time.Millisecond

	clientLink = "udp" // the protocol between clients and brokers
)

// network is the laboratory that all network faults of a run share: broker N is host N, the clients are on the Hub. The Hub's TCP,
// by which brokers are asked how they are, is never touched. It is used by the run's goroutine.
type network struct {
	lab *netlab.Lab // nil before setup and after close
}

// Isolate makes this program run in a network namespace of its own if one of the rows needs that, see netlab.Isolate. Run may be
// called where inside is true.
func Isolate(rows []string) (code int, inside bool, err error) {
	for _, name := range rows {
		at := slices.IndexFunc(Rows, func(r Row) bool { return r.Name == name })
		if at < 0 || !inNetwork(Rows[at].Fault) {
			continue
		}
		code, inside, err = netlab.Isolate()
		var reason *netlab.UnavailableError
		if errors.As(err, &reason) {
			return 0, true, nil // Run says it
		}
		return code, inside, err
	}
	return 0, true, nil
}

// networked is a fault that Run can inject only where Isolate says inside.
type networked interface{ isNetworked() }

func (*network) isNetworked() {}

func inNetwork(fault string) bool {
	_, ok := makers[fault](&Options{}, gear{}).(networked)
	return ok
}

func (n *network) available(fault string) error {
	for _, err := range []error{netlab.Available(), netlab.Isolated()} {
		if err != nil {
			return &UnavailableError{fault, err.Error()}
		}
	}
	return nil
}

func (n *network) setup(ctx context.Context, brokers int) (err error) {
	if n.lab == nil {
		n.lab, err = netlab.New(ctx, brokers)
	}
	return err
}

// shape places every broker on its host.
func (n *network) shape(spec *cluster.Spec) {
	spec.Places = make([]cluster.Place, spec.Brokers)
	for i := range spec.Places {
		spec.Places[i] = cluster.Place{Host: n.lab.Address(i + 1), Enter: n.lab.Enter(i + 1)}
	}
}

func (n *network) close() error {
	if n.lab == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpLimit)
	defer cancel()
	err := n.lab.Close(ctx)
	n.lab = nil
	return err
}

// cut is a fault of the network: packets are lost on some ways between brokers, or between brokers and clients. All processes
// go on.
type cut struct {
	harmless
	*network
	ways topology

	now    *netlab.Impairment
	before int64 // epochs begun when it was made
	lost   int64 // packets, of all that were healed
	epochs int64 // begun from Inject to Recover, of all
}

func (c *cut) Name() string       { return "cut" }
func (c *cut) Available() error   { return c.available(c.Name()) }
func (c *cut) Cleanup(bool) error { return c.close() }

func (c *cut) Setup(ctx context.Context, _ string, n int) error { return c.setup(ctx, n) }

func (c *cut) Shape(spec *cluster.Spec) error {
	c.shape(spec)
	return nil
}

// Counts returns how many packets were lost, and how many leaders began an epoch meanwhile.
func (c *cut) Counts() map[string]int64 {
	return map[string]int64{"packets_lost": c.lost, "epochs_begun": c.epochs}
}

func (c *cut) Inject(ctx context.Context, cl *cluster.Cluster, victims []int) (err error) {
	brokers := cl.Brokers()
	if c.before, err = total(ctx, brokers, epochsBegun); err != nil {
		return err
	}
	c.now, err = c.lab.Impair(ctx, c.ways(victims, len(brokers))...)
	return err
}

func (c *cut) Prove(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	return proveLoss(ctx, c.now)
}

func (c *cut) Recover(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	after, err := total(ctx, cl.Brokers(), epochsBegun)
	if err != nil {
		return err
	}
	n, err := heal(ctx, c.now)
	c.lost += n
	c.epochs += after - c.before
	return err
}

// Metrics of a broker.
const (
	epochsBegun = "trunkline_partition_claims_total"
	leads       = "trunkline_partition_leading"
	committed   = "trunkline_partition_commit_seconds" // a histogram: how many
)

// total returns a metric's sum over brokers. All of them run.
func total(ctx context.Context, brokers []cluster.Broker, metric string) (sum int64, err error) {
	for _, b := range brokers {
		values, err := observe.Scrape(ctx, b.Admin, metric)
		if err != nil {
			return 0, fmt.Errorf("broker %d: %w", b.ID, err)
		}
		sum += int64(values[metric])
	}
	return sum, nil
}

// proveLoss waits until a packet was lost on each way.
func proveLoss(ctx context.Context, im *netlab.Impairment) error {
	for end := time.Now().Add(lossLimit); ; {
		dropped, err := im.Dropped(ctx)
		if err != nil {
			return err
		}
		whole := slices.Index(dropped, 0)
		if whole < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no packet was lost within %v: %v", lossLimit, im.Ways()[whole])
		}
		if err := sleep(ctx, lossPoll); err != nil {
			return err
		}
	}
}

// heal ends an impairment and returns how many packets it has lost.
func heal(ctx context.Context, im *netlab.Impairment) (sum int64, err error) {
	if err := im.Heal(ctx); err != nil {
		return 0, err
	}
	dropped, err := im.Dropped(ctx)
	for _, n := range dropped {
		sum += n
	}
	return sum, err
}
