package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// askTimeout bounds how long one broker is waited for when all are asked, so that a dead one does not
// take the whole of the caller's time.
const askTimeout = 2 * time.Second

// CreateTopic creates a topic and returns it. If the call was repeated because an answer got lost, it
// still succeeds once.
func (a *Admin) CreateTopic(ctx context.Context, name string, spec TopicSpec) (*Topic, error) {
	if !protocol.ValidName(name) {
		return nil, fmt.Errorf("trunkline: create topic: %w", invalidName("topic", name))
	}
	partitions, replicas := cmp.Or(spec.Partitions, 1), cmp.Or(spec.Replicas, 1)
	if partitions < 0 || partitions > protocol.MaxPartitions || replicas < 0 || replicas > protocol.MaxReplicas {
		return nil, fmt.Errorf("trunkline: create topic %q: %w", name, protocol.Errorf(
			protocol.CodeInvalidConfig, "%d partitions and %d replicas, allowed are up to %d and %d",
			partitions, replicas, protocol.MaxPartitions, protocol.MaxReplicas))
	}
	if spec.Retention < 0 {
		return nil, fmt.Errorf("trunkline: create topic %q: %w", name, protocol.Errorf(
			protocol.CodeInvalidConfig, "retention %v is negative", spec.Retention))
	}
	resp, _, err := a.c.cluster.Do(ctx, &wire.Request{CreateTopic: &wire.CreateTopic{
		Name: name, Partitions: uint32(partitions), Replicas: uint32(replicas),
		Config: wire.TopicConfig{
			RetentionMillis: uint64(spec.Retention.Milliseconds()),
			RetentionBytes:  spec.RetentionBytes, SegmentBytes: spec.SegmentBytes,
		},
		RequestID: rand.Uint64(),
	}})
	if err == nil && resp.CreateTopic == nil {
		err = errNoAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("trunkline: create topic %q: %w", name, a.c.closedOr(err))
	}
	t := a.topic(resp.CreateTopic)
	return &t, nil
}

var errNoAnswer = errors.New("the broker's response lacks the answer")

func invalidName(what, name string) error {
	return protocol.Errorf(protocol.CodeInvalidName, "%s name %q: 1 to %d letters, digits, '.', '_' or '-'",
		what, name, protocol.MaxNameBytes)
}

// DeleteTopic deletes a topic and its data. Producers and subscriptions of it fail with
// ErrTopicNotFound, also if the name is used again.
func (a *Admin) DeleteTopic(ctx context.Context, name string) error {
	t, err := a.c.cluster.Topic(ctx, name)
	if err != nil {
		return fmt.Errorf("trunkline: delete topic %q: %w", name, a.c.closedOr(err))
	}
	_, unknown, err := a.c.cluster.Do(ctx, &wire.Request{
		DeleteTopic: &wire.DeleteTopic{Name: name, ID: t.ID},
	})
	if err != nil && (!unknown || !errors.Is(err, ErrTopicNotFound)) {
		return fmt.Errorf("trunkline: delete topic %q: %w", name, a.c.closedOr(err))
	}
	return nil
}

// AlterTopic changes a topic and returns it. Adding partitions moves keys to other partitions: the order
// of a key's records holds within each partition only.
func (a *Admin) AlterTopic(ctx context.Context, name string, change TopicChange) (*Topic, error) {
	req := &wire.AlterTopic{
		Name: name, RetentionBytes: change.RetentionBytes, SegmentBytes: change.SegmentBytes,
	}
	if n := change.Partitions; n != nil {
		if *n < 1 || *n > protocol.MaxPartitions {
			return nil, fmt.Errorf("trunkline: alter topic %q: %w", name, protocol.Errorf(
				protocol.CodeInvalidConfig, "%d partitions, allowed are 1 to %d", *n, protocol.MaxPartitions))
		}
		req.Partitions = new(uint32(*n))
	}
	if n := change.Replicas; n != nil {
		if *n < 1 || *n > protocol.MaxReplicas {
			return nil, fmt.Errorf("trunkline: alter topic %q: %w", name, protocol.Errorf(
				protocol.CodeInvalidConfig, "%d replicas, allowed are 1 to %d", *n, protocol.MaxReplicas))
		}
		req.Replicas = new(uint32(*n))
	}
	if r := change.Retention; r != nil {
		if *r < 0 {
			return nil, fmt.Errorf("trunkline: alter topic %q: %w", name, protocol.Errorf(
				protocol.CodeInvalidConfig, "retention %v is negative", *r))
		}
		req.RetentionMillis = new(uint64(r.Milliseconds()))
	}
	resp, _, err := a.c.cluster.Do(ctx, &wire.Request{AlterTopic: req})
	if err == nil && resp.AlterTopic == nil {
		err = errNoAnswer
	}
	if err != nil {
		return nil, fmt.Errorf("trunkline: alter topic %q: %w", name, a.c.closedOr(err))
	}
	t := a.topic(resp.AlterTopic)
	return &t, nil
}

// ListTopics lists the topics by name.
func (a *Admin) ListTopics(ctx context.Context) ([]Topic, error) {
	if err := a.c.cluster.RefreshAll(ctx); err != nil {
		return nil, fmt.Errorf("trunkline: list topics: %w", a.c.closedOr(err))
	}
	image, _ := a.c.cluster.Image()
	list := make([]Topic, 0, len(image.Topics))
	for i := range image.Topics {
		list = append(list, a.topic(&image.Topics[i]))
	}
	slices.SortFunc(list, func(x, y Topic) int { return cmp.Compare(x.Name, y.Name) })
	return list, nil
}

// topic converts metadata, with the newest leaders.
func (a *Admin) topic(t *wire.TopicInfo) Topic {
	out := Topic{ID: t.ID, Name: t.Name, Config: TopicConfig{
		Retention:      time.Duration(t.Config.RetentionMillis) * time.Millisecond,
		RetentionBytes: t.Config.RetentionBytes, SegmentBytes: t.Config.SegmentBytes,
	}, Replicas: int(t.Replicas)}
	for _, p := range t.Partitions {
		l, _ := a.c.cluster.Leader(protocol.TopicPartition{Topic: t.ID, Partition: p.Partition})
		out.Partitions = append(out.Partitions, TopicPartition{
			Partition: p.Partition, Leader: l.Broker, Epoch: l.Epoch, Replicas: slices.Clone(p.Replicas),
		})
	}
	return out
}

// answer is what one broker said.
type answer struct {
	resp *wire.Response
	err  error
}

// ask sends a request to several brokers at once and waits for each at most askTimeout.
func (a *Admin) ask(
	ctx context.Context, brokers []protocol.BrokerID, req *wire.Request,
) map[protocol.BrokerID]answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers := make(map[protocol.BrokerID]answer, len(brokers))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, b := range brokers {
		wg.Go(func() {
			resp, err := a.c.cluster.DoOn(ctx, b, req)
			mu.Lock()
			answers[b] = answer{resp, err}
			mu.Unlock()
		})
	}
	wg.Wait()
	return answers
}

// brokers lists the brokers of the newest image.
func (a *Admin) brokers() []protocol.BrokerID {
	image, _ := a.c.cluster.Image()
	ids := make([]protocol.BrokerID, 0, len(image.Brokers))
	for _, b := range image.Brokers {
		ids = append(ids, b.ID)
	}
	slices.Sort(ids)
	return ids
}

// DescribeTopic asks every broker for its replicas of a topic. Brokers that do not answer within two
// seconds are listed with the error.
func (a *Admin) DescribeTopic(ctx context.Context, name string) (*TopicDescription, error) {
	info, err := a.c.cluster.Topic(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("trunkline: describe topic %q: %w", name, a.c.closedOr(err))
	}
	answers := a.ask(ctx, a.brokers(), &wire.Request{
		PartitionState: &wire.PartitionStateRequest{Topic: info.ID},
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("trunkline: describe topic %q: %w", name, context.Cause(ctx))
	}
	for _, ans := range answers {
		if ans.err != nil || ans.resp.PartitionState == nil {
			continue
		}
		a.observe(info.ID, ans.resp.PartitionState)
	}
	t := a.topic(info)
	out := &TopicDescription{ID: t.ID, Name: t.Name, Config: t.Config, Replicas: t.Replicas}
	for _, p := range t.Partitions {
		out.Partitions = append(out.Partitions, describe(p, answers))
	}
	return out, nil
}

// observe takes over the leaders that brokers claim to be themselves.
func (a *Admin) observe(topic protocol.TopicID, states *wire.PartitionStates) {
	for _, s := range states.Partitions {
		if s.Leading {
			a.c.cluster.Leaders(nil, []wire.Leader{{
				Topic: topic, Partition: s.Partition, Leader: states.Broker, Epoch: s.Epoch,
			}})
		}
	}
}

// describe puts one partition together from the answers of its replicas.
func describe(p TopicPartition, answers map[protocol.BrokerID]answer) PartitionDescription {
	d := PartitionDescription{TopicPartition: p}
	_, silent := stateOf(p.Partition, answers[p.Leader])
	for _, b := range p.Replicas {
		r := ReplicaState{Broker: b}
		s, err := stateOf(p.Partition, answers[b])
		if err != nil {
			r.Err = err
		} else {
			r.Leading, r.Start, r.Next, r.Bytes, r.Applied, r.Epoch = s.Leading, s.Start, s.Next, s.Bytes, s.Applied, s.Epoch
		}
		// The leader's offsets count; without an answer from it, those of the replica that is ahead.
		if err == nil && (b == p.Leader || (silent != nil && r.Next >= d.Next)) {
			d.Start, d.Next, d.Bytes = r.Start, r.Next, r.Bytes
		}
		d.States = append(d.States, r)
	}
	return d
}

// stateOf finds a partition in a broker's answer.
func stateOf(p protocol.Partition, ans answer) (*wire.PartitionState, error) {
	if ans.err != nil {
		return nil, ans.err
	}
	if ans.resp == nil || ans.resp.PartitionState == nil {
		return nil, errNoAnswer
	}
	for i := range ans.resp.PartitionState.Partitions {
		if s := &ans.resp.PartitionState.Partitions[i]; s.Partition == p {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%w: partition %d", ErrReplicaNotReady, p)
}

// Subscriptions lists the cursors of a topic, by subscription and partition. It fails if a leader does
// not answer, since the list would not be whole.
func (a *Admin) Subscriptions(ctx context.Context, topic string) ([]SubscriptionState, error) {
	info, err := a.c.cluster.Topic(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("trunkline: subscriptions of %q: %w", topic, a.c.closedOr(err))
	}
	var leaders []protocol.BrokerID
	for _, p := range a.topic(info).Partitions {
		if p.Leader == 0 {
			return nil, fmt.Errorf("trunkline: subscriptions of %q: %w", topic, protocol.Errorf(
				protocol.CodeUnavailable, "partition %d has no leader", p.Partition))
		}
		if !slices.Contains(leaders, p.Leader) {
			leaders = append(leaders, p.Leader)
		}
	}
	var out []SubscriptionState
	req := &wire.Request{Subscriptions: &wire.SubscriptionsRequest{Topic: info.ID}}
	for _, ans := range a.ask(ctx, leaders, req) {
		if ans.err == nil && ans.resp.Subscriptions == nil {
			ans.err = errNoAnswer
		}
		if ans.err != nil {
			return nil, fmt.Errorf("trunkline: subscriptions of %q: %w", topic, a.c.closedOr(ans.err))
		}
		for _, s := range ans.resp.Subscriptions.Subscriptions {
			out = append(out, SubscriptionState{
				Subscription: s.Subscription, Partition: s.Partition, Cursor: s.Cursor,
				Activation: s.Activation, Active: s.Active, Consumers: s.Consumers,
			})
		}
	}
	slices.SortFunc(out, func(x, y SubscriptionState) int {
		return cmp.Or(cmp.Compare(x.Subscription, y.Subscription), cmp.Compare(x.Partition, y.Partition))
	})
	return out, nil
}

// ClusterStatus asks every broker. Brokers that do not answer within two seconds are listed with the
// error.
func (a *Admin) ClusterStatus(ctx context.Context) ([]BrokerStatus, error) {
	answers := a.ask(ctx, a.brokers(), &wire.Request{ClusterStatus: &wire.ClusterStatusRequest{}})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("trunkline: cluster status: %w", context.Cause(ctx))
	}
	var out []BrokerStatus
	for _, b := range a.c.Brokers() {
		s := BrokerStatus{Broker: b}
		ans, asked := answers[b.ID]
		switch {
		case !asked:
			continue
		case ans.err != nil:
			s.Err = ans.err
		case ans.resp.ClusterStatus == nil:
			s.Err = errNoAnswer
		default:
			s.fill(ans.resp.ClusterStatus)
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(x, y BrokerStatus) int { return cmp.Compare(x.ID, y.ID) })
	return out, nil
}

// fill takes over a broker's answer.
func (s *BrokerStatus) fill(w *wire.ClusterStatus) {
	s.Cluster, s.Version = w.Cluster, w.Version
	s.Uptime = time.Duration(w.UptimeMillis) * time.Millisecond
	s.MetadataVersion, s.MetadataLeader = w.MetadataVersion, w.MetadataLeader
	s.Replicas, s.Leading, s.Draining = int(w.Replicas), int(w.Leading), w.Draining
	s.NotReady, s.Missing = w.NotReady, int(w.Missing)
	s.DiskFree, s.DiskTotal, s.DiskReserve = w.DiskFree, w.DiskTotal, w.DiskReserve
	s.RepairAfter, s.MetadataVoters = time.Duration(w.RepairAfterMillis)*time.Millisecond, w.MetadataVoters
	s.Behind, s.BehindTotal, s.LastStraw = ailingOf(w.Behind), int(w.BehindTotal), int(w.LastStraw)
	s.Leaderless, s.LeaderlessTotal = ailingOf(w.Leaderless), int(w.LeaderlessTotal)
	s.Damaged, s.DamagedTotal = w.Damaged, int(w.DamagedTotal)
	s.Level, s.Levels = max(w.Level, protocol.FirstLevel), protocol.Levels{Lowest: w.Lowest, Highest: w.Highest}.Stated()
	for _, p := range w.Peers {
		s.Peers = append(s.Peers, PeerStatus{
			Broker: p.Broker, State: p.State, StalledDisk: p.StalledDisk, Starved: p.Starved,
			Since:  time.Duration(p.SinceMillis) * time.Millisecond,
			Silent: time.Duration(p.SilentMillis) * time.Millisecond,
		})
	}
}
