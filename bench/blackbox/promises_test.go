package blackbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// stream publishes numbered records to all partitions in turn until it is stopped, and keeps what it was told.
type stream struct {
	p    *client.Producer
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	history []verify.Sent
	errs    []error
}

func (e *env) startStream(t *testing.T, topic string, partitions int, every time.Duration) *stream {
	t.Helper()
	p, err := e.client.Producer(deadline(t, 20*time.Second), topic)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	s := &stream{p: p, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			s.mu.Lock()
			s.history = append(s.history, verify.Sent{})
			s.mu.Unlock()
			rec := client.Record{Value: numbered(n), Partition: client.OnPartition(n % partitions)}
			if err := p.Send(context.WithoutCancel(ctx), rec, func(r client.Receipt, err error) { s.answered(n, r, err) }); err != nil {
				s.answered(n, client.Receipt{}, err)
			}
		}
	}()
	return s
}

func (s *stream) answered(n int, r client.Receipt, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.history[n].Outcome = verify.Unknown
		s.errs = append(s.errs, err)
		return
	}
	s.history[n] = verify.Sent{Outcome: verify.Acked, Partition: int32(r.Partition), Offset: uint64(r.Offset)}
}

func (s *stream) acked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, h := range s.history {
		if h.Outcome == verify.Acked {
			n++
		}
	}
	return n
}

// finish stops sending, waits for every answer and requires that all were good.
func (s *stream) finish(t *testing.T) verify.History {
	t.Helper()
	s.stop()
	<-s.done
	require.NoError(t, s.p.Close(deadline(t, 30*time.Second)))
	require.Empty(t, s.errs)
	return verify.History{s.history}
}

// replicas reads what every broker holds.
func (e *env) replicas(t *testing.T, topic string) (names []string, all []verify.Replica) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		d, err := e.client.Admin().DescribeTopic(deadline(t, 5*time.Second), topic)
		if err != nil {
			return err
		}
		for _, p := range d.Partitions {
			for _, s := range p.States {
				if s.Err != nil || s.Next != p.Next {
					return fmt.Errorf("partition %d on broker %d: %d of %d (%w)", p.Partition, s.Broker, s.Next, p.Next, s.Err)
				}
			}
		}
		return nil
	})
	for _, b := range e.Brokers() {
		names = append(names, fmt.Sprint("broker ", b.ID))
		all = append(all, e.readReplica(t, topic, protocol.BrokerID(b.ID)))
	}
	return names, all
}

func (e *env) readReplica(t *testing.T, topic string, b protocol.BrokerID) verify.Replica {
	t.Helper()
	ctx := deadline(t, time.Minute)
	r, err := e.client.Reader(ctx, topic, client.StartAt(client.Earliest()), client.FromReplica(b), client.StopAtEnd())
	require.NoError(t, err)
	defer r.Close(ctx)
	rep := verify.Replica{}
	for {
		m, err := r.Receive(ctx)
		if errors.Is(err, io.EOF) {
			return rep
		}
		require.NoError(t, err)
		rep[int32(m.Partition)] = append(rep[int32(m.Partition)], verify.Entry{Offset: uint64(m.Offset), ID: verify.ID{Seq: uint64(number(m.Value))}})
	}
}

func (e *env) requireKept(t *testing.T, topic string, h verify.History) {
	t.Helper()
	names, all := e.replicas(t, topic)
	r := verify.Replicas(h, names, all)
	require.True(t, r.OK(), "%+v", r)
	require.Positive(t, r.Acked)
}

// TestAllBrokersKilledAtOnce: what was acknowledged is there after a restart of everything, and the same objects go on.
func TestAllBrokersKilledAtOnce(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 4, 3)
	sub, err := e.client.Subscribe(deadline(t, 20*time.Second), "t", "s")
	require.NoError(t, err)
	s := e.startStream(t, "t", 4, 500*time.Microsecond)
	eventually(t, 20*time.Second, func() error { return atLeast(s.acked(), 1000) })
	var kills sync.WaitGroup
	for _, b := range e.Brokers() {
		kills.Go(func() { _ = e.Kill(context.Background(), b.ID) }) // seen below: none answers
	}
	kills.Wait()
	before := s.acked()
	for _, b := range e.Brokers() {
		require.Zero(t, b.PID)
		require.NoError(t, e.Spawn(b.ID))
	}
	eventually(t, 30*time.Second, func() error { return atLeast(s.acked(), before+1000) })
	h := s.finish(t)
	e.requireKept(t, "t", h)
	requireDelivered(t, sub, len(h[0]))
}

func atLeast(got, want int) error {
	if got < want {
		return fmt.Errorf("%d of %d", got, want)
	}
	return nil
}

// requireDelivered receives n records of a subscription in order, each once.
func requireDelivered(t *testing.T, sub *client.Subscription, n int) {
	t.Helper()
	ctx := deadline(t, time.Minute)
	next := map[protocol.Partition]protocol.Offset{}
	for range n {
		m, err := sub.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, next[m.Partition], m.Offset, "partition %d", m.Partition)
		next[m.Partition]++
		require.NoError(t, sub.Ack(m))
	}
	require.NoError(t, sub.Commit(ctx))
}

// TestPausedLeader: a broker that hangs for 10 s loses its leaderships at once, acknowledges nothing meanwhile and
// rejoins.
func TestPausedLeader(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 3, 3)
	s := e.startStream(t, "t", 3, time.Millisecond)
	eventually(t, 20*time.Second, func() error { return atLeast(s.acked(), 500) })
	victim := e.leader(t, "t", 0)
	require.NoError(t, e.Pause(victim))
	resume := time.Now().Add(10 * time.Second)
	before := s.acked()
	eventually(t, 5*time.Second, func() error { return atLeast(s.acked(), before+2000) })
	time.Sleep(time.Until(resume))
	require.NoError(t, e.Resume(victim))
	require.NotEqual(t, victim, e.leader(t, "t", 0))
	before = s.acked()
	eventually(t, 10*time.Second, func() error { return atLeast(s.acked(), before+1000) })
	e.requireKept(t, "t", s.finish(t))
}

// TestNewerNamedProducerFencesTheOlder: the second process goes on with the sequence, the first one is told.
func TestNewerNamedProducerFencesTheOlder(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 1, 3)
	ctx := deadline(t, 30*time.Second)
	old, err := e.client.Producer(ctx, "t", client.WithProducerName("exchange"))
	require.NoError(t, err)
	for n := range 10 {
		_, err := old.Publish(ctx, client.Record{Value: numbered(n)})
		require.NoError(t, err)
	}
	fresh, err := e.connect(t).Producer(ctx, "t", client.WithProducerName("exchange"))
	require.NoError(t, err)
	require.Equal(t, protocol.Sequence(10), fresh.NextSequence(0))

	_, err = old.Publish(ctx, client.Record{Value: numbered(99)})
	require.ErrorIs(t, err, client.ErrFenced)
	var perr *client.PublishError
	require.ErrorAs(t, err, &perr)
	require.Equal(t, client.NotAppended, perr.Outcome)

	for n := 10; n < 20; n++ {
		_, err := fresh.Publish(ctx, client.Record{Value: numbered(n)})
		require.NoError(t, err)
	}
	for i, entry := range e.readReplica(t, "t", protocol.BrokerID(e.leader(t, "t", 0)))[0] {
		require.Equal(t, verify.Entry{Offset: uint64(i), ID: verify.ID{Seq: uint64(i)}}, entry)
	}
}

// holders watches which consumer is active where.
type holders struct {
	mu     sync.Mutex
	active map[protocol.Partition][]string // who believes to be active
	worst  int                             // most at one time on one partition
}

func (h *holders) event(consumer string) func(client.Rebalance) {
	return func(r client.Rebalance) {
		h.mu.Lock()
		defer h.mu.Unlock()
		switch r.Kind {
		case client.Assigned:
			h.active[r.Partition] = append(h.active[r.Partition], consumer)
			h.worst = max(h.worst, len(h.active[r.Partition]))
		case client.Released, client.Lost:
			h.active[r.Partition] = slices.DeleteFunc(h.active[r.Partition], func(c string) bool { return c == consumer })
		}
	}
}

// counts returns how many partitions each consumer has.
func (h *holders) counts() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := map[string]int{}
	for _, consumers := range h.active {
		for _, c := range consumers {
			n[c]++
		}
	}
	return n
}

func (h *holders) want(counts ...int) func() error {
	return func() error {
		var got []int
		for _, n := range h.counts() {
			got = append(got, n)
		}
		slices.Sort(got)
		if !slices.Equal(got, counts) {
			return fmt.Errorf("partitions of the consumers: %v, want %v", got, counts)
		}
		return nil
	}
}

// TestConsumersShareAndHandOver: two, three, one consumer; each partition has one, loads differ by at most one, every record is
// delivered once and in order although partitions move while records flow.
func TestConsumersShareAndHandOver(t *testing.T) {
	e := up(t, 3, nil)
	const partitions = 8
	e.createTopic(t, "t", partitions, 3)
	h := &holders{active: map[protocol.Partition][]string{}}
	var mu sync.Mutex
	delivered := map[int32][]verify.Entry{}
	var running sync.WaitGroup
	join := func(name string) *client.Subscription {
		sub, err := e.connect(t).Subscribe(deadline(t, 20*time.Second), "t", "s", client.WithConsumerName(name), client.OnRebalance(h.event(name)))
		require.NoError(t, err)
		running.Go(func() {
			for m, err := range sub.Messages(t.Context()) {
				if err != nil {
					return
				}
				mu.Lock()
				delivered[int32(m.Partition)] = append(delivered[int32(m.Partition)], verify.Entry{Offset: uint64(m.Offset)})
				mu.Unlock()
				_ = sub.Ack(m) // a partition that was lost meanwhile shows as a repeat below
			}
		})
		return sub
	}
	s := e.startStream(t, "t", partitions, time.Millisecond)
	a := join("a")
	eventually(t, 15*time.Second, h.want(8))
	b := join("b")
	eventually(t, 15*time.Second, h.want(4, 4))
	c := join("c")
	eventually(t, 15*time.Second, h.want(2, 3, 3))
	require.NoError(t, a.Close(deadline(t, 10*time.Second)))
	eventually(t, 15*time.Second, h.want(4, 4))
	require.NoError(t, c.Close(deadline(t, 10*time.Second)))
	eventually(t, 15*time.Second, h.want(8))
	hist := s.finish(t)
	eventually(t, 20*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		n := 0
		for _, d := range delivered {
			n += len(d)
		}
		return atLeast(n, len(hist[0]))
	})
	require.NoError(t, b.Close(deadline(t, 10*time.Second)))
	running.Wait()
	require.Equal(t, 1, h.worst, "consumers active on one partition at a time")
	next := map[int32]uint64{}
	for i := range hist[0] {
		next[int32(i%partitions)]++
	}
	r := verify.Delivery(delivered, next)
	require.True(t, r.OK(), "%+v", r)
}

// TestLateAcknowledgementIsRefused: who lost a partition cannot move its cursor any more; the next consumer gets what was not
// acknowledged in time, from the first such record on.
func TestLateAcknowledgementIsRefused(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 2, 3)
	ctx := deadline(t, time.Minute)
	p, err := e.client.Producer(ctx, "t")
	require.NoError(t, err)
	const each = 20
	for n := range 2 * each {
		_, err := p.Publish(ctx, client.Record{Value: numbered(n), Partition: client.OnPartition(n % 2)})
		require.NoError(t, err)
	}
	lost := make(chan protocol.Partition, 8)
	slow, err := e.client.Subscribe(ctx, "t", "s", client.WithConsumerName("slow"), client.WithGrace(200*time.Millisecond),
		client.OnRebalance(func(r client.Rebalance) {
			if r.Kind == client.Lost || r.Kind == client.Released {
				lost <- r.Partition
			}
		}))
	require.NoError(t, err)
	var held []*client.Message
	for range 2 * each {
		m, err := slow.Receive(ctx)
		require.NoError(t, err)
		held = append(held, m)
	}
	next, err := e.connect(t).Subscribe(ctx, "t", "s", client.WithConsumerName("next"))
	require.NoError(t, err)
	var moved protocol.Partition
	select {
	case moved = <-lost:
	case <-ctx.Done():
		t.Fatal("no partition moved")
	}
	require.NoError(t, slow.Ack(held...))
	for want := range protocol.Offset(each) {
		m, err := next.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, moved, m.Partition)
		require.Equal(t, want, m.Offset)
	}
	states, err := e.client.Admin().Subscriptions(ctx, "t")
	require.NoError(t, err)
	for _, s := range states {
		if s.Partition == moved {
			require.Zero(t, s.Cursor)
			require.Equal(t, "next", s.Active)
		}
	}
}
