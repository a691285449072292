package meta

import (
	"slices"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func (s *state) createTopic(r *wire.CreateTopic) result {
	if err := checkCreate(r); err != nil {
		return refuse(err)
	}
	if t, ok := s.image.TopicNamed(r.Name); ok {
		if r.RequestID != 0 && t.CreateRequestID == r.RequestID {
			return s.done(uint64(t.ID), 0)
		}
		return refuse(protocol.Errorf(protocol.CodeTopicExists, "topic %q exists already (id %d)", r.Name, t.ID))
	}
	if len(s.image.byID) >= MaxTopics {
		return refuse(protocol.Errorf(protocol.CodeLimitExceeded,
			"the cluster has %d topics, which is the most it can have: delete some", MaxTopics))
	}
	if err := s.roomFor(int(r.Partitions)); err != nil {
		return refuse(err)
	}
	if err := s.enough(int(r.Replicas)); err != nil {
		return refuse(err)
	}
	t := &Topic{
		ID: s.image.NextTopic, Name: r.Name, Config: r.Config, Replicas: int(r.Replicas), CreateRequestID: r.RequestID,
	}
	t.Partitions = s.place(nil, int(r.Partitions), t.Replicas)
	s.image = s.image.withTopic(t)
	return s.done(uint64(t.ID), 0)
}

func (s *state) roomFor(partitions int) *protocol.Error {
	if s.image.Partitions+partitions <= MaxTotalPartitions {
		return nil
	}
	return protocol.Errorf(protocol.CodeLimitExceeded,
		"the cluster has %d partitions; with %d more it would pass the limit of %d",
		s.image.Partitions, partitions, MaxTotalPartitions)
}

// enough refuses more replicas than there are brokers that may get them.
func (s *state) enough(replicas int) *protocol.Error {
	active := s.active(0)
	if replicas <= active {
		return nil
	}
	return protocol.Errorf(protocol.CodeTooManyReplicas,
		"%d replicas need as many active brokers, but %d of the %d registered are: ask for fewer replicas, start more "+
			"brokers or make drained ones active", replicas, active, len(s.image.brokers))
}

// place returns existing with partitions more, and counts their load.
func (s *state) place(existing []Partition, partitions, replicas int) []Partition {
	topic := make(map[protocol.BrokerID]*Load, len(s.image.brokers))
	for _, b := range s.image.brokers {
		topic[b.ID] = &Load{}
	}
	countLoad(topic, existing, 1)
	loads := make([]Load, 0, len(s.image.brokers))
	for _, b := range s.image.brokers {
		if b.State == Active {
			all, own := s.loads[b.ID], topic[b.ID]
			loads = append(loads, Load{
				Broker: b.ID, Zone: b.Zone, Replicas: all.Replicas, Leaders: all.Leaders,
				TopicReplicas: own.Replicas, TopicLeaders: own.Leaders,
			})
		}
	}
	added := make([]Partition, 0, partitions)
	for i, brokers := range Place(loads, partitions, replicas) {
		p := Partition{Shard: s.image.NextShard + uint64(i), Replicas: make([]Replica, len(brokers)), Founders: brokers}
		for k, b := range brokers {
			p.Replicas[k] = Replica{Broker: b, ReplicaID: uint64(b)}
		}
		added = append(added, p)
	}
	countLoad(s.loads, added, 1)
	return append(slices.Clone(existing), added...)
}

func (s *state) deleteTopic(r *removeTopic) result {
	if err := checkDelete(&r.DeleteTopic); err != nil {
		return refuse(err)
	}
	t, ok := s.image.TopicNamed(r.Name)
	if r.ID != 0 {
		if s.image.Deleted(r.ID) {
			return s.done(uint64(r.ID), 0)
		}
		t, ok = s.image.Topic(r.ID)
		if ok && r.Name != "" && t.Name != r.Name {
			return refuse(protocol.Errorf(protocol.CodeTopicNotFound,
				"topic id %d is named %q, not %q: nothing was deleted", r.ID, t.Name, r.Name))
		}
	}
	if !ok {
		if r.ID != 0 {
			return refuse(protocol.Errorf(protocol.CodeTopicNotFound, "there is no topic with id %d", r.ID))
		}
		return refuse(noTopic(r.Name))
	}
	countLoad(s.loads, t.Partitions, -1)
	s.image = s.image.withoutTopic(t)
	return s.done(uint64(t.ID), 0)
}

func (s *state) alterTopic(r *alterTopic) result {
	if err := checkAlter(&r.AlterTopic); err != nil {
		return refuse(err)
	}
	t, ok := s.image.TopicNamed(r.Name)
	if !ok {
		return refuse(noTopic(r.Name))
	}
	c := *t
	c.Config = altered(t.Config, &r.AlterTopic)
	if err := checkConfig(c.Config); err != nil {
		return refuse(err)
	}
	if r.Replicas != nil {
		c.Replicas = int(*r.Replicas)
		if err := s.enough(c.Replicas); err != nil {
			return refuse(err)
		}
	}
	if r.Partitions != nil {
		if err := s.grow(&c, int(*r.Partitions)); err != nil {
			return refuse(err)
		}
	}
	if c.Config != t.Config || c.Replicas != t.Replicas || len(c.Partitions) != len(t.Partitions) {
		s.image = s.image.withTopic(&c)
	}
	return s.done(uint64(t.ID), 0)
}

// grow gives t, a copy that is not yet in the image, as many partitions as are wanted.
func (s *state) grow(t *Topic, partitions int) *protocol.Error {
	add := partitions - len(t.Partitions)
	if add == 0 {
		return nil
	}
	if add < 0 {
		return protocol.Errorf(protocol.CodeInvalidConfig,
			"topic %q has %d partitions and cannot have fewer: records would be lost; asked for %d",
			t.Name, len(t.Partitions), partitions)
	}
	if err := s.roomFor(add); err != nil {
		return err
	}
	if err := s.enough(t.Replicas); err != nil {
		return err
	}
	t.Partitions = s.place(t.Partitions, add, t.Replicas)
	return nil
}

func noTopic(name string) *protocol.Error {
	return protocol.Errorf(protocol.CodeTopicNotFound, "there is no topic %q", name)
}
