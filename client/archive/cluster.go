package archive

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// ClusterBackup is what of a cluster's metadata clients can see.
type ClusterBackup struct {
	Cluster string        `json:"cluster"`
	Taken   time.Time     `json:"taken"`
	Topics  []TopicBackup `json:"topics"`  // by name
	Brokers []Broker      `json:"brokers"` // for people: they are not restored
}

// TopicBackup is a topic and, for people, where its subscriptions were: Import restores cursors, with the records.
type TopicBackup struct {
	Shape
	Subscriptions []Cursor `json:"subscriptions,omitempty"`
}

// Broker is a broker as the cluster knew it.
type Broker struct {
	ID     protocol.BrokerID `json:"id"`
	Listen string            `json:"listen"`
	Zone   string            `json:"zone,omitempty"`
	State  string            `json:"state"`
}

// BackupCluster writes the metadata of the cluster to a file, which appears whole or not at all and replaces what was there. It
// fails if a leader does not answer within half a minute, since the cursors would not be whole.
func BackupCluster(ctx context.Context, c *client.Client, file string) (*ClusterBackup, error) {
	b, err := insist(ctx, func(ctx context.Context) (*ClusterBackup, error) { return takeBackup(ctx, c) })
	if err == nil {
		err = writeSealed(file, clusterFormat, b)
	}
	if err != nil {
		return nil, fmt.Errorf("back up the cluster to %s: %w", file, err)
	}
	return b, nil
}

func takeBackup(ctx context.Context, c *client.Client) (*ClusterBackup, error) {
	a := c.Admin()
	b := &ClusterBackup{Taken: time.Now().UTC().Truncate(time.Second)}
	var err error
	if b.Cluster, err = clusterName(ctx, a); err != nil {
		return nil, err
	}
	topics, err := a.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	for i := range topics {
		t := TopicBackup{Shape: shapeOf(&topics[i])}
		subscriptions, err := a.Subscriptions(ctx, t.Name)
		if err != nil {
			return nil, err
		}
		for _, s := range subscriptions {
			t.Subscriptions = append(t.Subscriptions, Cursor{Subscription: s.Subscription, Partition: s.Partition, Offset: s.Cursor})
		}
		b.Topics = append(b.Topics, t)
	}
	for _, x := range c.Brokers() {
		b.Brokers = append(b.Brokers, Broker{ID: x.ID, Listen: x.Listen, Zone: x.Zone, State: x.State.String()})
	}
	return b, nil
}

// Restored says what RestoreCluster did.
type Restored struct {
	Created []string // topics
	Present []string // topics that were there in the same shape
}

// RestoreCluster creates the topics of a backup that the cluster does not have, empty. Before it creates the first one it refuses,
// with ErrShape, a backup that has a topic of which the cluster has another shape. If it is interrupted, run it again.
func RestoreCluster(ctx context.Context, c *client.Client, file string) (*Restored, error) {
	var b ClusterBackup
	err := readSealed(file, clusterFormat, &b)
	var r *Restored
	if err == nil {
		r, err = b.restore(ctx, c.Admin())
	}
	if err != nil {
		return r, fmt.Errorf("restore the cluster from %s: %w", file, err)
	}
	return r, nil
}

func (b *ClusterBackup) restore(ctx context.Context, a *client.Admin) (*Restored, error) {
	topics, err := a.ListTopics(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range b.Topics {
		i := slices.IndexFunc(topics, func(have client.Topic) bool { return have.Name == t.Name })
		if i < 0 {
			continue
		}
		if have := shapeOf(&topics[i]); !have.same(&t.Shape) {
			return nil, fmt.Errorf("%w: %s has %v, the backup has %v", ErrShape, t.Name, &have, &t.Shape)
		}
	}
	r := &Restored{}
	for _, t := range b.Topics {
		_, created, err := ensureTopic(ctx, a, t.Shape, t.same)
		switch {
		case err != nil:
			return r, fmt.Errorf("topic %s: %w", t.Name, err)
		case created:
			r.Created = append(r.Created, t.Name)
		default:
			r.Present = append(r.Present, t.Name)
		}
	}
	return r, nil
}

// same reports whether two topics have the same shape, whatever their IDs.
func (s *Shape) same(other *Shape) bool {
	x := *other
	x.ID = s.ID
	return *s == x
}
