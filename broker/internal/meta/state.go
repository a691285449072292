package meta

import (
	"slices"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// state is everything the metadata shard replicates. It is pure: apply depends on nothing but state and command.
// One goroutine uses it at a time.
type state struct {
	image        *Image
	producers    map[string]*producer
	nextProducer uint64 // number of the next named producer
	answers      answers

	loads map[protocol.BrokerID]*Load // derived from image: what each registered broker carries
}

// producer is one named producer. nonces[i] made epoch-i; the zero nonce stands for none.
type producer struct {
	id     protocol.ProducerID
	epoch  protocol.ProducerEpoch
	nonces [rememberedNonces]uint64
}

func newState() *state {
	s := &state{image: newImage(), producers: make(map[string]*producer), nextProducer: 1}
	s.loads = loadsOf(s.image)
	return s
}

// loadsOf counts what each broker carries.
func loadsOf(im *Image) map[protocol.BrokerID]*Load {
	loads := make(map[protocol.BrokerID]*Load, len(im.brokers))
	for _, b := range im.brokers {
		loads[b.ID] = &Load{Broker: b.ID}
	}
	for _, t := range im.byID {
		countLoad(loads, t.Partitions, 1)
	}
	return loads
}

func countLoad(loads map[protocol.BrokerID]*Load, parts []Partition, by int) {
	for _, p := range parts {
		for i, r := range p.Replicas {
			l := loads[r.Broker]
			l.Replicas += by
			if i == 0 {
				l.Leaders += by
			}
		}
	}
}

// apply executes one command and returns its answer.
func (s *state) apply(c *command) result {
	switch {
	case c.create != nil:
		return s.once(c.create.RequestID, kindCreateTopic, c.create.Name, func() result { return s.createTopic(c.create) })
	case c.remove != nil:
		return s.once(c.remove.request, kindDeleteTopic, c.remove.Name, func() result { return s.deleteTopic(c.remove) })
	case c.alter != nil:
		return s.once(c.alter.request, kindAlterTopic, c.alter.Name, func() result { return s.alterTopic(c.alter) })
	case c.producer != nil:
		return s.initProducer(c.producer)
	case c.broker != nil:
		return s.registerBroker(c.broker)
	}
	return refuse(protocol.Errorf(protocol.CodeInvalidRequest, "empty metadata command"))
}

// once answers a request that was answered before with the same answer and runs any other.
func (s *state) once(request uint64, kind commandKind, name string, run func() result) result {
	if request == 0 {
		return run()
	}
	if a, ok := s.answers.get(request); ok {
		if a.kind != kind || a.name != name {
			return refuse(protocol.Errorf(protocol.CodeInvalidRequest,
				"request id %d was used for another request (topic %q): draw a random one for each request", request, a.name))
		}
		return a.result
	}
	r := run()
	s.answers.put(answer{request: request, kind: kind, name: name, result: r})
	return r
}

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
	if n := len(s.image.brokers); int(r.Replicas) > n {
		return refuse(protocol.Errorf(protocol.CodeTooManyReplicas,
			"%d replicas need as many brokers, but %d registered: ask for fewer replicas or start more brokers",
			r.Replicas, n))
	}
	t := &Topic{ID: s.image.NextTopic, Name: r.Name, Config: r.Config, CreateRequestID: r.RequestID}
	t.Partitions = s.place(nil, int(r.Partitions), int(r.Replicas))
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

// place returns existing with partitions more, and counts their load.
func (s *state) place(existing []Partition, partitions, replicas int) []Partition {
	loads := make([]Load, len(s.image.brokers))
	topic := make(map[protocol.BrokerID]*Load, len(loads))
	for i, b := range s.image.brokers {
		topic[b.ID] = &Load{}
		loads[i] = *s.loads[b.ID]
	}
	countLoad(topic, existing, 1)
	for i := range loads {
		l := topic[loads[i].Broker]
		loads[i].TopicReplicas, loads[i].TopicLeaders = l.Replicas, l.Leaders
	}
	added := make([]Partition, 0, partitions)
	for i, brokers := range Place(loads, partitions, replicas) {
		p := Partition{Shard: s.image.NextShard + uint64(i), Replicas: make([]Replica, len(brokers))}
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
	if r.Partitions != nil {
		add := int(*r.Partitions) - len(t.Partitions)
		if add < 0 {
			return refuse(protocol.Errorf(protocol.CodeInvalidConfig,
				"topic %q has %d partitions and cannot have fewer: records would be lost; asked for %d",
				r.Name, len(t.Partitions), *r.Partitions))
		}
		if err := s.roomFor(add); err != nil {
			return refuse(err)
		}
		if add > 0 {
			c.Partitions = s.place(t.Partitions, add, len(t.Partitions[0].Replicas))
		}
	}
	if c.Config != t.Config || len(c.Partitions) != len(t.Partitions) {
		s.image = s.image.withTopic(&c)
	}
	return s.done(uint64(t.ID), 0)
}

func (s *state) initProducer(r *initProducer) result {
	if err := checkName("producer", r.name); err != nil {
		return refuse(err)
	}
	p, ok := s.producers[r.name]
	if !ok {
		if len(s.producers) >= MaxNamedProducers {
			return refuse(protocol.Errorf(protocol.CodeLimitExceeded,
				"the cluster knows %d producer names, which is the most it can: use a known name or none", MaxNamedProducers))
		}
		p = &producer{id: protocol.NamedProducerBit | protocol.ProducerID(s.nextProducer)}
		s.nextProducer++
		s.producers[r.name] = p
	}
	if r.nonce != 0 {
		if i := slices.Index(p.nonces[:], r.nonce); i >= 0 {
			return s.done(uint64(p.id), uint64(p.epoch)-uint64(i))
		}
	}
	if p.epoch == 1<<32-1 {
		return refuse(protocol.Errorf(protocol.CodeLimitExceeded,
			"producer %q was opened %d times, which is the most: use another name", r.name, p.epoch))
	}
	p.epoch++
	copy(p.nonces[1:], p.nonces[:rememberedNonces-1])
	p.nonces[0] = r.nonce
	return s.done(uint64(p.id), uint64(p.epoch))
}

func (s *state) registerBroker(b *Broker) result {
	if err := checkBroker(b); err != nil {
		return refuse(err)
	}
	old, known := s.image.Broker(b.ID)
	if known && old == *b {
		return s.done(0, 0)
	}
	if err := s.mayRegister(b, old, known); err != nil {
		return refuse(err)
	}
	if !known {
		s.loads[b.ID] = &Load{Broker: b.ID}
	}
	s.image = s.image.withBroker(*b)
	return s.done(0, 0)
}

func (s *state) mayRegister(b *Broker, old Broker, known bool) *protocol.Error {
	if known && old.DirID != b.DirID {
		return protocol.Errorf(protocol.CodeInvalidConfig,
			"broker %d is registered with data directory %s, but this one is %s: it was wiped or belongs to another "+
				"broker. Starting it would forget acknowledged records. Bring the registered directory back, or start "+
				"with an empty directory under a broker id that was never used", b.ID, old.DirID, b.DirID)
	}
	if !known && len(s.image.brokers) >= MaxBrokers {
		return protocol.Errorf(protocol.CodeLimitExceeded, "the cluster has %d brokers, which is the most", MaxBrokers)
	}
	for _, o := range s.image.brokers {
		if o.ID == b.ID {
			continue
		}
		if o.RaftAddr == b.RaftAddr {
			return protocol.Errorf(protocol.CodeInvalidConfig,
				"broker %d: raft address %s belongs to broker %d", b.ID, b.RaftAddr, o.ID)
		}
		if o.DirID == b.DirID {
			return protocol.Errorf(protocol.CodeInvalidConfig,
				"broker %d: data directory %s belongs to broker %d: a copied directory cannot serve two brokers",
				b.ID, b.DirID, o.ID)
		}
	}
	return nil
}

func (s *state) done(a, b uint64) result { return result{version: s.image.Version, a: a, b: b} }

func noTopic(name string) *protocol.Error {
	return protocol.Errorf(protocol.CodeTopicNotFound, "there is no topic %q", name)
}
