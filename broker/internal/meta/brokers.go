package meta

import (
	"cmp"

	"github.com/trunkline/trunkline/protocol"
)

// setState changes the state of a broker; from 0 means whatever it is.
type setState struct {
	request  uint64
	broker   protocol.BrokerID
	from, to BrokerState
}

type retireBroker struct{ broker protocol.BrokerID }

// active counts the brokers that may get replicas, without one of them.
func (s *state) active(without protocol.BrokerID) int {
	n := 0
	for i := range s.image.brokers {
		if b := &s.image.brokers[i]; b.State == Active && b.ID != without {
			n++
		}
	}
	return n
}

func (s *state) registerBroker(b *Broker) result {
	if err := checkBroker(b); err != nil {
		return refuse(err)
	}
	old, known := s.image.Broker(b.ID)
	next := *b
	next.State, next.MetaRemoved = Active, false
	if known {
		next.State, next.MetaRemoved, next.Founder = old.State, old.MetaRemoved, old.Founder
	}
	if s.image.Level < LevelStated {
		next.Levels = protocol.Levels{}
	}
	if known && old == next {
		return s.done(0, 0)
	}
	if err := s.mayRegister(b, old, known); err != nil {
		return refuse(err)
	}
	if !known {
		s.loads[b.ID] = &Load{}
	}
	s.image = s.image.withBroker(next)
	if !known && b.Founder {
		p := s.image.Meta
		p.Replicas = append(p.Replicas[:len(p.Replicas):len(p.Replicas)], Replica{Broker: b.ID, ReplicaID: uint64(b.ID)})
		s.image = s.image.withPlacement(Metadata, p)
	}
	return s.done(0, 0)
}

func (s *state) mayRegister(b *Broker, old Broker, known bool) *protocol.Error {
	if s.image.Retired(b.ID) {
		return protocol.Errorf(protocol.CodeInvalidConfig,
			"broker ID %d was retired: start with an empty data_dir under an ID that was never used", b.ID)
	}
	if err := s.checkLevels(b); err != nil {
		return err
	}
	if known && old.DirID != b.DirID {
		return protocol.Errorf(protocol.CodeInvalidConfig,
			"broker %d is registered with data directory %s, but this one is %s: it was wiped or belongs to another "+
				"broker. Starting it would forget acknowledged records. Bring the registered directory back; if it is lost, "+
				"start with an empty data_dir under an ID that was never used, and then run "+
				"`trunkline broker replace %d --with NEW_ID`", b.ID, old.DirID, b.DirID, b.ID)
	}
	if !known && len(s.image.brokers) >= MaxBrokers {
		return protocol.Errorf(protocol.CodeLimitExceeded, "the cluster has %d brokers, which is the most", MaxBrokers)
	}
	for _, o := range s.image.brokers {
		if o.ID != b.ID && o.DirID == b.DirID {
			return protocol.Errorf(protocol.CodeInvalidConfig,
				"broker %d: data directory %s belongs to broker %d: a copied directory cannot serve two brokers",
				b.ID, b.DirID, o.ID)
		}
	}
	return nil
}

func (s *state) setBrokerState(r *setState) result {
	if err := checkState(r); err != nil {
		return refuse(err)
	}
	b, ok := s.image.Broker(r.broker)
	if !ok {
		return refuse(s.noBroker(r.broker))
	}
	if b.State == r.to {
		return s.done(0, 0)
	}
	if err := s.mayBecome(&b, r); err != nil {
		return refuse(err)
	}
	b.State = r.to
	s.image = s.image.withBroker(b)
	return s.done(0, 0)
}

func (s *state) mayBecome(b *Broker, r *setState) *protocol.Error {
	meta := s.image.Meta.Move
	losing := b.MetaRemoved || meta != nil && meta.Remove.Broker == b.ID
	switch {
	case r.from != 0 && r.from != b.State:
		return protocol.Errorf(protocol.CodeInvalidRequest, "broker %d is %s, not %s: nothing was changed", b.ID, b.State, r.from)
	case b.State == Leaving && losing:
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"broker %d cannot stay: its replica of the metadata was or is being removed, which is for good. Let it leave; its machine may "+
				"join again with an empty data_dir under an ID that was never used", b.ID)
	case b.State == Leaving && r.to == Drained:
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"broker %d is leaving: make it active first, which ends that, and then drain it", b.ID)
	case r.to == Leaving:
		return s.mayLeave(b.ID)
	}
	return nil
}

// mayLeave refuses when the active brokers that stay are too few for what the cluster holds.
func (s *state) mayLeave(id protocol.BrokerID) *protocol.Error {
	stay := s.active(id)
	for _, t := range s.image.byName {
		if t.Replicas > stay {
			return protocol.Errorf(protocol.CodeTooManyReplicas,
				"broker %d cannot leave: topic %q has %d replicas, and %d active brokers would stay. Add brokers, make drained "+
					"ones active, or give the topic fewer replicas", id, t.Name, t.Replicas, stay)
		}
	}
	if n := len(s.image.Meta.after()); n > stay {
		return protocol.Errorf(protocol.CodeTooManyReplicas,
			"broker %d cannot leave: the metadata has %d voters, and %d active brokers would stay. Add brokers or make "+
				"drained ones active", id, n, stay)
	}
	return nil
}

func (s *state) retireBroker(id protocol.BrokerID) result {
	if s.image.Retired(id) {
		return s.done(0, 0)
	}
	b, ok := s.image.Broker(id)
	if !ok {
		return refuse(s.noBroker(id))
	}
	if err := s.mayRetire(&b); err != nil {
		return refuse(err)
	}
	delete(s.loads, id)
	s.image = s.image.withRetired(id)
	return s.done(0, 0)
}

func (s *state) mayRetire(b *Broker) *protocol.Error {
	if b.State != Leaving {
		return protocol.Errorf(protocol.CodeInvalidRequest, "broker %d is %s: only one that is leaving can be retired", b.ID, b.State)
	}
	if n := s.loads[b.ID].Replicas; n > 0 {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"broker %d cannot be retired yet: %d replicas are placed on it, and have to be moved away first", b.ID, n)
	}
	if _, _, ok := s.image.Meta.Placed(b.ID); ok {
		return protocol.Errorf(protocol.CodeInvalidRequest,
			"broker %d cannot be retired yet: it votes in the metadata shard, and another has to take its place first", b.ID)
	}
	if len(s.image.retired) >= MaxRetired {
		return protocol.Errorf(protocol.CodeLimitExceeded,
			"broker %d cannot be retired: %d brokers were, which is the most: make it active or let it stay as it is",
			b.ID, MaxRetired)
	}
	return nil
}

func (s *state) noBroker(id protocol.BrokerID) *protocol.Error {
	if s.image.Retired(id) {
		return protocol.Errorf(protocol.CodeNotFound, "broker %d was retired", id)
	}
	return protocol.Errorf(protocol.CodeNotFound, "there is no broker %d", id)
}

func checkState(r *setState) *protocol.Error {
	if cmp.Or(r.from, r.to).Known() && r.to.Known() {
		return nil
	}
	return protocol.Errorf(protocol.CodeInvalidRequest, "broker %d: there is no state %d: it can be active (1), drained (2) or "+
		"leaving (3)", r.broker, r.to)
}
