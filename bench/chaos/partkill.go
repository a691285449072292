package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/netlab"
)

const (
	buildUp    = 2 * time.Second  // during which a majority acknowledges without the one that is cut off
	formLimit  = 30 * time.Second // until the majority without the one that has everything leads all partitions
	formSettle = 2 * time.Second  // for which it then serves
	formPoll   = 100 * time.Millisecond
)

// partKill is how Jepsen made NATS JetStream lose acknowledged records (analysis of 2.12.1): a power cut in the overlap of two
// majorities.
//
//	A | B+C   A, the victim, is cut off; B and C acknowledge
//	A | C     the power is taken from B, which keeps what it has synced
//	A+B | C   B comes back and A is healed, while C, which has everything, is cut off: A and B are a majority
//	A+B+C     all is healed
//
// If B had acknowledged what it had not synced, A and B could go on without it.
type partKill struct {
	harmless
	*network
	power      *powerCut
	partitions int

	brokers int
	now     *netlab.Impairment
	lost    int64 // packets
	formed  int64 // majorities of A and B that committed
}

func (p *partKill) Name() string { return "partkill" }

func (p *partKill) Available() error {
	return errors.Join(p.available(p.Name()), p.power.Available())
}

func (p *partKill) Setup(ctx context.Context, dir string, n int) error {
	p.brokers = n
	return errors.Join(p.setup(ctx, n), p.power.Setup(ctx, dir, n))
}

func (p *partKill) Shape(spec *cluster.Spec) error {
	p.shape(spec)
	return nil
}

// sides returns the brokers that are cut off first, the victim among them, those that lose power, and those that are cut off then:
// a and c are minorities of the same size, b is what any two majorities without them have in common.
func (p *partKill) sides(victims []int) (a, b, c []int) {
	minority := (p.brokers - 1) / 2
	ids := everyone(p.brokers)
	ids = slices.Concat(ids[victims[0]-1:], ids[:victims[0]-1])
	return ids[:minority], ids[minority : p.brokers-minority], ids[p.brokers-minority:]
}

func (p *partKill) Inject(ctx context.Context, c *cluster.Cluster, victims []int) (err error) {
	a, b, _ := p.sides(victims)
	if p.now, err = p.lab.Impair(ctx, netlab.Both(a, others(a, p.brokers))...); err != nil {
		return err
	}
	if err := sleep(ctx, buildUp); err != nil {
		return err
	}
	return p.power.Inject(ctx, c, b)
}

func (p *partKill) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	_, b, _ := p.sides(victims)
	return errors.Join(proveLoss(ctx, p.now), p.power.Prove(ctx, c, b))
}

func (p *partKill) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	_, b, rest := p.sides(victims)
	first := p.now
	var err error
	// In this order, and not the other way round: for a moment all are apart, at no moment are all together.
	if p.now, err = p.lab.Impair(ctx, netlab.Both(rest, others(rest, p.brokers))...); err != nil {
		return err
	}
	n, err := heal(ctx, first)
	p.lost += n
	if err != nil {
		return err
	}
	if err := p.power.Recover(ctx, c, b); err != nil {
		return err
	}
	if err := p.form(ctx, c, others(rest, p.brokers)); err != nil {
		return err
	}
	if err := proveLoss(ctx, p.now); err != nil {
		return err
	}
	n, err = heal(ctx, p.now)
	p.lost += n
	return err
}

// form waits until a majority leads every partition and has committed. It led none before: one part of it was cut off, the other
// had no power.
func (p *partKill) form(ctx context.Context, c *cluster.Cluster, ids []int) error {
	ctx, cancel := context.WithTimeout(ctx, formLimit)
	defer cancel()
	if err := each(ids, func(id int) error { return c.WaitReady(ctx, id) }); err != nil {
		return err
	}
	var majority []cluster.Broker
	for _, b := range c.Brokers() {
		if slices.Contains(ids, b.ID) {
			majority = append(majority, b)
		}
	}
	for {
		led, err := total(ctx, majority, leads)
		if err != nil {
			return err
		}
		if led == int64(p.partitions) {
			break
		}
		if sleep(ctx, formPoll) != nil {
			return fmt.Errorf("after %v brokers %v lead %d of %d partitions", formLimit, ids, led, p.partitions)
		}
	}
	before, err := total(ctx, majority, committed)
	if err != nil {
		return err
	}
	if err := sleep(ctx, formSettle); err != nil {
		return err
	}
	after, err := total(ctx, majority, committed)
	if err != nil {
		return err
	}
	if after == before {
		return fmt.Errorf("brokers %v lead all partitions and commit nothing", ids)
	}
	p.formed++
	return nil
}

func (p *partKill) Counts() map[string]int64 {
	return map[string]int64{"packets_lost": p.lost, "majorities_formed": p.formed}
}

func (p *partKill) Cleanup(bool) error { return p.close() }
