package fakebroker

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// led finds a partition that this node leads. Called with Cluster.mu held.
func (s *session) led(tp protocol.TopicPartition) (*part, error) {
	p := s.n.c.part(tp)
	if p == nil {
		return nil, protocol.Errorf(protocol.CodeTopicNotFound, "no partition %s", tp)
	}
	if p.leader != s.n.id {
		return nil, p.refusal()
	}
	return p, nil
}

// produce serves a produce stream.
func (s *session) produce(ctx context.Context, st *quic.Stream, r *frame.Reader, body []byte) error {
	var open wire.ProduceOpen
	if err := open.Decode(body); err != nil {
		return err
	}
	tp := protocol.TopicPartition{Topic: open.Topic, Partition: open.Partition}
	c := s.n.c
	c.mu.Lock()
	p, err := s.led(tp)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	next, err := p.open(open.Producer, open.ProducerEpoch)
	ok := &wire.ProduceOpenOK{Epoch: p.epoch, NextSequence: next}
	lost := p.lost
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := st.Write(wire.AppendFrame(nil, protocol.KindProduceOpenOK, ok)); err != nil {
		return err
	}
	// A leader that is deposed says so on its streams, also on those where nothing comes.
	stop := make(chan struct{})
	deposed := make(chan struct{})
	go func() {
		defer close(deposed)
		select {
		case <-lost:
			st.CancelRead(0)
		case <-stop:
		case <-ctx.Done():
		}
	}()
	err = s.batches(st, r, tp)
	close(stop)
	<-deposed
	select {
	case <-lost:
		if !errors.Is(err, errBreak) {
			c.mu.Lock()
			defer c.mu.Unlock()
			return p.refusal()
		}
	default:
	}
	return err
}

// batches appends batches until the stream ends.
func (s *session) batches(st *quic.Stream, r *frame.Reader, tp protocol.TopicPartition) error {
	for {
		kind, body, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if kind != protocol.KindProduce {
			return protocol.Errorf(protocol.CodeUnexpectedFrame, "%s", kind)
		}
		h, err := batch.Check(body, int(s.n.c.cfg.MaxBatchBytes))
		if err != nil {
			return err
		}
		var fault Fault
		if f := s.n.c.cfg.Produce; f != nil {
			fault = f(tp, h)
		}
		if done, err := s.apply(st, tp, body, h, fault); done {
			return err
		}
	}
}

// apply appends one batch, or not, and answers, or not. It reports whether the stream is over.
func (s *session) apply(
	st *quic.Stream, tp protocol.TopicPartition, b []byte, h batch.Header, fault Fault,
) (bool, error) {
	ack := &wire.ProduceAck{BaseSequence: h.BaseSequence, Count: h.Count}
	switch fault.Action {
	case Swallow:
		return true, errBreak
	case RefuseStream:
		return true, protocol.Errorf(fault.Code, "as the test wants it")
	}
	var err error
	if fault.Action != Refuse {
		s.n.c.mu.Lock()
		var p *part
		if p, err = s.led(tp); err == nil {
			ack.BaseOffset, ack.Duplicate, err = p.append(b, h)
			ack.Epoch = p.epoch
		}
		s.n.c.mu.Unlock()
	}
	switch fault.Action {
	case LoseAck:
		return true, errBreak
	case LoseConn:
		_ = s.qc.CloseWithError(quic.ApplicationErrorCode(protocol.CodeClosing), "fault")
		return true, errBreak
	case Panic:
		_ = s.qc.CloseWithError(quic.ApplicationErrorCode(protocol.CodeInternal), "fault")
		return true, errBreak
	case Refuse, AppendRefuse:
		err = protocol.Errorf(fault.Code, "as the test wants it")
	}
	if err != nil {
		e := wire.ErrorFrom(err)
		ack.Code, ack.Message, ack.Leader, ack.Epoch = e.Code, e.Message, e.Leader, e.Epoch
	}
	if _, werr := st.Write(wire.AppendFrame(nil, protocol.KindProduceAck, ack)); werr != nil {
		return true, errBreak
	}
	return err != nil, nil
}

// request answers a request stream.
func (s *session) request(st *quic.Stream, body []byte) error {
	var req wire.Request
	if err := req.Decode(body); err != nil {
		return err
	}
	s.n.c.mu.Lock()
	resp, err := s.answer(&req)
	s.n.c.mu.Unlock()
	if err != nil {
		e := wire.ErrorFrom(err)
		resp = &wire.Response{Error: &e}
	}
	_, err = st.Write(wire.AppendFrame(nil, protocol.KindResponse, resp))
	return err
}

// answer carries a request out. Called with Cluster.mu held.
func (s *session) answer(req *wire.Request) (*wire.Response, error) {
	c := s.n.c
	switch {
	case req.Metadata != nil:
		return &wire.Response{Metadata: c.image(s.n)}, nil
	case req.InitProducer != nil:
		p, ok := c.producers[req.InitProducer.Name]
		if !ok {
			c.nextID++
			p = &wire.InitProducerOK{Producer: c.nextID | protocol.NamedProducerBit}
			c.producers[req.InitProducer.Name] = p
		}
		p.Epoch++
		return &wire.Response{InitProducer: &wire.InitProducerOK{Producer: p.Producer, Epoch: p.Epoch}}, nil
	case req.CreateTopic != nil:
		return s.createTopic(req.CreateTopic)
	case req.DeleteTopic != nil:
		t, ok := c.topics[req.DeleteTopic.Name]
		if !ok || (req.DeleteTopic.ID != 0 && req.DeleteTopic.ID != t.id) {
			return nil, protocol.Errorf(protocol.CodeTopicNotFound, "no topic %q", req.DeleteTopic.Name)
		}
		c.deleteTopic(t.name)
		return &wire.Response{DeleteTopic: &wire.DeleteTopicOK{ID: t.id}}, nil
	case req.AlterTopic != nil:
		return s.alterTopic(req.AlterTopic)
	case req.SetBrokerState != nil:
		return s.setState(req.SetBrokerState)
	case req.ListMoves != nil:
		return &wire.Response{ListMoves: s.moves()}, nil
	case req.ClusterPlan != nil:
		return &wire.Response{ClusterPlan: s.plan()}, nil
	case req.RaiseLevel != nil:
		c.level = max(c.level, req.RaiseLevel.Level)
		return &wire.Response{RaiseLevel: &wire.RaiseLevelOK{Level: c.level}}, nil
	case req.PartitionState != nil:
		return &wire.Response{PartitionState: s.states(req.PartitionState.Topic)}, nil
	case req.ClusterStatus != nil:
		return &wire.Response{ClusterStatus: &wire.ClusterStatus{
			Broker: s.n.id, Cluster: "fake", MetadataVersion: c.version, Level: c.level,
		}}, nil
	case req.Subscriptions != nil:
		return &wire.Response{Subscriptions: s.cursors(req.Subscriptions.Topic)}, nil
	}
	return nil, protocol.Errorf(protocol.CodeUnsupported, "request")
}

func (s *session) createTopic(m *wire.CreateTopic) (*wire.Response, error) {
	c := s.n.c
	t, ok := c.topics[m.Name]
	if ok && c.requests[m.RequestID] != m.Name {
		return nil, protocol.Errorf(protocol.CodeTopicExists, "topic %q exists", m.Name)
	}
	if !ok {
		c.requests[m.RequestID] = m.Name
		t = c.createTopic(m.Name, int(m.Partitions))
		t.config, t.replicas = m.Config, m.Replicas
		c.publish()
	}
	return &wire.Response{CreateTopic: c.info(t, []protocol.BrokerID{s.n.id})}, nil
}

func (s *session) alterTopic(m *wire.AlterTopic) (*wire.Response, error) {
	c := s.n.c
	t, ok := c.topics[m.Name]
	if !ok {
		return nil, protocol.Errorf(protocol.CodeTopicNotFound, "no topic %q", m.Name)
	}
	if m.RetentionMillis != nil {
		t.config.RetentionMillis = *m.RetentionMillis
	}
	if m.Replicas != nil {
		t.replicas = *m.Replicas
	}
	if m.Partitions != nil {
		c.grow(t, int(*m.Partitions))
	}
	c.publish()
	return &wire.Response{AlterTopic: c.info(t, []protocol.BrokerID{s.n.id})}, nil
}

func (s *session) setState(m *wire.SetBrokerState) (*wire.Response, error) {
	c := s.n.c
	if c.nodes[m.Broker] == nil {
		return nil, protocol.Errorf(protocol.CodeNotFound, "there is no broker %d", m.Broker)
	}
	c.states[m.Broker] = m.State
	c.publish()
	return &wire.Response{SetBrokerState: &wire.SetBrokerStateOK{}}, nil
}

// moves are one for each broker that is leaving: that of the metadata.
func (s *session) moves() *wire.Moves {
	out := &wire.Moves{}
	for _, id := range slices.Sorted(maps.Keys(s.n.c.states)) {
		if s.n.c.states[id] == protocol.BrokerLeaving {
			out.Moves = append(out.Moves, wire.Move{Shard: 1, ID: uint64(id), Remove: id})
		}
	}
	return out
}

// plan says of each move what its broker 1 knows as the leader of everything, and that one more is to come.
func (s *session) plan() *wire.ClusterPlan {
	out := &wire.ClusterPlan{Broker: s.n.id, MetadataLeader: 1, MetadataVersion: s.n.c.version}
	for _, m := range s.moves().Moves {
		p := wire.MoveProgress{Move: m, Leads: s.n.id == 1}
		if p.Leads {
			p.Step, p.Last, p.Match, p.SinceMillis = "promote", 100, 70, 5000
		}
		out.Moves = append(out.Moves, p)
	}
	out.Next = append(out.Next, wire.PlannedStep{Action: "retire", Broker: s.n.id, Reason: "it has left"})
	return out
}

func (s *session) states(id protocol.TopicID) *wire.PartitionStates {
	out := &wire.PartitionStates{Broker: s.n.id}
	for _, t := range s.n.c.topics {
		if t.id != id {
			continue
		}
		for _, p := range t.parts {
			out.Partitions = append(out.Partitions, wire.PartitionState{
				Partition: p.tp.Partition, Leader: p.leader, Epoch: p.epoch,
				Leading: p.leader == s.n.id, Start: p.start, Next: p.next,
			})
		}
	}
	return out
}

func (s *session) cursors(id protocol.TopicID) *wire.Subscriptions {
	out := &wire.Subscriptions{Broker: s.n.id}
	for _, t := range s.n.c.topics {
		if t.id != id {
			continue
		}
		for _, p := range t.parts {
			for name, sub := range p.subs {
				if p.leader == s.n.id {
					out.Subscriptions = append(out.Subscriptions, sub.state(p.tp.Partition, name))
				}
			}
		}
	}
	return out
}
