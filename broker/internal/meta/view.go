package meta

import (
	"context"
	"sync"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// View is the metadata in the words of the wire protocol, for whoever serves clients. What it returns is shared and
// must not be changed; leaders are not part of it (see Leaders).
type View struct {
	service *Service

	mu    sync.Mutex
	image *Image        // that wire was made of; guarded by mu
	wire  wire.Metadata // guarded by mu
}

// NewView returns a view of a service.
func NewView(s *Service) *View { return &View{service: s} }

// Metadata returns the newest image, made once per version. Every broker in it is said to be alive.
func (v *View) Metadata() wire.Metadata {
	im := v.service.Image()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.image != im {
		v.image, v.wire = im, im.metadata()
	}
	return v.wire
}

// Topic returns one topic of the newest image.
func (v *View) Topic(id protocol.TopicID) (wire.TopicInfo, bool) {
	t, ok := v.service.Image().Topic(id)
	if !ok {
		return wire.TopicInfo{}, false
	}
	return t.Info(), true
}

// Changed is Service.Changed.
func (v *View) Changed() <-chan struct{} { return v.service.Changed() }

// CreateTopic is Service.CreateTopic.
func (v *View) CreateTopic(ctx context.Context, r wire.CreateTopic) (wire.TopicInfo, error) {
	return info(v.service.CreateTopic(ctx, r))
}

// AlterTopic is Service.AlterTopic.
func (v *View) AlterTopic(ctx context.Context, r wire.AlterTopic) (wire.TopicInfo, error) {
	return info(v.service.AlterTopic(ctx, r))
}

// DeleteTopic is Service.DeleteTopic.
func (v *View) DeleteTopic(ctx context.Context, r wire.DeleteTopic) (protocol.TopicID, error) {
	return v.service.DeleteTopic(ctx, r)
}

// InitProducer is Service.InitProducer.
func (v *View) InitProducer(ctx context.Context, name string) (wire.InitProducerOK, error) {
	return v.service.InitProducer(ctx, name)
}

// SetBrokerState is Service.SetBrokerState, whatever the state is.
func (v *View) SetBrokerState(ctx context.Context, r wire.SetBrokerState) error {
	return v.service.SetBrokerState(ctx, r.Broker, 0, r.State)
}

// Moves returns the moves that are under way in the newest image, by ID.
func (v *View) Moves() []wire.Move {
	moves := v.service.Image().Moves()
	out := make([]wire.Move, 0, len(moves))
	for _, m := range moves {
		out = append(out, wire.Move{
			Topic: m.TP.Topic, Partition: m.TP.Partition, Shard: m.Shard,
			ID: m.ID, Add: m.Add.Broker, Remove: m.Remove.Broker, Undo: m.Undo,
		})
	}
	return out
}

func info(t *Topic, err error) (wire.TopicInfo, error) {
	if err != nil {
		return wire.TopicInfo{}, err
	}
	return t.Info(), nil
}

// Info returns the topic in the words of the protocol, without leaders. It is shared and must not be changed.
func (t *Topic) Info() wire.TopicInfo { return t.info }

// withInfo fills in what Info returns. It is called once, before the topic is published.
func (t *Topic) withInfo() *Topic {
	n := 0
	for i := range t.Partitions {
		n += len(t.Partitions[i].Replicas)
	}
	brokers := make([]protocol.BrokerID, 0, n)
	parts := make([]wire.PartitionInfo, len(t.Partitions))
	for i := range t.Partitions {
		from := len(brokers)
		for _, r := range t.Partitions[i].Replicas {
			brokers = append(brokers, r.Broker)
		}
		parts[i] = wire.PartitionInfo{
			Partition: protocol.Partition(i), Replicas: brokers[from:len(brokers):len(brokers)],
		}
	}
	t.info = wire.TopicInfo{ID: t.ID, Name: t.Name, Config: t.Config, Partitions: parts, Replicas: uint32(t.Replicas)}
	return t
}

func (im *Image) metadata() wire.Metadata {
	m := wire.Metadata{
		Version: im.Version,
		Brokers: make([]wire.BrokerInfo, 0, len(im.brokers)),
		Topics:  make([]wire.TopicInfo, 0, len(im.byName)),
	}
	for _, b := range im.brokers {
		m.Brokers = append(m.Brokers, wire.BrokerInfo{
			ID: b.ID, Listen: b.Listen, Admin: b.Admin, Alive: true, Zone: b.Zone, State: b.State,
		})
	}
	for _, t := range im.byName {
		m.Topics = append(m.Topics, t.info)
	}
	return m
}
