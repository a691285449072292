package meta

import (
	"slices"

	"github.com/trunkline/trunkline/protocol"
)

// MoveSpec is a move to begin: a replica on Add joins the partition and the one on Remove leaves it.
type MoveSpec struct {
	TP     protocol.TopicPartition // Metadata for the metadata shard
	Add    protocol.BrokerID       // 0: none
	Remove protocol.BrokerID       // 0: none
	// Brokers are those that the partition was on when the move was decided, in the order of Partition.Brokers. The move is
	// refused if they are others by now.
	Brokers []protocol.BrokerID
}

type beginMove struct {
	request uint64
	MoveSpec
}

// moveStep is a step of the move with an ID.
type moveStep struct {
	kind commandKind // kindFinishMove, kindUndoMove or kindUndoneMove
	id   uint64
}

type preferLeader struct {
	request uint64
	tp      protocol.TopicPartition
	broker  protocol.BrokerID
}

// beginMove answers with the move's ID and the ID of the replica that joins, 0 for none.
func (s *state) beginMove(r *beginMove) result {
	p, ok := s.image.Placement(r.TP)
	if !ok {
		return refuse(s.noPartition(r.TP))
	}
	if err := s.mayMove(&r.MoveSpec, p); err != nil {
		return refuse(err)
	}
	m := &Move{ID: s.image.NextMove}
	m.Remove, _ = p.On(r.Remove)
	replica := s.image.NextReplica
	if r.Add != 0 && r.TP == Metadata {
		m.Add = Replica{Broker: r.Add, ReplicaID: uint64(r.Add)}
	} else if r.Add != 0 {
		m.Add = Replica{Broker: r.Add, ReplicaID: replica}
		replica++
	}
	next := *p
	next.Move = m
	s.setPlacement(r.TP, next)
	s.image.NextMove, s.image.NextReplica = m.ID+1, replica
	return s.done(m.ID, m.Add.ReplicaID)
}

func (s *state) mayMove(r *MoveSpec, p *Partition) *protocol.Error {
	if err := checkMove(r); err != nil {
		return err
	}
	if p.Move != nil {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"%s has move %d under way: wait until it is finished or undone", placeName(r.TP), p.Move.ID)
	}
	if now := p.Brokers(); !slices.Equal(now, r.Brokers) {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"%s is on brokers %v by now, not on %v: decide again", placeName(r.TP), now, r.Brokers)
	}
	if len(s.image.moves) >= MaxMoves {
		return protocol.Errorf(protocol.CodeLimitExceeded, "%d moves are under way, which is the most: wait for some", MaxMoves)
	}
	if r.Add != 0 {
		if err := s.mayAdd(r, p); err != nil {
			return err
		}
	}
	if r.Remove != 0 {
		return s.mayRemove(r, p)
	}
	return nil
}

func (s *state) mayAdd(r *MoveSpec, p *Partition) *protocol.Error {
	b, ok := s.image.Broker(r.Add)
	if !ok {
		return s.noBroker(r.Add)
	}
	if _, has := p.On(r.Add); has {
		return protocol.Errorf(protocol.CodeInvalidRequest, "%s has a replica on broker %d already", placeName(r.TP), r.Add)
	}
	if b.State != Active {
		return protocol.Errorf(protocol.CodeInvalidRequest, "broker %d is %s: only active brokers get replicas", b.ID, b.State)
	}
	if r.Remove == 0 && len(p.Replicas) >= protocol.MaxReplicas {
		return protocol.Errorf(protocol.CodeLimitExceeded,
			"%s has %d replicas, and can have at most %d: remove one in the same move",
			placeName(r.TP), len(p.Replicas), protocol.MaxReplicas)
	}
	return nil
}

func (s *state) mayRemove(r *MoveSpec, p *Partition) *protocol.Error {
	if _, has := p.On(r.Remove); !has {
		return protocol.Errorf(protocol.CodeInvalidRequest, "%s has no replica on broker %d", placeName(r.TP), r.Remove)
	}
	if r.Add == 0 && len(p.Replicas) == 1 {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"%s has its only replica on broker %d: add another in the same move", placeName(r.TP), r.Remove)
	}
	// A broker's replica of the metadata can never come back, and a broker without one cannot serve.
	if b, _ := s.image.Broker(r.Remove); r.TP == Metadata && b.State != Leaving {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"broker %d is %s: only one that is leaving can lose its replica of the metadata", b.ID, b.State)
	}
	return nil
}

// stepMove makes a step of a move, once: a move that is gone was finished, undone, or dropped with its topic.
func (s *state) stepMove(r *moveStep) result {
	i, ok := findMove(s.image.moves, r.id)
	if !ok && (r.id == 0 || r.id >= s.image.NextMove) {
		return refuse(protocol.Errorf(protocol.CodeNotFound, "there was never a move %d", r.id))
	}
	if !ok {
		return s.done(0, 0)
	}
	at := s.image.moves[i]
	p, _ := s.image.Placement(at.TP)
	next := *p
	switch {
	case r.kind == kindFinishMove:
		next.Replicas, next.Move = p.after(), nil
	case r.kind == kindUndoneMove && at.Undo:
		next.Move = nil
	case r.kind == kindUndoneMove:
		return refuse(protocol.Errorf(protocol.CodeInvalidRequest, "move %d of %s was not asked to be undone", r.id, placeName(at.TP)))
	case at.Undo:
		return s.done(0, 0)
	default:
		undo := at.Move
		undo.Undo = true
		next.Move = &undo
	}
	s.setPlacement(at.TP, next)
	if b, ok := s.image.Broker(at.Remove.Broker); ok && at.TP == Metadata && r.kind == kindFinishMove {
		b.MetaRemoved = true
		s.image = s.image.withBroker(b)
	}
	return s.done(0, 0)
}

// preferLeader puts the replica on a broker first and keeps the order of the others.
func (s *state) preferLeader(r *preferLeader) result {
	p, ok := s.image.Partition(r.tp)
	if !ok {
		return refuse(s.noPartition(r.tp))
	}
	i := slices.Index(p.Brokers(), r.broker)
	if i < 0 {
		return refuse(protocol.Errorf(protocol.CodeInvalidRequest, "%s has no replica on broker %d", placeName(r.tp), r.broker))
	}
	if i > 0 {
		next := *p
		next.Replicas = slices.Insert(slices.Delete(slices.Clone(p.Replicas), i, i+1), 0, p.Replicas[i])
		s.setPlacement(r.tp, next)
	}
	return s.done(0, 0)
}

// setPlacement changes a placement and counts its load.
func (s *state) setPlacement(tp protocol.TopicPartition, p Partition) {
	if old, _ := s.image.Placement(tp); tp != Metadata {
		countLoad(s.loads, []Partition{*old}, -1)
		countLoad(s.loads, []Partition{p}, 1)
	}
	s.image = s.image.withPlacement(tp, p)
}

func (s *state) noPartition(tp protocol.TopicPartition) *protocol.Error {
	if t, ok := s.image.Topic(tp.Topic); ok {
		return protocol.Errorf(protocol.CodePartitionUnknown, "topic %q has %d partitions, no partition %d",
			t.Name, len(t.Partitions), tp.Partition)
	}
	return protocol.Errorf(protocol.CodeTopicNotFound, "there is no topic with id %d", tp.Topic)
}

// placeName names a partition for people.
func placeName(tp protocol.TopicPartition) string {
	if tp == Metadata {
		return "the metadata"
	}
	return "partition " + tp.String()
}

func checkMove(r *MoveSpec) *protocol.Error {
	if r.Add == 0 && r.Remove == 0 {
		return protocol.Errorf(protocol.CodeInvalidRequest, "a move of %s that neither adds nor removes a replica", placeName(r.TP))
	}
	return nil
}
