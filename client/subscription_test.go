package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
	"github.com/trunkline/trunkline/protocol"
)

// filled is a topic with n records in each partition.
func filled(t *testing.T, partitions, n int) (*fakebroker.Cluster, *client.Client, *client.Producer) {
	t.Helper()
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", partitions)
	c := connect(t, fc)
	p, err := c.Producer(within(t), "t", client.WithBatchBytes(200))
	require.NoError(t, err)
	for i := range partitions {
		publish(t, p, i, 0, n)
	}
	return fc, c, p
}

func receive(t testing.TB, s *client.Subscription, n int) []*client.Message {
	t.Helper()
	ctx := within(t)
	var list []*client.Message
	for range n {
		m, err := s.Receive(ctx)
		require.NoError(t, err)
		list = append(list, m)
	}
	return list
}

func TestAcksInAnyOrder(t *testing.T) {
	fc, c, _ := filled(t, 1, 10)
	ctx := within(t)
	s, err := c.Subscribe(ctx, "t", "s")
	require.NoError(t, err)
	m := receive(t, s, 10)
	for i := range m {
		require.Equal(t, string(value(i)), string(m[i].Value))
		require.Equal(t, protocol.Offset(i), m[i].Offset)
		require.Equal(t, protocol.Sequence(i), m[i].Sequence)
		require.Equal(t, protocol.Epoch(1), m[i].Epoch)
		require.WithinDuration(t, time.Now(), m[i].AppendTime, time.Minute)
	}
	require.NoError(t, s.Ack(m[9], m[1], m[2], m[0], m[0]))
	require.NoError(t, s.Commit(ctx))
	cursor, _ := fc.Cursor("t", 0, "s")
	require.Equal(t, protocol.Offset(3), cursor)
	require.NoError(t, s.Ack(m[3:]...))
	require.NoError(t, s.Close(ctx))
	cursor, _ = fc.Cursor("t", 0, "s")
	require.Equal(t, protocol.Offset(10), cursor)
	_, err = s.Receive(ctx)
	require.ErrorIs(t, err, client.ErrClosed)
}

// TestRedelivery: what was not acknowledged is delivered again to the next consumer, nothing else.
func TestRedelivery(t *testing.T) {
	_, c, _ := filled(t, 1, 10)
	ctx := within(t)
	s, err := c.Subscribe(ctx, "t", "s")
	require.NoError(t, err)
	m := receive(t, s, 10)
	require.NoError(t, s.Ack(m[:4]...))
	require.NoError(t, s.Close(ctx))
	s, err = c.Subscribe(ctx, "t", "s", client.StartAt(client.Latest())) // does not count: it exists
	require.NoError(t, err)
	require.Equal(t, protocol.Offset(4), receive(t, s, 1)[0].Offset)
	require.ErrorContains(t, s.Ack(m[5]), "not from this subscription")
}

func TestStartAt(t *testing.T) {
	_, c, p := filled(t, 1, 10)
	ctx := within(t)
	cut := time.Now().Add(5 * time.Millisecond)
	time.Sleep(10 * time.Millisecond) // the next records are appended later than cut
	latest, err := c.Subscribe(ctx, "t", "latest", client.StartAt(client.Latest()))
	require.NoError(t, err)
	publish(t, p, 0, 10, 5)
	for name, at := range map[string]struct {
		s    client.Start
		want protocol.Offset
	}{
		"earliest": {client.Earliest(), 0}, "offset": {client.AtOffset(7), 7}, "time": {client.AtTime(cut), 10},
	} {
		s, err := c.Subscribe(ctx, "t", name, client.StartAt(at.s))
		require.NoError(t, err)
		require.Equal(t, at.want, receive(t, s, 1)[0].Offset, name)
	}
	require.Equal(t, protocol.Offset(10), receive(t, latest, 1)[0].Offset)
}

func TestMaxUnackedPauses(t *testing.T) {
	_, c, _ := filled(t, 1, 10)
	ctx := within(t)
	s, err := c.Subscribe(ctx, "t", "s", client.WithMaxUnacked(3))
	require.NoError(t, err)
	m := receive(t, s, 3)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = s.Receive(short)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, s.Ack(m[0]))
	receive(t, s, 1)
}

// events collects rebalance events.
type events struct {
	mu   sync.Mutex
	list []client.Rebalance
}

func (e *events) add(r client.Rebalance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, r)
}

func (e *events) count(k client.RebalanceKind) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, r := range e.list {
		if r.Kind == k {
			n++
		}
	}
	return n
}

// TestHandover: a second consumer takes over half of the partitions; the first may finish what it holds.
func TestHandover(t *testing.T) {
	fc, c, _ := filled(t, 2, 5)
	ctx := within(t)
	var e1, e2 events
	s1, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName("a"), client.OnRebalance(e1.add))
	require.NoError(t, err)
	held := map[protocol.Partition][]*client.Message{}
	for _, m := range receive(t, s1, 10) {
		held[m.Partition] = append(held[m.Partition], m)
	}
	require.Equal(t, 2, e1.count(client.Assigned))
	s2, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName("b"), client.OnRebalance(e2.add))
	require.NoError(t, err)
	waitFor(t, func() bool { return e1.count(client.Revoking) == 1 })
	require.Zero(t, e2.count(client.Assigned), "the grace is not over")
	require.NoError(t, s1.Ack(held[1]...)) // partition 1 goes to b
	waitFor(t, func() bool { return e2.count(client.Assigned) == 1 })
	require.Equal(t, 1, e1.count(client.Released))
	require.Equal(t, []protocol.Partition{0}, s1.Assigned())
	require.Equal(t, []protocol.Partition{1}, s2.Assigned())
	cursor, activation := fc.Cursor("t", 1, "s")
	require.Equal(t, protocol.Offset(5), cursor)
	require.Equal(t, protocol.Activation(2), activation)
	require.NoError(t, s2.Close(ctx))
	waitFor(t, func() bool { return len(s1.Assigned()) == 2 })
	require.NoError(t, s1.Ack(held[0]...))
	require.NoError(t, s1.Commit(ctx))
}

// TestGraceOver: who does not acknowledge in time loses the partition, and its late acks are dropped.
func TestGraceOver(t *testing.T) {
	fc, c, _ := filled(t, 2, 5)
	ctx := within(t)
	var e events
	s1, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName("a"), client.OnRebalance(e.add),
		client.WithGrace(100*time.Millisecond))
	require.NoError(t, err)
	held := receive(t, s1, 10)
	s2, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName("b"))
	require.NoError(t, err)
	again := receive(t, s2, 5)
	waitFor(t, func() bool { return e.count(client.Released)+e.count(client.Lost) == 1 })
	require.NoError(t, s1.Ack(held...))
	require.NoError(t, s1.Commit(ctx), "only what is still its own counts")
	cursor, _ := fc.Cursor("t", 1, "s")
	require.Zero(t, cursor)
	require.NoError(t, s2.Ack(again...))
	require.NoError(t, s2.Commit(ctx))
}

// TestSameNameTakesOver: a consumer of the same name ends the first one's turns, whose acks are dropped.
func TestSameNameTakesOver(t *testing.T) {
	_, c, _ := filled(t, 1, 5)
	ctx := within(t)
	s1, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName("a"))
	require.NoError(t, err)
	receive(t, s1, 5)
	s2, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName("a"))
	require.NoError(t, err)
	receive(t, s2, 1)
}

// crowd is consumers that come and go, and what they were given.
type crowd struct {
	t    *testing.T
	fc   *fakebroker.Cluster
	wg   sync.WaitGroup
	mu   sync.Mutex
	seen map[protocol.Partition]map[protocol.Offset]int
}

// join adds a consumer of its own client, until the returned function is called.
func (w *crowd) join(name string) context.CancelFunc {
	ctx, cancel := context.WithCancel(within(w.t))
	w.wg.Go(func() {
		if err := w.consume(ctx, name); err != nil && !errors.Is(err, client.ErrPartitionLost) {
			w.t.Errorf("consumer %s: %v", name, err)
		}
	})
	return cancel
}

func (w *crowd) consume(ctx context.Context, name string) error {
	c, err := client.Connect(ctx, w.fc.Addrs(), client.WithTLSConfig(w.fc.TLS()))
	if err != nil {
		return err
	}
	s, err := c.Subscribe(ctx, "t", "s", client.WithConsumerName(name))
	if err != nil {
		return err
	}
	last := map[protocol.Partition]protocol.Offset{}
	for m, err := range s.Messages(ctx) {
		if err != nil {
			break
		}
		if o, ok := last[m.Partition]; ok && m.Offset <= o {
			return fmt.Errorf("partition %d: offset %d after %d", m.Partition, m.Offset, o)
		}
		last[m.Partition] = m.Offset
		w.note(m)
		if err := s.Ack(m); err != nil {
			return err
		}
	}
	late, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return c.Close(late)
}

func (w *crowd) note(m *client.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen[m.Partition] == nil {
		w.seen[m.Partition] = map[protocol.Offset]int{}
	}
	w.seen[m.Partition][m.Offset]++
}

// TestConsumersComeAndGo: consumers come and go while records flow. None is out of order within a
// partition, skipped, or, since all are acknowledged at once, given to two consumers.
func TestConsumersComeAndGo(t *testing.T) {
	fc, _, p := filled(t, 6, 20)
	w := &crowd{t: t, fc: fc, seen: map[protocol.Partition]map[protocol.Offset]int{}}
	publishAll := func(from int) {
		for i := range 6 {
			publish(t, p, i, from, 20)
		}
	}
	stopA := w.join("a")
	publishAll(20)
	stopB := w.join("b")
	publishAll(40)
	stopC := w.join("c")
	publishAll(60)
	stopA()
	publishAll(80)
	stopB()
	publishAll(100)
	waitFor(t, func() bool {
		for i := range protocol.Partition(6) {
			if cursor, _ := fc.Cursor("t", i, "s"); cursor != 120 {
				return false
			}
		}
		return true
	})
	stopC()
	w.wg.Wait()
	for i := range protocol.Partition(6) {
		require.Len(t, w.seen[i], 120)
		for o, n := range w.seen[i] {
			require.Equal(t, 1, n, "partition %d offset %d", i, o)
		}
	}
}

// TestClientFrozen: nothing arrives or leaves for longer than every timeout, as for a stopped process. All
// goes on by itself, without a record lost, repeated or out of order.
func TestClientFrozen(t *testing.T) {
	fc, c, p := filled(t, 2, 10)
	ctx := within(t)
	s, err := c.Subscribe(ctx, "t", "s")
	require.NoError(t, err)
	held := receive(t, s, 20)
	for i := range 3 {
		fc.Stop(protocol.BrokerID(i + 1))
	}
	waitFor(t, func() bool {
		for _, b := range c.Brokers() {
			if b.Connected {
				return false
			}
		}
		return true
	})
	require.NoError(t, s.Ack(held...)) // nobody hears it now
	done := make(chan error, 1)
	require.NoError(t, p.Send(ctx, record(0, 10), func(_ client.Receipt, err error) { done <- err }))
	for i := range 3 {
		fc.Continue(protocol.BrokerID(i + 1))
	}
	require.NoError(t, <-done)
	m := receive(t, s, 1)[0]
	require.Equal(t, protocol.Offset(10), m.Offset, "records were handed out twice")
	require.NoError(t, s.Ack(m))
	require.NoError(t, s.Commit(ctx))
	cursor, _ := fc.Cursor("t", 0, "s")
	require.Equal(t, protocol.Offset(11), cursor)
}

func TestGap(t *testing.T) {
	fc, c, p := filled(t, 1, 20)
	ctx := within(t)
	var mu sync.Mutex
	var gaps []client.Gap
	onGap := client.OnGap(func(g client.Gap) {
		mu.Lock()
		defer mu.Unlock()
		gaps = append(gaps, g)
	})
	s, err := c.Subscribe(ctx, "t", "s", onGap)
	require.NoError(t, err)
	m := receive(t, s, 1)
	require.NoError(t, s.Ack(m...))
	require.NoError(t, s.Close(ctx))
	fc.Truncate("t", 0, 10)
	start := fc.Log("t", 0)[0].Offset
	s, err = c.Subscribe(ctx, "t", "s", onGap)
	require.NoError(t, err)
	m = receive(t, s, 1)
	require.Equal(t, start, m[0].Offset)
	require.Equal(t, []client.Gap{{Partition: 0, From: 1, To: start}}, gaps)
	require.NoError(t, s.Commit(ctx))
	cursor, _ := fc.Cursor("t", 0, "s")
	require.Equal(t, start, cursor, "a gap counts as done")
	publish(t, p, 0, 20, 1)
}

func TestReader(t *testing.T) {
	fc, c, p := filled(t, 3, 10)
	ctx := within(t)
	r, err := c.Reader(ctx, "t", client.StopAtEnd())
	require.NoError(t, err)
	publish(t, p, 0, 10, 1) // behind its end, unless it was slow to open
	n := 0
	next := map[protocol.Partition]protocol.Offset{}
	for m, err := range r.Messages(ctx) {
		require.NoError(t, err)
		require.Equal(t, next[m.Partition], m.Offset)
		next[m.Partition]++
		n++
	}
	require.GreaterOrEqual(t, n, 30)
	_, err = r.Receive(ctx)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, r.Close(ctx))

	r, err = c.Reader(ctx, "t", client.ReadPartitions(1), client.StartAt(client.AtOffset(8)),
		client.FromReplica(3), client.StopAtEnd())
	require.NoError(t, err)
	for i := range 2 {
		m, err := r.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, protocol.Offset(8+i), m.Offset)
	}
	_, err = r.Receive(ctx)
	require.ErrorIs(t, err, io.EOF)

	_, err = c.Reader(ctx, "t", client.ReadPartitions(3))
	require.ErrorIs(t, err, client.ErrPartitionUnknown)
	_, err = c.Reader(ctx, "t", client.FromReplica(9))
	require.ErrorIs(t, err, client.ErrNotFound)
	bad, err := c.Reader(ctx, "t", client.StartAt(client.AtOffset(99)))
	require.NoError(t, err)
	_, err = bad.Receive(ctx)
	require.ErrorIs(t, err, client.ErrOffsetOutOfRange)

	empty, err := c.Reader(ctx, "t", client.StartAt(client.Latest()), client.StopAtEnd())
	require.NoError(t, err)
	_, err = empty.Receive(ctx)
	require.ErrorIs(t, err, io.EOF)
	_ = fc
}

// TestReaderFailsOver: a reader goes on at its position, also when retention has passed it meanwhile.
func TestReaderFailsOver(t *testing.T) {
	fc, c, p := filled(t, 1, 10)
	ctx := within(t)
	gaps := make(chan client.Gap, 1)
	r, err := c.Reader(ctx, "t", client.OnGap(func(g client.Gap) { gaps <- g }), client.WithCredit(100))
	require.NoError(t, err)
	for i := range 5 {
		m, err := r.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, protocol.Offset(i), m.Offset)
	}
	fc.Kill(1)
	fc.FailOver(1)
	for i := 5; i < 10; i++ {
		m, err := r.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, protocol.Offset(i), m.Offset)
	}
	for i := range 3 {
		fc.Stop(protocol.BrokerID(i + 1))
	}
	waitFor(t, func() bool { return !connectedTo(c, 2) && !connectedTo(c, 3) })
	fc.Continue(2)
	fc.Continue(3)
	publish(t, p, 0, 10, 10)
	m, err := r.Receive(ctx)
	require.NoError(t, err)
	require.Equal(t, protocol.Offset(10), m.Offset)
	select {
	case g := <-gaps:
		t.Fatalf("gap %v", g)
	default:
	}
}
