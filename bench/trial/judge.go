package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// readBack bounds reading one broker's replicas.
const readBack = 2 * time.Minute

// Verdict is what was found.
type Verdict struct {
	Published    int         `json:"published"`
	Acked        int         `json:"acked"`
	Delivered    int         `json:"delivered"`
	Lost         int         `json:"lost"`
	Duplicated   int         `json:"duplicated"`
	Reordered    int         `json:"reordered"`
	LeaderKills  int         `json:"leader_kills"`
	PublishPause pause.Stats `json:"publish_pause_ms"`

	DeliveryPause pause.Stats `json:"delivery_pause_ms"`
	ReturnPause   pause.Stats `json:"return_pause_ms"` // longest publish pause of any partition while a victim came back
	LeaderChanges int         `json:"leader_changes"`
	Failed        int         `json:"failed"`   // publishes answered with an error
	Phantom       int         `json:"phantom"`  // records that were never sent or were refused
	Diverged      int         `json:"diverged"` // replicas that differ
}

// OK reports whether every promise held.
func (v *Verdict) OK() bool {
	return v.Lost+v.Duplicated+v.Reordered+v.Phantom+v.Diverged == 0 && v.Acked == v.Published && v.Acked > 0
}

// Judge ends publishing, reads everything back and compares it with what senders and consumers were told. An error means that this could
// not be done; whether the promises held is in the Verdict.
func (t *Trial) Judge(ctx context.Context, kills []Kill) (*Verdict, error) {
	if err := t.pub.stop(ctx); err != nil {
		return nil, errors.Join(err, t.sub.stop(ctx))
	}
	ends, err := t.awaitQuiet(ctx)
	if err != nil {
		return nil, errors.Join(err, t.sub.stop(ctx))
	}
	t.awaitDelivery(ctx, ends)
	if err := errors.Join(t.sub.stop(ctx), t.sub.failure()); err != nil {
		return nil, fmt.Errorf("subscriber: %w", err)
	}
	var names []string
	var replicas []verify.Replica
	for _, b := range t.cluster.Brokers() {
		rep, n, err := t.readReplica(ctx, protocol.BrokerID(b.ID))
		if err != nil {
			return nil, fmt.Errorf("read back from broker %d: %w", b.ID, err)
		}
		t.opts.Say("broker %d holds %d records", b.ID, n)
		names = append(names, fmt.Sprintf("broker %d", b.ID))
		replicas = append(replicas, rep)
	}
	stored := verify.Replicas(verify.History{t.pub.history}, names, replicas)
	delivered := verify.Delivery(t.sub.delivered, ends)
	for _, e := range append(stored.Examples, delivered.Examples...) {
		t.opts.Say("VIOLATION: %s", e)
	}
	if t.pub.err != nil {
		t.opts.Say("first publish that failed: %v", t.pub.err)
	}
	return t.verdict(kills, stored, delivered), nil
}

func (t *Trial) verdict(kills []Kill, stored, delivered *verify.Report) *Verdict {
	var publish, delivery, back []time.Duration
	every := make([]int32, t.opts.Partitions)
	for i := range every {
		every[i] = int32(i)
	}
	for _, k := range kills {
		back = append(back, t.pub.pauses.Longest(every, k.back, k.recovered))
		publish = append(publish, t.pub.pauses.Longest(k.Partitions, k.at, k.end()))
		delivery = append(delivery, t.sub.pauses.Longest(k.Partitions, k.at, k.end()))
	}
	v := &Verdict{
		Published: len(t.pub.history), Acked: t.pub.ackedN, Delivered: t.sub.count, Failed: t.pub.failed,
		Lost: stored.Lost + delivered.Lost, Duplicated: stored.Duplicated + delivered.Duplicated,
		Reordered: stored.Reordered + delivered.Reordered, Phantom: stored.Phantom, Diverged: stored.Diverged + stored.Gaps,
		LeaderKills: len(kills), PublishPause: pause.Of(publish), DeliveryPause: pause.Of(delivery), ReturnPause: pause.Of(back),
	}
	for p := range t.opts.Partitions {
		_, epoch := t.client.Leader(t.opts.Topic, protocol.Partition(p))
		v.LeaderChanges += int(epoch) - 1
	}
	return v
}

// awaitQuiet waits until all replicas hold the same and returns the ends of the partitions.
func (t *Trial) awaitQuiet(ctx context.Context) (map[int32]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	for {
		ends, err := t.ends(ctx)
		if err == nil {
			return ends, nil
		}
		if serr := sleep(ctx, backOrder*time.Millisecond); serr != nil {
			return nil, fmt.Errorf("replicas do not become equal: %w: %w", serr, err)
		}
	}
}

func (t *Trial) ends(ctx context.Context) (map[int32]uint64, error) {
	d, err := t.describe(ctx)
	if err != nil {
		return nil, err
	}
	ends := map[int32]uint64{}
	for _, p := range d.Partitions {
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
func (t *Trial) awaitDelivery(ctx context.Context, ends map[int32]uint64) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	total := 0
	for _, end := range ends {
		total += int(end)
	}
	for t.sub.received() < total && sleep(ctx, 20*time.Millisecond) == nil {
	}
}

func (t *Trial) readReplica(ctx context.Context, b protocol.BrokerID) (verify.Replica, int, error) {
	ctx, cancel := context.WithTimeout(ctx, readBack)
	defer cancel()
	rd, err := t.client.Reader(ctx, t.opts.Topic, client.StartAt(client.Earliest()), client.FromReplica(b), client.StopAtEnd())
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
