package chaos

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/proxy"
)

// fronted is a fault of the network between clients and brokers or between brokers, made by the fronts.
//
// Its counters have its name before those of the fronts, with "_" for "-", and count from Inject to Prove; NAME_claims is how often
// a leader began anywhere since the first Inject.
type fronted struct {
	harmless
	*fronts
	name   string
	inject func(f *fronts, victims []int) error
	effect string // a counter of the fronts that must grow while it lasts

	times  int
	before map[string]int64 // at Inject
	sum    map[string]int64
	claims float64 // at the first Inject
}

// networkFaults are the faults that fronts can make.
func networkFaults(f *fronts) map[string]Fault {
	all := map[string]Fault{}
	for _, n := range []fronted{
		{name: "raft-delay", effect: "tcp_to_target_delayed", inject: everyRaft(proxy.TCPSettings{Ways: bothWays(proxy.Way{Delay: 200 * time.Millisecond, Jitter: 50 * time.Millisecond})})},
		{name: "raft-rate", effect: "tcp_to_target_paced", inject: everyRaft(proxy.TCPSettings{BytesPerSecond: 10_000_000 / 8})},
		{name: "raft-cut", effect: "tcp_cut", inject: cutRaft},
		{name: "raft-link-delay", effect: "tcp_to_target_delayed", inject: onLink(proxy.Way{Delay: 100 * time.Millisecond}, proxy.Way{Delay: 100 * time.Millisecond})},
		{name: "raft-link-stall", effect: "tcp_to_target_stalled", inject: onLink(proxy.Way{Stall: true}, proxy.Way{})},
		{name: "client-loss-1", effect: "udp_to_target_lost", inject: roughClients(0.01)},
		{name: "client-loss-5", effect: "udp_to_target_lost", inject: roughClients(0.05)},
		{name: "client-loss-20", effect: "udp_to_target_lost", inject: roughClients(0.20)},
		{name: "nat-port", effect: "udp_rebound", inject: func(f *fronts, _ []int) error { return f.rebind(0) }},
		{name: "silent", effect: "udp_to_target_blackholed", inject: silence},
	} {
		n.fronts = f
		all[n.name] = &n
	}
	address := &fronted{fronts: f, name: "nat-address", effect: "udp_rebound"}
	address.inject = func(f *fronts, _ []int) error { return f.rebind(2 + address.times%100) }
	all[address.name] = address
	return all
}

func bothWays(w proxy.Way) proxy.Ways { return proxy.Ways{ToTarget: w, ToClient: w} }

// everyRaft changes all connections between brokers.
func everyRaft(s proxy.TCPSettings) func(*fronts, []int) error {
	return func(f *fronts, _ []int) error {
		var errs []error
		for _, t := range f.tcp {
			errs = append(errs, t.Set(s))
		}
		return errors.Join(errs...)
	}
}

// cutRaft resets all connections of the victims with other brokers; they may dial again at once.
func cutRaft(f *fronts, victims []int) error {
	for _, v := range victims {
		for id, t := range f.tcp {
			if id == v {
				t.Cut()
			} else {
				t.Cut(v)
			}
		}
	}
	return nil
}

// onLink changes the connections between each victim and the next broker: there is from the victim.
func onLink(there, back proxy.Way) func(*fronts, []int) error {
	return func(f *fronts, victims []int) error {
		for _, v := range victims {
			if err := f.between(v, v%len(f.tcp)+1, there, back); err != nil {
				return err
			}
		}
		return nil
	}
}

// roughClients loses a share of the datagrams of all clients, doubles 5 %, reorders 10 % and damages 1 %, in both directions.
func roughClients(loss float64) func(*fronts, []int) error {
	road := proxy.Road{Loss: loss, Duplicate: 0.05, Reorder: 0.1, Corrupt: 0.01}
	return func(f *fronts, _ []int) error {
		for _, u := range f.udp {
			u.Set(proxy.UDPSettings{ToTarget: road, ToClient: road})
		}
		return nil
	}
}

func silence(f *fronts, victims []int) error {
	for _, v := range victims {
		if err := f.silence(v); err != nil {
			return err
		}
	}
	return nil
}

func (n *fronted) Name() string { return n.name }

// Shape puts the fronts before the brokers.
func (n *fronted) Shape(spec *cluster.Spec) error {
	n.shape(spec)
	return nil
}

func (n *fronted) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	if n.sum == nil {
		n.sum = map[string]int64{}
		var err error
		if n.claims, err = claims(ctx, c); err != nil {
			return err
		}
	}
	n.before = n.counts()
	n.times++
	return n.inject(n.fronts, victims)
}

func (n *fronted) Prove(ctx context.Context, c *cluster.Cluster, _ []int) error {
	now := n.counts()
	for name, was := range n.before {
		n.sum[n.key(name)] += now[name] - was
	}
	begun, err := claims(ctx, c)
	if err != nil {
		return err
	}
	n.sum[n.key("claims")] = int64(begun - n.claims)
	if now[n.effect] == n.before[n.effect] {
		return fmt.Errorf("%s did nothing: %s stayed at %d", n.name, n.effect, now[n.effect])
	}
	return nil
}

func (n *fronted) key(name string) string { return strings.ReplaceAll(n.name, "-", "_") + "_" + name }

func (n *fronted) Recover(context.Context, *cluster.Cluster, []int) error { return n.heal() }

func (n *fronted) Cleanup(bool) error { return n.close() }

// Counts returns what the fronts did while this fault lasted.
func (n *fronted) Counts() map[string]int64 { return n.sum }

// claims returns how often brokers that run have begun to lead a partition.
func claims(ctx context.Context, c *cluster.Cluster) (total float64, err error) {
	const name = "trunkline_partition_claims_total"
	for _, b := range c.Brokers() {
		if b.PID == 0 {
			continue
		}
		values, err := observe.Scrape(ctx, b.Admin, name)
		if err != nil {
			return 0, fmt.Errorf("broker %d: %w", b.ID, err)
		}
		total += values[name]
	}
	return total, nil
}
