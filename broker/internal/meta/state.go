package meta

import (
	"slices"
	"strconv"

	"github.com/trunkline/trunkline/protocol"
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

// loadsOf counts what each broker carries, with the replicas that moves add. The metadata shard does not count: it has a
// replica on each.
func loadsOf(im *Image) map[protocol.BrokerID]*Load {
	loads := make(map[protocol.BrokerID]*Load, len(im.brokers))
	for _, b := range im.brokers {
		loads[b.ID] = &Load{}
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
		if p.Move != nil && p.Move.Add != (Replica{}) {
			loads[p.Move.Add.Broker].Replicas += by
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
	case c.retire != nil:
		return s.retireBroker(c.retire.broker)
	case c.step != nil:
		return s.stepMove(c.step)
	case c.raise != nil:
		return s.raiseLevel(c.raise)
	case c.state != nil:
		name := strconv.FormatUint(uint64(c.state.broker), 10)
		return s.once(c.state.request, kindSetBrokerState, name, func() result { return s.setBrokerState(c.state) })
	case c.begin != nil:
		return s.once(c.begin.request, kindBeginMove, c.begin.TP.String(), func() result { return s.beginMove(c.begin) })
	case c.prefer != nil:
		return s.once(c.prefer.request, kindPreferLeader, c.prefer.tp.String(), func() result { return s.preferLeader(c.prefer) })
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
				"request id %d was used for another request (%q): draw a random one for each request", request, a.name))
		}
		return a.result
	}
	r := run()
	s.answers.put(answer{request: request, kind: kind, name: name, result: r})
	return r
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

func (s *state) done(a, b uint64) result { return result{version: s.image.Version, a: a, b: b} }
