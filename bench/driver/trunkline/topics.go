package trunkline

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// CreateTopic creates a topic and waits until every partition has a leader. Subscriptions need no preparation: a new one begins
// with the first record.
func (s *system) CreateTopic(ctx context.Context, t driver.Topic) error {
	spec := client.TopicSpec{Partitions: t.Partitions, Replicas: t.Replicas}
	if _, err := s.admin.Admin().CreateTopic(ctx, t.Name, spec); err != nil {
		return fmt.Errorf("create topic %s: %w", t.Name, err)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p := 0; p < t.Partitions; {
		if leader, _ := s.admin.Leader(t.Name, protocol.Partition(p)); leader != 0 {
			p++
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create topic %s: partition %d has no leader: %w", t.Name, p, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// DeleteTopic deletes a topic.
func (s *system) DeleteTopic(ctx context.Context, name string) error {
	if err := s.admin.Admin().DeleteTopic(ctx, name); err != nil {
		return fmt.Errorf("delete topic %s: %w", name, err)
	}
	return nil
}

// Leaders returns who leads, by what the brokers push to the client.
func (s *system) Leaders(ctx context.Context, topic string) ([]int, error) {
	topics, err := s.admin.Admin().ListTopics(ctx)
	if err != nil {
		return nil, fmt.Errorf("leaders of %s: %w", topic, err)
	}
	for _, t := range topics {
		if t.Name != topic {
			continue
		}
		leaders := make([]int, len(t.Partitions))
		for p := range leaders {
			id, _ := s.admin.Leader(topic, protocol.Partition(p))
			leaders[p] = int(id)
		}
		return leaders, nil
	}
	return nil, fmt.Errorf("leaders of %s: %w", topic, client.ErrTopicNotFound)
}
