package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/client/internal/fakebroker"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

func TestPublish(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("orders", 3)
	c := connect(t, fc)
	ctx := within(t)
	for _, k := range []client.Compression{client.NoCompression, client.Zstd, client.S2} {
		p, err := c.Producer(ctx, "orders", client.WithCompression(k))
		require.NoError(t, err)
		r, err := p.Publish(ctx, client.Record{
			Key: []byte("k"), Value: []byte(strings.Repeat("v", 1000)),
			Headers: []client.Header{{Key: "h", Value: []byte("x")}},
		})
		require.NoError(t, err)
		require.Equal(t, protocol.Partition(client.HashPartition([]byte("k"), 3)), r.Partition)
		require.Equal(t, protocol.Offset(k), r.Offset)
		require.Equal(t, protocol.Epoch(1), r.Epoch)
		require.Equal(t, protocol.Sequence(1), p.NextSequence(r.Partition))
		require.NoError(t, p.Close(ctx))
		_, err = p.Publish(ctx, client.Record{})
		require.ErrorIs(t, err, client.ErrClosed)
	}
}

func TestSendCompletesInOrder(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 2)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t", client.WithBatchBytes(200), client.WithMaxInFlight(4))
	require.NoError(t, err)
	var got [2][]int
	const n = 500
	for i := range n {
		require.NoError(t, p.Send(ctx, record(i%2, i), func(r client.Receipt, err error) {
			require.NoError(t, err)
			require.Equal(t, protocol.Offset(len(got[i%2])), r.Offset)
			got[i%2] = append(got[i%2], i)
		}))
	}
	require.NoError(t, p.Close(ctx))
	for _, g := range got {
		require.Len(t, g, n/2)
		require.True(t, slices.IsSorted(g))
	}
}

// TestNothingLingersAlone: a record waits for company only while a batch before it is owed an answer.
func TestNothingLingersAlone(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t", client.WithLinger(time.Hour))
	require.NoError(t, err)
	sent := make(chan error, 1)
	for i := range 3 { // each is answered before the next
		require.NoError(t, p.Send(ctx, record(0, i), func(_ client.Receipt, err error) { sent <- err }))
		select {
		case err := <-sent:
			require.NoError(t, err)
		case <-ctx.Done():
			require.Fail(t, "it lingers")
		}
	}
}

// TestLeaderKilled kills the leader again and again while records flow: none is lost, repeated or out of
// order, and the pause is short because the new leader is pushed over a warm connection.
func TestLeaderKilled(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	var acked atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := p.Publish(ctx, record(0, i))
			if err != nil {
				t.Errorf("publish %d: %v", i, err)
				return
			}
			acked.Add(1)
		}
	})
	for range 5 {
		waitFor(t, func() bool { return acked.Load() > 10 })
		leader := fc.Leader("t", 0)
		fc.Kill(leader)
		began := time.Now()
		fc.FailOver(leader)
		before := acked.Load()
		waitFor(t, func() bool { return acked.Load() > before+1 })
		t.Logf("pause %v", time.Since(began))
		require.Less(t, time.Since(began), time.Second)
		require.NoError(t, fc.Restart(leader))
		waitFor(t, func() bool { return connectedTo(c, leader) })
	}
	close(stop)
	wg.Wait()
	require.Equal(t, sequence(int(acked.Load())), values(fc, "t", 0))
}

func connectedTo(c *client.Client, id protocol.BrokerID) bool {
	for _, b := range c.Brokers() {
		if b.ID == id {
			return b.Connected
		}
	}
	return false
}

// waitFor polls, since what it waits for happens in other goroutines without a signal.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 2*time.Millisecond)
}

// TestHungLeader stops the leader: what is in flight moves as soon as another one is announced.
func TestHungLeader(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 3)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	for i := range 3 {
		publish(t, p, i, 0, 10)
	}
	leader := fc.Leader("t", 0)
	fc.Stop(leader)
	done := make(chan error, 1)
	require.NoError(t, p.Send(ctx, record(0, 10), func(_ client.Receipt, err error) { done <- err }))
	for i := range 20 { // the others do not notice
		began := time.Now()
		_, err := p.Publish(ctx, record(1+i%2, 10+i))
		require.NoError(t, err)
		require.Less(t, time.Since(began), 500*time.Millisecond)
	}
	fc.FailOver(leader)
	began := time.Now()
	require.NoError(t, <-done)
	require.Less(t, time.Since(began), 500*time.Millisecond)
	fc.Continue(leader)
	require.Equal(t, sequence(11), values(fc, "t", 0))
}

// TestUnknownKeepsItsPlace: a caller whose context ends while its record is in flight is told Unknown,
// later records come behind it, and it is appended once.
func TestUnknownKeepsItsPlace(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 1)
	leader := fc.Leader("t", 0)
	fc.Stop(leader)

	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err = p.Publish(short, record(0, 1))
	require.Less(t, time.Since(began), time.Second)
	var pe *client.PublishError
	require.ErrorAs(t, err, &pe)
	require.Equal(t, client.Unknown, pe.Outcome)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	done := make(chan error, 1)
	require.NoError(t, p.Send(ctx, record(0, 2), func(_ client.Receipt, err error) { done <- err }))
	fc.FailOver(leader)
	require.NoError(t, <-done)
	require.Equal(t, sequence(3), values(fc, "t", 0))
}

// TestNotAppended: without a leader nothing is sent, so that the caller may be told so.
func TestNotAppended(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 2)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	fc.Kill(fc.Leader("t", 0))

	results := make(chan error, 10)
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	for i := range 10 {
		require.NoError(t, p.Send(short, record(0, i), func(_ client.Receipt, err error) { results <- err }))
	}
	_, err = p.Publish(short, record(0, 10))
	for range 10 {
		requireOutcome(t, <-results, client.NotAppended)
	}
	requireOutcome(t, err, client.NotAppended)
	t.Log(err)

	_, err = p.Publish(ctx, record(1, 0)) // the other partition does not care
	require.NoError(t, err)
	fc.FailOver(1)
	publish(t, p, 0, 0, 3)
	require.Equal(t, sequence(3), values(fc, "t", 0))
}

func requireOutcome(t *testing.T, err error, o client.Outcome) {
	t.Helper()
	var pe *client.PublishError
	require.ErrorAs(t, err, &pe)
	require.Equal(t, o, pe.Outcome, "%v", err)
}

func TestBufferBoundBlocks(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 2)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t", client.WithBufferBytes(2000), client.WithBatchBytes(100))
	require.NoError(t, err)
	leader := fc.Leader("t", 0)
	fc.Kill(leader)
	const n = 200 // several times the bound
	var sent atomic.Int64
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < n && err == nil; i++ {
			err = p.Send(ctx, record(0, i), nil)
			sent.Add(1)
		}
		done <- err
	}()
	waitFor(t, func() bool {
		before := sent.Load()
		time.Sleep(20 * time.Millisecond) // long enough for another one, were there room
		return sent.Load() == before && before > 0
	})
	require.Less(t, sent.Load(), int64(n))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err = p.Send(short, record(0, 0), nil)
	requireOutcome(t, err, client.NotAppended)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = p.Publish(ctx, record(1, 0))
	require.NoError(t, err, "another partition is blocked")
	fc.FailOver(leader)
	require.NoError(t, <-done)
	require.NoError(t, p.Flush(ctx))
	require.Equal(t, sequence(n), values(fc, "t", 0))
}

// TestMaxBlockSheds shows that who does not want to wait for room, or not for long, is told that the partition is busy, that nothing of
// what was refused gets into the log, and that nobody is refused when there is room again.
func TestMaxBlockSheds(t *testing.T) {
	for _, patience := range []time.Duration{-1, time.Millisecond} {
		t.Run(patience.String(), func(t *testing.T) {
			fc := start(t, fakebroker.Config{})
			fc.CreateTopic("t", 1)
			c := connect(t, fc)
			ctx := within(t)
			p, err := c.Producer(ctx, "t", client.WithBufferBytes(2000), client.WithBatchBytes(100), client.WithMaxBlock(patience))
			require.NoError(t, err)
			publish(t, p, 0, 0, 1)
			leader := fc.Leader("t", 0)
			fc.Kill(leader)
			taken := 1
			for err == nil {
				if err = p.Send(ctx, record(0, taken), nil); err == nil {
					taken++
				}
			}
			require.ErrorIs(t, err, client.ErrBusy)
			require.ErrorContains(t, err, "2000 bytes")
			requireOutcome(t, err, client.NotAppended)
			_, err = p.Publish(ctx, record(0, taken))
			require.ErrorIs(t, err, client.ErrBusy)
			fc.FailOver(leader)
			require.NoError(t, p.Flush(ctx))
			publish(t, p, 0, taken, 1)
			require.Equal(t, sequence(taken+1), values(fc, "t", 0))
		})
	}
}

func TestRecordTooLarge(t *testing.T) {
	fc := start(t, fakebroker.Config{MaxRecordBytes: 1000, MaxBatchBytes: 1000})
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	for _, size := range []int{2000, 950} { // the smaller one has no room in a batch, beside the batch's header
		_, err = p.Publish(ctx, client.Record{Value: make([]byte, size)})
		require.ErrorIs(t, err, client.ErrRecordTooLarge)
		require.ErrorContains(t, err, "accepts 920")
		requireOutcome(t, err, client.NotAppended)
	}
	_, err = p.Publish(ctx, client.Record{Partition: client.OnPartition(7)})
	require.ErrorIs(t, err, client.ErrPartitionUnknown)
	_, err = p.Publish(ctx, client.Record{Value: make([]byte, 900)})
	require.NoError(t, err)
}

func TestNamedProducer(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 3)
	c1, c2 := connect(t, fc), connect(t, fc)
	ctx := within(t)
	p1, err := c1.Producer(ctx, "t", client.WithProducerName("billing"))
	require.NoError(t, err)
	for i := range 3 {
		publish(t, p1, i, 0, 5)
	}
	p2, err := c2.Producer(ctx, "t", client.WithProducerName("billing"))
	require.NoError(t, err)
	require.Equal(t, protocol.Sequence(5), p2.NextSequence(1))
	for i := range 3 { // whatever partition it tries first
		_, err = p1.Publish(ctx, record(i, 99))
		require.ErrorIs(t, err, client.ErrFenced)
		requireOutcome(t, err, client.NotAppended)
	}
	for i := range 3 {
		publish(t, p2, i, 5, 5)
		log := fc.Log("t", protocol.Partition(i))
		require.Equal(t, sequence(10), values(fc, "t", protocol.Partition(i)))
		for s, e := range log {
			require.Equal(t, protocol.Sequence(s), e.Sequence)
		}
	}
	id1, e1 := p1.ID()
	id2, e2 := p2.ID()
	require.Equal(t, id1, id2)
	require.Equal(t, e1+1, e2)

	_, err = c1.Producer(ctx, "t", client.WithProducerName("no spaces"))
	require.ErrorIs(t, err, client.ErrInvalidName)
}

// TestNamedProducerNeedsAllLeaders: taking a name over is all or nothing within the deadline.
func TestNamedProducerNeedsAllLeaders(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 3)
	c := connect(t, fc)
	fc.Kill(2)
	short, cancel := context.WithTimeout(within(t), 300*time.Millisecond)
	defer cancel()
	_, err := c.Producer(short, "t", client.WithProducerName("x"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "open partition 1")
}

// TestForgottenProducer: an idle anonymous producer that a partition forgot goes on, unnoticed.
func TestForgottenProducer(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 1)
	lost := make(disconnects, 10)
	c := connect(t, fc, client.WithHooks(lost))
	p, err := c.Producer(within(t), "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 5)
	fc.Forget("t", 0)
	fc.DropConns(1)
	for <-lost != 1 {
	}
	waitFor(t, func() bool { return p.NextSequence(0) == 0 }) // it has a new identity
	publish(t, p, 0, 5, 5)
	require.Equal(t, sequence(10), values(fc, "t", 0))
}

type disconnects chan protocol.BrokerID

func (d disconnects) OnDisconnect(b protocol.BrokerID, _ string, _ error) { d <- b }

// TestForgottenInFlight: if it had batches in flight their outcome is unknown, and those behind them get
// through.
func TestForgottenInFlight(t *testing.T) {
	var fc *fakebroker.Cluster
	var once sync.Once
	fc = start(t, fakebroker.Config{Produce: func(_ protocol.TopicPartition, h batch.Header) (f fakebroker.Fault) {
		if h.BaseSequence == 5 {
			once.Do(func() {
				fc.Forget("t", 0)
				f.Action = fakebroker.Swallow
			})
		}
		return f
	}})
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 5)
	_, err = p.Publish(ctx, record(0, 5))
	requireOutcome(t, err, client.Unknown)
	publish(t, p, 0, 5, 5)
	require.Equal(t, sequence(10), values(fc, "t", 0))
}

// TestDeliveryTimeout: the broker never takes the record with sequence 3. It is told by its sequence and not
// by the time, since a last attempt may still be on its way when the producer gives up, and would be appended:
// that is what Unknown means.
func TestDeliveryTimeout(t *testing.T) {
	for _, name := range []string{"", "named"} {
		t.Run("name="+name, func(t *testing.T) {
			fc := start(t, fakebroker.Config{
				Produce: func(_ protocol.TopicPartition, h batch.Header) (f fakebroker.Fault) {
					if h.BaseSequence == 3 {
						f.Action = fakebroker.Swallow
					}
					return f
				},
			})
			fc.CreateTopic("t", 1)
			c := connect(t, fc)
			ctx := within(t)
			p, err := c.Producer(ctx, "t", client.WithDeliveryTimeout(300*time.Millisecond),
				client.WithProducerName(name))
			require.NoError(t, err)
			publish(t, p, 0, 0, 3)
			_, err = p.Publish(ctx, record(0, 99))
			requireOutcome(t, err, client.Unknown)
			if name == "" { // the new identity counts from 0
				publish(t, p, 0, 3, 3)
				require.Equal(t, sequence(6), values(fc, "t", 0))
				return
			}
			_, err = p.Publish(ctx, record(0, 3))
			require.ErrorIs(t, err, client.ErrPoisoned)
			requireOutcome(t, err, client.NotAppended)
		})
	}
}

// TestRefusedBatch: a batch that no broker will take has an answer, and those behind it get through.
func TestRefusedBatch(t *testing.T) {
	for action, outcome := range map[fakebroker.Action]client.Outcome{
		fakebroker.Refuse:       client.NotAppended,
		fakebroker.RefuseStream: client.Unknown, // the broker does not say of which batch it speaks
	} {
		t.Run(fmt.Sprint(outcome), func(t *testing.T) {
			var once sync.Once
			fc := start(t, fakebroker.Config{
				Produce: func(_ protocol.TopicPartition, h batch.Header) (f fakebroker.Fault) {
					if h.BaseSequence == 2 {
						once.Do(func() { f = fakebroker.Fault{Action: action, Code: protocol.CodeCorruptBatch} })
					}
					return f
				},
			})
			fc.CreateTopic("t", 1)
			c := connect(t, fc)
			ctx := within(t)
			p, err := c.Producer(ctx, "t")
			require.NoError(t, err)
			publish(t, p, 0, 0, 2)
			_, err = p.Publish(ctx, record(0, 99))
			require.ErrorIs(t, err, protocol.ErrCorruptBatch)
			requireOutcome(t, err, outcome)
			publish(t, p, 0, 2, 2)
			require.Equal(t, sequence(4), values(fc, "t", 0))
		})
	}
}

func TestTopicDeleted(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 2)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 2)
	s, err := c.Subscribe(ctx, "t", "s")
	require.NoError(t, err)
	fc.DeleteTopic("t")
	fc.CreateTopic("t", 2)
	require.Eventually(t, func() bool {
		_, err := p.Publish(ctx, record(0, 0))
		return errors.Is(err, client.ErrTopicNotFound)
	}, patience, 10*time.Millisecond)
	_, err = p.Publish(ctx, record(1, 0)) // a partition it had not used
	require.ErrorIs(t, err, client.ErrTopicNotFound)
	for err = nil; err == nil; {
		_, err = s.Receive(ctx)
	}
	require.ErrorIs(t, err, client.ErrTopicNotFound)
	p, err = c.Producer(ctx, "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 1)
	_, err = c.Producer(ctx, "nope")
	require.ErrorIs(t, err, client.ErrTopicNotFound)
}

func TestPartitionsAdded(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	s, err := c.Subscribe(ctx, "t", "s", client.StartAt(client.Latest()))
	require.NoError(t, err)
	fc.AddPartitions("t", 3)
	waitFor(t, func() bool { return p.Partitions() == 3 })
	publish(t, p, 2, 0, 3)
	for i := range 3 {
		m, err := s.Receive(ctx)
		require.NoError(t, err)
		require.Equal(t, string(value(i)), string(m.Value))
		require.NoError(t, s.Ack(m))
	}
	require.NoError(t, s.Commit(ctx))
}

// TestCloseFails: what can not be flushed has an answer when Close returns.
func TestCloseFails(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 1)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t", client.WithMaxInFlight(1))
	require.NoError(t, err)
	publish(t, p, 0, 0, 1)
	fc.Stop(fc.Leader("t", 0))
	var outcomes []client.Outcome
	note := func(_ client.Receipt, err error) {
		var pe *client.PublishError
		if errors.As(err, &pe) && errors.Is(err, client.ErrClosed) {
			outcomes = append(outcomes, pe.Outcome)
		}
	}
	require.NoError(t, p.Send(ctx, record(0, 1), note))
	time.Sleep(50 * time.Millisecond) // long enough for it to be sent
	require.NoError(t, p.Send(ctx, record(0, 2), note))
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Close(short), context.DeadlineExceeded)
	require.Equal(t, []client.Outcome{client.Unknown, client.NotAppended}, outcomes)
}

func TestHooks(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 1)
	h := &hooks{}
	c := connect(t, fc, client.WithHooks(h))
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	publish(t, p, 0, 0, 10)
	fc.Move("t", 0, 2, true)
	publish(t, p, 0, 10, 10)
	require.NoError(t, p.Close(ctx))
	h.mu.Lock()
	defer h.mu.Unlock()
	require.Equal(t, 20, h.sent)
	require.Equal(t, 20, h.done)
	require.Equal(t, 20, h.batched)
	require.NotZero(t, h.connects)
	require.NotZero(t, h.leaders)
}

type hooks struct {
	mu                                     sync.Mutex
	sent, done, batched, connects, leaders int
}

func (h *hooks) count(n *int, by int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*n += by
}

func (h *hooks) OnRecordSend(context.Context, string, *client.Record) { h.count(&h.sent, 1) }
func (h *hooks) OnRecordDone(string, *client.Record, client.Receipt, error) {
	h.count(&h.done, 1)
}
func (h *hooks) OnBatch(e client.BatchEvent) { h.count(&h.batched, e.Records) }
func (h *hooks) OnConnect(protocol.BrokerID, string, time.Duration) {
	h.count(&h.connects, 1)
}
func (h *hooks) OnLeaderChange(protocol.TopicPartition, protocol.BrokerID, protocol.Epoch) {
	h.count(&h.leaders, 1)
}

func TestSpread(t *testing.T) {
	fc := start(t, fakebroker.Config{})
	fc.CreateTopic("t", 4)
	c := connect(t, fc)
	ctx := within(t)
	p, err := c.Producer(ctx, "t")
	require.NoError(t, err)
	for range 100 {
		require.NoError(t, p.Send(ctx, client.Record{Value: make([]byte, 2000)}, nil))
	}
	require.NoError(t, p.Flush(ctx))
	for i := range 4 {
		require.NotEmpty(t, fc.Log("t", protocol.Partition(i)), fmt.Sprint(i))
	}
}
