package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// readBack bounds reading one broker's replicas.
const readBack = 2 * time.Minute

// judge reads everything back and compares it with what senders and consumers were told.
func (r *run) judge(ctx context.Context, kills []kill) (*Result, error) {
	ends, err := r.awaitQuiet(ctx)
	if err != nil {
		return nil, errors.Join(err, r.sub.stop(ctx))
	}
	r.awaitDelivery(ctx, ends)
	if err := errors.Join(r.sub.stop(ctx), r.sub.failure()); err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	var names []string
	var replicas []verify.Replica
	for _, b := range r.cluster.Brokers() {
		rep, n, err := r.readReplica(ctx, protocol.BrokerID(b.ID))
		if err != nil {
			return nil, fmt.Errorf("read back from broker %d: %w", b.ID, err)
		}
		r.say("broker %d holds %d records", b.ID, n)
		names = append(names, fmt.Sprintf("broker %d", b.ID))
		replicas = append(replicas, rep)
	}
	stored := verify.Replicas(verify.History{r.pub.history}, names, replicas)
	delivered := verify.Delivery(r.sub.delivered, ends)
	for _, e := range append(stored.Examples, delivered.Examples...) {
		r.say("VIOLATION: %s", e)
	}
	if r.pub.err != nil {
		r.say("first publish that failed: %v", r.pub.err)
	}
	return r.result(kills, stored, delivered), nil
}

func (r *run) result(kills []kill, stored, delivered *verify.Report) *Result {
	var publish, delivery, back []time.Duration
	every := make([]int32, r.opts.Partitions)
	for i := range every {
		every[i] = int32(i)
	}
	for _, k := range kills {
		back = append(back, r.pub.pauses.around(every, k.back, k.recovered))
		publish = append(publish, r.pub.pauses.around(k.partitions, k.at, k.end()))
		delivery = append(delivery, r.sub.pauses.around(k.partitions, k.at, k.end()))
	}
	res := &Result{
		Published: len(r.pub.history), Acked: r.pub.ackedN, Delivered: r.sub.count, Failed: r.pub.failed,
		Lost: stored.Lost + delivered.Lost, Duplicated: stored.Duplicated + delivered.Duplicated,
		Reordered: stored.Reordered + delivered.Reordered, Phantom: stored.Phantom, Diverged: stored.Diverged + stored.Gaps,
		LeaderKills: len(kills), PublishPause: stats(publish), DeliveryPause: stats(delivery), ReturnPause: stats(back),
		Seconds: time.Since(r.start).Seconds(), Hang: r.opts.Hang,
	}
	for p := range r.opts.Partitions {
		_, epoch := r.client.Leader(topic, protocol.Partition(p))
		res.LeaderChanges += int(epoch) - 1
	}
	return res
}

// awaitQuiet waits until all replicas hold the same and returns the ends of the partitions.
func (r *run) awaitQuiet(ctx context.Context) (map[int32]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	for {
		ends, err := r.ends(ctx)
		if err == nil {
			return ends, nil
		}
		if serr := sleep(ctx, backOrder*time.Millisecond); serr != nil {
			return nil, fmt.Errorf("replicas do not become equal: %w: %w", serr, err)
		}
	}
}

func (r *run) ends(ctx context.Context) (map[int32]uint64, error) {
	t, err := r.describe(ctx)
	if err != nil {
		return nil, err
	}
	ends := map[int32]uint64{}
	for _, p := range t.Partitions {
		ends[int32(p.Partition)] = uint64(p.Next)
		for _, s := range p.States {
			if s.Err != nil || s.Next != p.Next {
				return nil, fmt.Errorf("partition %d: broker %d holds %d of %d (%w)", p.Partition, s.Broker, s.Next, p.Next, s.Err)
			}
		}
	}
	return ends, nil
}

// awaitDelivery waits until the subscriber was given everything, at most a while: what is missing then is lost.
func (r *run) awaitDelivery(ctx context.Context, ends map[int32]uint64) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	total := 0
	for _, end := range ends {
		total += int(end)
	}
	for r.sub.received() < total && sleep(ctx, 20*time.Millisecond) == nil {
	}
}

func (r *run) readReplica(ctx context.Context, b protocol.BrokerID) (verify.Replica, int, error) {
	ctx, cancel := context.WithTimeout(ctx, readBack)
	defer cancel()
	rd, err := r.client.Reader(ctx, topic, client.StartAt(client.Earliest()), client.FromReplica(b), client.StopAtEnd())
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = rd.Close(ctx) }() // nothing was written through it
	rep, n := verify.Replica{}, 0
	for {
		m, err := rd.Receive(ctx)
		if errors.Is(err, io.EOF) {
			return rep, n, nil
		}
		if err != nil {
			return nil, n, err
		}
		e, err := entry(m)
		if err != nil {
			return nil, n, err
		}
		part := int32(m.Partition)
		rep[part] = append(rep[part], e)
		n++
	}
}
