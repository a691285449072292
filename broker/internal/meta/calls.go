package meta

import (
	"context"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// The changes that a Service makes. Each is checked here as far as the request itself tells, retried until it is applied
// or ctx ends, executed once, and visible in Image when it returns.

// CreateTopic creates a topic. A repeat with the same RequestID returns the topic that the first one created.
func (s *Service) CreateTopic(ctx context.Context, r wire.CreateTopic) (*Topic, error) {
	if err := checkCreate(&r); err != nil {
		return nil, err
	}
	if r.RequestID == 0 {
		r.RequestID = randomID()
	}
	res, err := s.change(ctx, &command{create: &r})
	if err != nil {
		return nil, err
	}
	if t, ok := s.Image().Topic(protocol.TopicID(res.a)); ok {
		return t, nil
	}
	return nil, protocol.Errorf(protocol.CodeTopicNotFound,
		"topic %q was created (id %d) and has been deleted since", r.Name, res.a)
}

// DeleteTopic deletes a topic and returns its ID. Deleting an ID that is deleted already succeeds.
func (s *Service) DeleteTopic(ctx context.Context, r wire.DeleteTopic) (protocol.TopicID, error) {
	if err := checkDelete(&r); err != nil {
		return 0, err
	}
	res, err := s.change(ctx, &command{remove: &removeTopic{request: randomID(), DeleteTopic: r}})
	return protocol.TopicID(res.a), err
}

// AlterTopic changes a topic's configuration or adds partitions.
func (s *Service) AlterTopic(ctx context.Context, r wire.AlterTopic) (*Topic, error) {
	if err := checkAlter(&r); err != nil {
		return nil, err
	}
	res, err := s.change(ctx, &command{alter: &alterTopic{request: randomID(), AlterTopic: r}})
	if err != nil {
		return nil, err
	}
	if t, ok := s.Image().Topic(protocol.TopicID(res.a)); ok {
		return t, nil
	}
	return nil, protocol.Errorf(protocol.CodeTopicNotFound, "topic %q was changed and has been deleted since", r.Name)
}

// InitProducer opens a named producer under a new epoch, which fences whoever had the name.
func (s *Service) InitProducer(ctx context.Context, name string) (wire.InitProducerOK, error) {
	if err := checkName("producer", name); err != nil {
		return wire.InitProducerOK{}, err
	}
	res, err := s.change(ctx, &command{producer: &initProducer{nonce: randomID(), name: name}})
	return wire.InitProducerOK{Producer: protocol.ProducerID(res.a), Epoch: protocol.ProducerEpoch(res.b)}, err
}

// RegisterBroker announces a broker, its addresses and its zone. It is refused for good (CodeInvalidConfig) when the
// broker was retired or is registered with another data directory.
func (s *Service) RegisterBroker(ctx context.Context, b Broker) error {
	if err := checkBroker(&b); err != nil {
		return err
	}
	_, err := s.change(ctx, &command{broker: &b})
	return err
}

// SetBrokerState makes a broker active, drained or leaving; from 0 means whatever it is. Leaving is refused
// (CodeTooManyReplicas) when the active brokers that stay are too few, and can be taken back with Active until the broker
// has lost its replica of the metadata.
func (s *Service) SetBrokerState(ctx context.Context, id protocol.BrokerID, from, to BrokerState) error {
	r := &setState{request: randomID(), broker: id, from: from, to: to}
	if err := checkState(r); err != nil {
		return err
	}
	_, err := s.change(ctx, &command{state: r})
	return err
}

// RetireBroker removes a broker that is leaving and holds no replica any more. Its ID is refused from then on.
func (s *Service) RetireBroker(ctx context.Context, id protocol.BrokerID) error {
	_, err := s.change(ctx, &command{retire: &retireBroker{broker: id}})
	return err
}

// BeginMove begins a move and returns its ID. It is refused (CodeInvalidRequest) when the partition has a move already or is
// no longer on the brokers that the decision was made for.
func (s *Service) BeginMove(ctx context.Context, m MoveSpec) (id uint64, err error) {
	if err := checkMove(&m); err != nil {
		return 0, err
	}
	res, err := s.change(ctx, &command{begin: &beginMove{request: randomID(), MoveSpec: m}})
	return res.a, err
}

// FinishMove makes the move's outcome the partition's replicas: Raft has added and removed them. It succeeds for a move
// that is gone.
func (s *Service) FinishMove(ctx context.Context, id uint64) error {
	return s.step(ctx, kindFinishMove, id)
}

// UndoMove asks for a move to be taken back. Whoever leads the shard decides whether it still can, and ends it with
// UndoneMove or FinishMove. It succeeds for a move that is gone.
func (s *Service) UndoMove(ctx context.Context, id uint64) error {
	return s.step(ctx, kindUndoMove, id)
}

// UndoneMove drops a move that was to be undone: Raft has its replicas as they were before. It succeeds for a move that is
// gone.
func (s *Service) UndoneMove(ctx context.Context, id uint64) error {
	return s.step(ctx, kindUndoneMove, id)
}

func (s *Service) step(ctx context.Context, kind commandKind, id uint64) error {
	_, err := s.change(ctx, &command{step: &moveStep{kind: kind, id: id}})
	return err
}

// PreferLeader makes the broker, which must hold a replica, the preferred leader of a partition.
func (s *Service) PreferLeader(ctx context.Context, tp protocol.TopicPartition, broker protocol.BrokerID) error {
	_, err := s.change(ctx, &command{prefer: &preferLeader{request: randomID(), tp: tp, broker: broker}})
	return err
}
