package fakebroker

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

// subscription is a cursor with its consumers on the present leader. Guarded by Cluster.mu.
type subscription struct {
	p          *part
	cursor     protocol.Offset
	activation protocol.Activation
	members    map[string]*member
	active     *member
	revoking   bool
	grace      *time.Timer
}

// member is one consume stream, of a subscription or of a reader. Guarded by Cluster.mu.
type member struct {
	sub    *subscription // nil: a reader
	name   string
	grace  time.Duration
	kick   chan struct{}
	frames [][]byte
	credit int
	pos    protocol.Offset
	end    protocol.Offset // of a reader that stops
	stops  bool
	left   bool
	err    error
}

func (m *member) send(k protocol.Kind, x interface{ Append([]byte) []byte }) {
	m.frames = append(m.frames, wire.AppendFrame(nil, k, x))
	m.poke()
}

func (m *member) poke() {
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// reset forgets the consumers: another node leads.
func (s *subscription) reset() {
	for _, m := range s.members {
		m.err = s.p.refusal()
		m.poke()
	}
	s.members = make(map[string]*member)
	s.active, s.revoking = nil, false
	if s.grace != nil {
		s.grace.Stop()
	}
}

// balance makes the right member active: in turn by name.
func (s *subscription) balance() {
	names := slices.Sorted(maps.Keys(s.members))
	if len(names) == 0 {
		return
	}
	owner := s.members[names[int(s.p.tp.Partition)%len(names)]]
	switch {
	case s.active == owner:
	case s.active == nil:
		s.activation++
		s.active, s.revoking = owner, false
		owner.pos = s.cursor
		owner.send(protocol.KindActivate, &wire.Activate{Activation: s.activation, From: s.cursor})
	case !s.revoking:
		s.revoking = true
		a, m := s.activation, s.active
		m.send(protocol.KindRevoke, &wire.Revoke{Activation: a, GraceMillis: uint32(m.grace.Milliseconds())})
		s.grace = time.AfterFunc(m.grace, func() {
			s.p.c.mu.Lock()
			defer s.p.c.mu.Unlock()
			s.end(m, a)
		})
	}
}

// end ends a member's activation.
func (s *subscription) end(m *member, a protocol.Activation) {
	if s.active != m || s.activation != a {
		return
	}
	if s.grace != nil {
		s.grace.Stop()
	}
	s.active, s.revoking = nil, false
	m.send(protocol.KindDeactivated, &wire.Deactivated{Activation: a})
	s.balance()
}

// leave takes a member out.
func (s *subscription) leave(m *member) {
	if s.members[m.name] != m {
		return
	}
	delete(s.members, m.name)
	if s.active == m {
		s.end(m, s.activation)
	}
	s.balance()
}

func (s *subscription) state(p protocol.Partition, name string) wire.SubscriptionState {
	st := wire.SubscriptionState{
		Partition: p, Subscription: name, Cursor: s.cursor, Activation: s.activation,
		Consumers: slices.Sorted(maps.Keys(s.members)),
	}
	if s.active != nil {
		st.Active = s.active.name
	}
	return st
}

// ack takes an acknowledgement.
func (s *subscription) ack(m *member, a *wire.Ack) error {
	if s.active != m || s.activation != a.Activation {
		return protocol.Errorf(protocol.CodeStaleActivation, "activation %d, now %d", a.Activation, s.activation)
	}
	if a.Offset > m.pos {
		return protocol.Errorf(protocol.CodeInvalidRequest, "ack of %d, delivered %d", a.Offset, m.pos)
	}
	s.cursor = max(s.cursor, a.Offset)
	m.send(protocol.KindAckOK, &wire.AckOK{Activation: a.Activation, Offset: s.cursor})
	return nil
}

// consume serves a consume stream.
func (s *session) consume(ctx context.Context, st *quic.Stream, r *frame.Reader, body []byte) error {
	var open wire.ConsumeOpen
	if err := open.Decode(body); err != nil {
		return err
	}
	tp := protocol.TopicPartition{Topic: open.Topic, Partition: open.Partition}
	c := s.n.c
	c.mu.Lock()
	p, m, ok, err := s.join(tp, &open)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := st.Write(wire.AppendFrame(nil, protocol.KindConsumeOpenOK, ok)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.deliver(ctx, st, p, m) }()
	rerr := s.commands(r, m)
	c.mu.Lock()
	switch {
	case rerr == nil && m.sub == nil: // a reader has nothing more to say
	case rerr == nil || errors.As(rerr, new(*protocol.Error)):
		if m.err == nil {
			m.err = rerr
		}
		m.left = true
	default:
		cancel()
	}
	if m.sub != nil {
		m.sub.leave(m)
	}
	m.poke()
	c.mu.Unlock()
	err = <-done
	cancel()
	return err
}

// join opens a member. Called with Cluster.mu held.
func (s *session) join(
	tp protocol.TopicPartition, open *wire.ConsumeOpen,
) (*part, *member, *wire.ConsumeOpenOK, error) {
	p := s.n.c.part(tp)
	var err error
	if p == nil || !open.AnyReplica {
		if p, err = s.led(tp); err != nil {
			return nil, nil, nil, err
		}
	}
	from := p.start
	switch open.From.Kind {
	case wire.FromLatest:
		from = p.next
	case wire.FromOffset:
		from = protocol.Offset(open.From.Value)
	case wire.FromTime:
		from = p.offsetForTime(int64(open.From.Value))
	}
	if from > p.next {
		return nil, nil, nil, protocol.Errorf(protocol.CodeOffsetOutOfRange, "%d is beyond %d", from, p.next)
	}
	m := &member{
		name: open.Consumer, kick: make(chan struct{}, 1), credit: int(open.CreditBytes),
		grace: time.Duration(open.GraceMillis) * time.Millisecond, pos: from, end: p.next, stops: open.StopAtEnd,
	}
	if open.Subscription != "" {
		sub, ok := p.subs[open.Subscription]
		if !ok {
			sub = &subscription{p: p, cursor: from, members: make(map[string]*member)}
			p.subs[open.Subscription] = sub
		}
		from = sub.cursor
		if old := sub.members[m.name]; old != nil {
			old.err = protocol.Errorf(protocol.CodeStaleActivation, "taken over")
			old.poke()
			sub.leave(old)
		}
		m.sub = sub
		sub.members[m.name] = m
		sub.balance()
	}
	return p, m, &wire.ConsumeOpenOK{Epoch: p.epoch, Start: p.start, From: from, Next: p.next}, nil
}

// commands takes the consumer's frames until it ends the stream (nil).
func (s *session) commands(r *frame.Reader, m *member) error {
	for {
		kind, body, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.n.c.mu.Lock()
		err = m.command(kind, body)
		s.n.c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

func (m *member) command(kind protocol.Kind, body []byte) error {
	switch kind {
	case protocol.KindCredit:
		var x wire.Credit
		if err := x.Decode(body); err != nil {
			return err
		}
		m.credit += int(x.Bytes)
		m.poke()
		return nil
	case protocol.KindAck:
		var x wire.Ack
		if err := x.Decode(body); err != nil {
			return err
		}
		return m.sub.ack(m, &x)
	case protocol.KindRelease:
		var x wire.Release
		if err := x.Decode(body); err != nil {
			return err
		}
		if m.sub.active == m && m.sub.activation == x.Activation && !m.sub.revoking {
			delete(m.sub.members, m.name) // a withdrawal
		}
		m.sub.end(m, x.Activation)
		return nil
	}
	return protocol.Errorf(protocol.CodeUnexpectedFrame, "%s", kind)
}

// deliver writes what is due until the stream ends.
func (s *session) deliver(ctx context.Context, st *quic.Stream, p *part, m *member) error {
	defer st.CancelRead(0)
	for {
		s.n.c.mu.Lock()
		out := m.due(p)
		over := m.left || (m.stops && m.pos >= m.end)
		err, appended, lost := m.err, p.appended, p.lost
		if m.sub != nil {
			lost = nil
		}
		s.n.c.mu.Unlock()
		if len(out) > 0 {
			if _, werr := st.Write(out); werr != nil {
				return errBreak
			}
			continue
		}
		if err != nil || over {
			return err
		}
		select {
		case <-m.kick:
		case <-appended:
		case <-lost:
			s.n.c.mu.Lock()
			defer s.n.c.mu.Unlock()
			return p.refusal()
		case <-ctx.Done():
			return errBreak
		}
	}
}

// due takes the frames that are due.
func (m *member) due(p *part) []byte {
	out := slices.Concat(m.frames...)
	m.frames = nil
	active := m.sub == nil || m.sub.active == m
	if !active || m.credit <= 0 || m.err != nil || m.left || (m.stops && m.pos >= m.end) {
		return out
	}
	if m.pos < p.start {
		out = wire.AppendFrame(out, protocol.KindGap, &wire.Gap{From: m.pos, To: p.start})
		m.pos = p.start
	}
	batches, next := p.read(m.pos, min(m.credit, 64<<10))
	if len(batches) == 0 {
		return out
	}
	m.pos = next
	m.credit -= len(batches)
	h := wire.DeliverHeader{Next: next}
	if m.sub != nil {
		h.Activation = m.sub.activation
	}
	return frame.Append(out, protocol.KindDeliver, append(wire.AppendDeliverHeader(nil, h), batches...))
}
