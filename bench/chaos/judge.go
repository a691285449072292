package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	settleLimit  = 60 * time.Second // until every publish is answered and every replica holds the same
	drainPatient = 20 * time.Second // without any delivery while something is missing
	drainPoll    = 20 * time.Millisecond
	readLimit    = 3 * time.Minute // for one broker's replicas
)

// drain stops publishing on the healed cluster and waits until all is answered, delivered and on every replica.
func (r *run) drain(ctx context.Context) error {
	settling, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := r.load.settle(settling); err != nil {
		return fmt.Errorf("not every publish is answered %v after the last fault: %w", settleLimit, err)
	}
	r.awaitDelivery(ctx)
	settling, cancel = context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for {
		err := r.unequal(settling)
		if err == nil {
			return nil
		}
		if sleep(settling, drainPoll) != nil {
			return fmt.Errorf("replicas do not become equal within %v: %w", settleLimit, err)
		}
	}
}

// awaitDelivery waits until everything acknowledged is delivered. What is missing when nothing comes any more is lost.
func (r *run) awaitDelivery(ctx context.Context) {
	missing := func() (n int64) {
		for s := range r.opts.Subscriptions {
			n += r.load.ledger.Missing(s)
		}
		return n
	}
	last, since := missing(), time.Now()
	for last > 0 && time.Since(since) < drainPatient && sleep(ctx, drainPoll) == nil {
		if now := missing(); now != last {
			last, since = now, time.Now()
		}
	}
}

// unequal returns an error until every replica holds exactly what was delivered.
func (r *run) unequal(ctx context.Context) error {
	d, err := r.describe(ctx)
	if err != nil {
		return err
	}
	if err := allAnswer(d); err != nil {
		return err
	}
	for _, p := range d.Partitions {
		if len(p.Replicas) != r.opts.Replicas {
			return fmt.Errorf("partition %d has replicas on brokers %v, not %d", p.Partition, p.Replicas, r.opts.Replicas)
		}
		end := protocol.Offset(r.load.trail.End(int32(p.Partition)))
		for _, s := range p.States {
			if s.Next != end {
				return fmt.Errorf("partition %d: broker %d holds %d messages, delivered were %d", p.Partition, s.Broker, s.Next, end)
			}
		}
	}
	return nil
}

// readBack reads every replica of every broker. Each record is on as many of them as the topic has replicas.
func (r *run) readBack(ctx context.Context) error {
	for _, b := range r.cluster.Brokers() {
		n, err := r.readReplica(ctx, protocol.BrokerID(b.ID))
		if err != nil {
			return fmt.Errorf("read back from broker %d: %w", b.ID, err)
		}
		r.say("broker %d holds %d messages", b.ID, n)
		r.res.ReadBack += n
	}
	return nil
}

func (r *run) readReplica(ctx context.Context, b protocol.BrokerID) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	d, err := r.describe(ctx)
	if err != nil {
		return 0, err
	}
	placed := placedOn(d, b)
	if len(placed) == 0 {
		return 0, nil // a reader of no partition reads all
	}
	rd, err := r.admin.Reader(ctx, topic, client.StartAt(client.Earliest()), client.FromReplica(b), client.ReadPartitions(placed...), client.StopAtEnd())
	if err != nil {
		return 0, err
	}
	defer func() { _ = rd.Close(ctx) }() // nothing was written through it
	reading := r.load.trail.Replica(fmt.Sprintf("broker %d", b))
	for {
		m, err := rd.Receive(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		id, ok := payload.Decode(m.Value)
		if !ok {
			return 0, fmt.Errorf("partition %d offset %d: damaged", m.Partition, m.Offset)
		}
		reading.Record(int32(m.Partition), uint64(m.Offset), id)
	}
	if d, err = r.describe(ctx); err != nil {
		return 0, err
	}
	start, err := starts(d, b, placed)
	if err != nil {
		return 0, err
	}
	return reading.End(start), nil
}

// placedOn returns the partitions that have a replica on a broker.
func placedOn(d *client.TopicDescription, b protocol.BrokerID) (placed []protocol.Partition) {
	for _, p := range d.Partitions {
		if slices.Contains(p.Replicas, b) {
			placed = append(placed, p.Partition)
		}
	}
	return placed
}

// starts returns the first offset of each of the partitions, as one broker's replica says it.
func starts(d *client.TopicDescription, b protocol.BrokerID, placed []protocol.Partition) (map[int32]uint64, error) {
	out := map[int32]uint64{}
	for _, part := range placed {
		states := d.Partitions[part].States
		at := slices.IndexFunc(states, func(s client.ReplicaState) bool { return s.Broker == b && s.Err == nil })
		if at < 0 {
			return nil, fmt.Errorf("partition %d: broker %d does not say where its replica begins", part, b)
		}
		out[int32(part)] = uint64(states[at].Start)
	}
	return out, nil
}

// compare stops all brokers in order and compares their files.
func (r *run) compare(ctx context.Context) error {
	var ids []int
	for _, b := range r.cluster.Brokers() {
		ids = append(ids, b.ID)
	}
	if err := each(ids, func(id int) error { return r.cluster.Stop(ctx, id) }); err != nil {
		return err
	}
	var data []string
	for _, id := range ids {
		data = append(data, brokerData(r.cluster.Dir(), id))
	}
	var err error
	if r.res.Compared, err = compareReplicas(data, r.opts.Replicas); err != nil {
		return err
	}
	for _, d := range r.res.Compared.Differ {
		r.res.violation("replicas differ: %s", d)
	}
	if n := r.res.Compared.Partitions; n != r.opts.Partitions || r.res.Compared.Bytes == 0 {
		r.res.violation("%d partitions with %d equal bytes are on disk, not %d partitions", n, r.res.Compared.Bytes, r.opts.Partitions)
	}
	return nil
}
