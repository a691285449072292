package archive

import (
	"context"
	"fmt"
	"slices"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// placeCursors creates the cursors of an export that the topic does not have, and returns how many. That needs offsets that follow
// from the export, so the topic must hold what was imported and nothing else.
func placeCursors(ctx context.Context, c *client.Client, m *Manifest, topic string) (int, error) {
	_, err := insist(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, m.alone(ctx, c.Admin(), topic) })
	if err != nil {
		return 0, err
	}
	have, err := insist(ctx, func(ctx context.Context) ([]client.SubscriptionState, error) {
		return c.Admin().Subscriptions(ctx, topic)
	})
	if err != nil {
		return 0, err
	}
	placed := 0
	for name, at := range m.placements() {
		there := 0
		for _, s := range have {
			if _, wanted := at[s.Partition]; wanted && s.Subscription == name {
				there++
			}
		}
		if there == len(at) {
			continue
		}
		s, err := c.Subscribe(ctx, topic, name, client.StartAt(client.AtOffsets(at)))
		if err != nil {
			return placed, fmt.Errorf("subscription %q: %w", name, err)
		}
		if err := s.Close(ctx); err != nil {
			return placed, fmt.Errorf("subscription %q: %w", name, err)
		}
		placed += len(at) - there // what was there stays where it is
	}
	return placed, nil
}

// alone refuses a topic in which the imported records do not have the offsets from 0 on.
func (m *Manifest) alone(ctx context.Context, a *client.Admin, topic string) error {
	t, err := a.DescribeTopic(ctx, topic)
	if err != nil {
		return err
	}
	for _, p := range m.Partitions {
		got, err := extent(&t.Partitions[p.Partition], false)
		if err != nil {
			return err
		}
		if uint64(got.End) != p.Records {
			return protocol.Errorf(protocol.CodeInvalidRequest, "the records are imported, the subscriptions are not: partition %d has "+
				"other records too (%d in all, %d imported), so that cursors do not fit", p.Partition, got.End, p.Records)
		}
	}
	return nil
}

// placements translates the cursors of the export: in the new topic a record's offset is the number of exported records before it.
func (m *Manifest) placements() map[string]map[protocol.Partition]protocol.Offset {
	all := make(map[string]map[protocol.Partition]protocol.Offset)
	for _, c := range m.Subscriptions {
		i := slices.IndexFunc(m.Partitions, func(p Partition) bool { return p.Partition == c.Partition })
		if i < 0 {
			continue
		}
		if all[c.Subscription] == nil {
			all[c.Subscription] = make(map[protocol.Partition]protocol.Offset)
		}
		all[c.Subscription][c.Partition] = m.Partitions[i].place(c.Offset)
	}
	return all
}

// place returns how many exported records of the partition are below an offset.
func (p *Partition) place(o protocol.Offset) protocol.Offset {
	o = min(max(o, p.Start), p.End)
	n := o - p.Start
	for _, g := range p.Gaps {
		if o > g.From {
			n -= min(o, g.To) - g.From
		}
	}
	return n
}
