package archive

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// planLimit bounds how long is waited for a leader of every partition.
	planLimit = 30 * time.Second
	// retryAfter is the pause between two attempts to ask a cluster that is not whole.
	retryAfter = 200 * time.Millisecond
)

// plan fixes what is to be exported.
func plan(ctx context.Context, c *client.Client, topic string, o ExportOptions) (*Manifest, error) {
	return insist(ctx, func(ctx context.Context) (*Manifest, error) { return tryPlan(ctx, c, topic, o) })
}

// insist asks again as long as brokers or leaders are missing, at most for planLimit.
func insist[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, planLimit)
	defer cancel()
	for {
		v, err := ask(ctx)
		if err == nil || lasting(err) {
			return v, err
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return v, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// lasting reports whether asking again is useless.
func lasting(err error) bool {
	var answer *protocol.Error
	return errors.Is(err, client.ErrClosed) || (errors.As(err, &answer) && !answer.Code.Retryable())
}

func tryPlan(ctx context.Context, c *client.Client, topic string, o ExportOptions) (*Manifest, error) {
	m := &Manifest{ID: fmt.Sprintf("%016x", rand.Uint64()), Begun: time.Now().UTC().Truncate(time.Second)}
	a := c.Admin()
	cursors, err := a.Subscriptions(ctx, topic) // before the ends, so that none is ahead of the records
	if err != nil && (!o.Salvage || lasting(err)) {
		return nil, err
	}
	m.CursorsLost = err != nil
	t, err := a.DescribeTopic(ctx, topic)
	if err != nil {
		return nil, err
	}
	m.Topic = shapeOf(&client.Topic{
		ID: t.ID, Name: t.Name, Config: t.Config, Replicas: t.Replicas, Partitions: make([]client.TopicPartition, len(t.Partitions)),
	})
	if m.Cluster, err = clusterName(ctx, a); err != nil {
		return nil, err
	}
	for i := range t.Partitions {
		d := &t.Partitions[i]
		if len(o.Partitions) > 0 && !slices.Contains(o.Partitions, d.Partition) {
			continue
		}
		p, err := extent(d, o.Salvage)
		if err != nil {
			return nil, err
		}
		if until, ok := o.Until[p.Partition]; ok {
			if until > p.End || until < p.Start {
				return nil, protocol.Errorf(protocol.CodeOffsetOutOfRange,
					"partition %d has the offsets %d to %d, it cannot be exported until %d", p.Partition, p.Start, p.End, until)
			}
			p.End = until
		}
		m.Partitions = append(m.Partitions, p)
	}
	for _, s := range cursors {
		if slices.ContainsFunc(m.Partitions, func(p Partition) bool { return p.Partition == s.Partition }) {
			m.Subscriptions = append(m.Subscriptions, Cursor{Subscription: s.Subscription, Partition: s.Partition, Offset: s.Cursor})
		}
	}
	return m, m.asked(o)
}

// asked refuses partitions that the topic does not have.
func (m *Manifest) asked(o ExportOptions) error {
	asked := slices.Clone(o.Partitions)
	for p := range o.Until {
		asked = append(asked, p)
	}
	for _, p := range asked {
		if int64(p) >= int64(m.Topic.Partitions) {
			return protocol.Errorf(protocol.CodePartitionUnknown, "partition %d of a topic with %d", p, m.Topic.Partitions)
		}
	}
	return nil
}

// extent is what a partition holds now. Its leader must have answered: only a leader has applied all that was acknowledged. What
// any replica has applied is committed, so the highest end counts, in case the leader was deposed and has not noticed. Without a
// leader a salvage takes the replica that has the highest end, and none as long as one that is starting might have a higher one.
func extent(d *client.PartitionDescription, salvage bool) (Partition, error) {
	p := Partition{Partition: d.Partition, File: fileName(d.Partition)}
	led := false
	var best, starting *client.ReplicaState
	for i := range d.States {
		s := &d.States[i]
		if errors.Is(s.Err, client.ErrReplicaNotReady) {
			starting = s
		}
		if s.Err != nil {
			continue
		}
		if s.Leading {
			led, p.Start = true, s.Start
		}
		if best == nil || s.Next > best.Next {
			best = s
		}
		p.End = max(p.End, s.Next)
	}
	switch {
	case led:
		return p, nil
	case salvage && starting != nil:
		return p, protocol.Errorf(protocol.CodeUnavailable, "partition %d: the replica on broker %d is not ready and may have the "+
			"most: wait until it has started, or, if it cannot start, stop that broker to do without it", d.Partition, starting.Broker)
	case salvage && best != nil:
		p.Start = best.Start
		p.Salvaged = &Salvage{Broker: best.Broker, Epoch: best.Epoch, Applied: best.Applied}
		return p, nil
	case salvage:
		return p, protocol.Errorf(protocol.CodeUnavailable, "partition %d: no replica answers", d.Partition)
	}
	return p, protocol.Errorf(protocol.CodeUnavailable, "partition %d has no leader that answers", d.Partition)
}

// clusterName asks the brokers for the name of their cluster.
func clusterName(ctx context.Context, a *client.Admin) (string, error) {
	brokers, err := a.ClusterStatus(ctx)
	if err != nil {
		return "", err
	}
	for _, b := range brokers {
		if b.Err == nil {
			return b.Cluster, nil
		}
	}
	return "", protocol.Errorf(protocol.CodeUnavailable, "no broker answers")
}
