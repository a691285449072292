package planted

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a system with a ledger that is told of everything.
type rig struct {
	driver.System
	t      *testing.T
	ctx    context.Context
	ledger *verify.Ledger
}

func newRig(t *testing.T, profile string, producers int, topic driver.Topic) *rig {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	s, err := Driver{}.Open(ctx, driver.Options{Profile: profile, Nodes: 3})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close(ctx)) })
	require.NoError(t, s.CreateTopic(ctx, topic))
	return &rig{s, t, ctx, verify.NewLedger(producers, len(topic.Subscriptions))}
}

// consume joins a subscription with a consumer that ends with the test.
func (r *rig) consume(number int, name string) driver.Consumer {
	r.t.Helper()
	c, err := r.Consumer(r.ctx, driver.ConsumerOptions{Topic: "t", Subscription: name, Deliver: func(d *driver.Delivery) {
		if crc32.ChecksumIEEE(d.Payload[:12]) != binary.BigEndian.Uint32(d.Payload[12:]) {
			r.ledger.Foreign("damaged")
			return
		}
		r.ledger.Delivered(number, verify.Arrival{
			Producer: binary.BigEndian.Uint32(d.Payload), Seq: binary.BigEndian.Uint64(d.Payload[4:]), Partition: d.Partition, Offset: d.Offset,
		})
	}})
	require.NoError(r.t, err)
	return c
}

// publish sends n messages of one producer and waits for their answers.
func (r *rig) publish(opts driver.ProducerOptions, n int) {
	p, err := r.Producer(r.ctx, opts)
	if err != nil {
		r.t.Error(err)
		return
	}
	for seq := range uint64(n) {
		m := &driver.Message{Partition: driver.AnyPartition, Producer: uint32(opts.ID), Seq: seq, Done: r.answered}
		m.Payload = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, m.Producer), seq)
		m.Payload = binary.BigEndian.AppendUint32(m.Payload, crc32.ChecksumIEEE(m.Payload))
		r.ledger.Sent(m.Producer, seq)
		p.Send(r.ctx, m)
	}
	if err := p.Close(r.ctx); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) answered(m *driver.Message, a driver.Ack) {
	o := verify.Acked
	switch {
	case errors.Is(a.Err, driver.ErrNotAppended):
		o = verify.NotAppended
	case a.Err != nil:
		o = verify.Unknown
	}
	r.ledger.Answered(m.Producer, m.Seq, o, a.Partition, a.Offset)
}

// settle waits until nothing has been delivered for 200 ms.
func (r *rig) settle() verify.Tally {
	r.t.Helper()
	for last := r.ledger.Tally(); r.ctx.Err() == nil; {
		time.Sleep(200 * time.Millisecond)
		before := last
		last = r.ledger.Tally()
		if last.Delivered == before.Delivered && last.Duplicated == before.Duplicated && last.Phantom == before.Phantom {
			return last
		}
	}
	r.t.Fatal("deliveries do not end")
	return verify.Tally{}
}

// TestEachProfileBreaksOnePromise runs every profile under the ledger: two producers, two partitions, two subscriptions.
func TestEachProfileBreaksOnePromise(t *testing.T) {
	const producers, each, spoilt = 2, 5000, 2 * 5000 / period // over both partitions
	for profile, broken := range map[string]func(t *testing.T, got verify.Tally) verify.Tally{
		sound: func(*testing.T, verify.Tally) verify.Tally { return verify.Tally{} },
		slow:  func(*testing.T, verify.Tally) verify.Tally { return verify.Tally{} },
		loses: func(*testing.T, verify.Tally) verify.Tally {
			return verify.Tally{Lost: 2 * spoilt, Delivered: -2 * spoilt}
		},
		duplicates: func(*testing.T, verify.Tally) verify.Tally { return verify.Tally{Duplicated: 2 * spoilt} },
		refuses:    func(*testing.T, verify.Tally) verify.Tally { return verify.Tally{Phantom: 2 * spoilt, Acked: -spoilt} },
		damages: func(*testing.T, verify.Tally) verify.Tally {
			return verify.Tally{Phantom: 2 * spoilt, Lost: 2 * spoilt, Delivered: -2 * spoilt}
		},
		reorders: func(t *testing.T, got verify.Tally) verify.Tally { // as often as two messages of one producer wait together
			require.Positive(t, got.Reordered)
			require.LessOrEqual(t, got.Reordered, int64(2*spoilt))
			return verify.Tally{Reordered: got.Reordered}
		},
	} {
		t.Run(profile, func(t *testing.T) {
			r := newRig(t, profile, producers, driver.Topic{Name: "t", Partitions: 2, Replicas: 3, Subscriptions: []string{"a", "b"}})
			for i, name := range []string{"a", "b"} {
				first, second := r.consume(i, name), r.consume(i, name)
				defer func() { require.NoError(t, errors.Join(first.Close(r.ctx), second.Close(r.ctx))) }()
			}
			var wg sync.WaitGroup
			for id := range producers {
				wg.Go(func() { r.publish(driver.ProducerOptions{Topic: "t", ID: id, MaxInFlight: 500}, each) })
			}
			wg.Wait()
			got := r.settle()
			got.Examples = nil
			want := broken(t, got)
			want.Sent, want.Acked, want.Delivered = producers*each, want.Acked+producers*each, want.Delivered+2*producers*each
			require.Equal(t, want, got)
			require.False(t, r.About().Durable)
			require.Equal(t, profile, r.About().Profile)
		})
	}
}

func TestANodeThatIsDownDoesNotAnswer(t *testing.T) {
	r := newRig(t, sound, 1, driver.Topic{Name: "t", Partitions: 3, Subscriptions: []string{"a"}})
	c := r.consume(0, "a")
	require.NoError(t, r.Kill(r.ctx, 2))
	require.ErrorContains(t, r.Kill(r.ctx, 2), "node 2 is down")
	require.ErrorContains(t, r.Kill(r.ctx, 4), "no node 4")
	leaders, err := r.Leaders(r.ctx, "t")
	require.NoError(t, err)
	require.Equal(t, []int{1, 0, 3}, leaders)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		r.publish(driver.ProducerOptions{Topic: "t"}, 300)
	}()
	require.Eventually(t, func() bool { return r.ledger.Tally().Delivered == 200 }, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, int64(200), r.ledger.Tally().Acked)
	require.NoError(t, r.Start(r.ctx, 2))
	require.NoError(t, r.Pause(r.ctx, 1))
	require.NoError(t, r.Resume(r.ctx, 1))
	<-sent
	require.Eventually(t, func() bool { return r.ledger.Tally().Delivered == 300 }, 5*time.Second, 5*time.Millisecond)
	require.NoError(t, c.Close(r.ctx))
}

// TestEveryMessageIsAnswered closes a producer, a topic and the system while messages wait for a node that is down.
func TestEveryMessageIsAnswered(t *testing.T) {
	r := newRig(t, sound, 1, driver.Topic{Name: "t", Partitions: 1})
	require.NoError(t, r.Stop(r.ctx, 1))
	send := func(p driver.Producer, ctx context.Context, n int, answers *atomic.Int64) {
		for range n {
			p.Send(ctx, &driver.Message{Payload: []byte("x"), Done: func(_ *driver.Message, a driver.Ack) {
				if a.Err != nil {
					answers.Add(1)
				}
			}})
		}
	}
	brief, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
	defer cancel()
	var first, second atomic.Int64
	p, err := r.Producer(r.ctx, driver.ProducerOptions{Topic: "t"})
	require.NoError(t, err)
	q, err := r.Producer(r.ctx, driver.ProducerOptions{Topic: "t", MaxInFlight: 10})
	require.NoError(t, err)
	send(p, brief, maxWaiting+5, &first) // those beyond the bound end with the context
	require.ErrorIs(t, p.Close(brief), context.DeadlineExceeded)
	require.Equal(t, int64(maxWaiting+5), first.Load())
	send(q, r.ctx, 10, &second)
	send(q, brief, 5, &second)
	require.Equal(t, int64(5), second.Load())
	require.NoError(t, r.DeleteTopic(r.ctx, "t"))
	require.NoError(t, q.Close(r.ctx))
	send(q, r.ctx, 1, &second)
	require.Equal(t, int64(16), second.Load())
	_, err = r.Leaders(r.ctx, "t")
	require.ErrorContains(t, err, "no topic t")
}

// TestMemoryIsGivenBack checks the account of stored bytes: what all had is dropped, a deleted topic takes none.
func TestMemoryIsGivenBack(t *testing.T) {
	r := newRig(t, sound, 1, driver.Topic{Name: "t", Partitions: 1, Subscriptions: []string{"a"}})
	stored := &r.System.(*system).bytes
	r.publish(driver.ProducerOptions{Topic: "t"}, 10*chunkSize+1)
	require.Equal(t, int64(16*(10*chunkSize+1)), stored.Load())
	c := r.consume(0, "a")
	require.Eventually(t, func() bool { return stored.Load() == 16 }, 5*time.Second, 5*time.Millisecond)
	require.NoError(t, c.Close(r.ctx))
	stored.Add(maxBytes)
	r.ledger = verify.NewLedger(1, 1)
	r.publish(driver.ProducerOptions{Topic: "t"}, 1)
	require.Equal(t, verify.Tally{Sent: 1}, r.ledger.Tally(), "refused: there is no room")
	stored.Add(-maxBytes)
	require.NoError(t, r.DeleteTopic(r.ctx, "t"))
	require.Zero(t, stored.Load())
}

func TestOpenThatCannot(t *testing.T) {
	_, err := Driver{}.Open(t.Context(), driver.Options{Profile: "kind"})
	require.ErrorContains(t, err, "no profile")
	_, err = Driver{}.Open(t.Context(), driver.Options{Addrs: []string{"x:1"}})
	require.ErrorContains(t, err, "inside the bench only")
}

// BenchmarkPlanted is the cost of a message of 100 bytes through one producer, four partitions and one subscription.
func BenchmarkPlanted(b *testing.B) {
	s, err := Driver{}.Open(b.Context(), driver.Options{Nodes: 3})
	require.NoError(b, err)
	defer s.Close(b.Context())
	require.NoError(b, s.CreateTopic(b.Context(), driver.Topic{Name: "t", Partitions: 4, Subscriptions: []string{"a"}}))
	var got atomic.Int64
	c, err := s.Consumer(b.Context(), driver.ConsumerOptions{Topic: "t", Subscription: "a", Deliver: func(*driver.Delivery) { got.Add(1) }})
	require.NoError(b, err)
	p, err := s.Producer(b.Context(), driver.ProducerOptions{Topic: "t"})
	require.NoError(b, err)
	m := &driver.Message{Partition: driver.AnyPartition, Payload: make([]byte, 100), Done: func(*driver.Message, driver.Ack) {}}
	for b.Loop() {
		p.Send(b.Context(), m) // the same one over and over: it does not change
	}
	require.NoError(b, p.Close(b.Context()))
	for got.Load() < int64(b.N) {
		time.Sleep(time.Millisecond)
	}
	require.NoError(b, c.Close(b.Context()))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}
