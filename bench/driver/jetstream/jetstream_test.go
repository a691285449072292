package jetstream_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/jetstream"
)

func TestMain(m *testing.M) {
	if os.Getenv("TRUNKBENCH_PEERS") == "" {
		peers, err := filepath.Abs("../../../bin/peers")
		if err != nil {
			panic(err)
		}
		_ = os.Setenv("TRUNKBENCH_PEERS", peers)
	}
	goleak.VerifyTestMain(m)
}

// open starts three nodes, which end with the test.
func open(t *testing.T, profile string) driver.System {
	t.Helper()
	if err := (jetstream.Driver{}).Installed(); err != nil {
		t.Skip(err)
	}
	sys, err := jetstream.Driver{}.Open(within(t, 20*time.Second), driver.Options{Profile: profile, Nodes: 3, Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sys.Close(context.Background())) })
	return sys
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// seen counts what one subscription got.
type seen struct {
	mu    sync.Mutex
	times map[string]int
	order map[int32]int64 // last offset of each partition
	bad   error
}

func (s *seen) deliver(d *driver.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[string(d.Payload)]++
	if !d.Redelivered && d.Offset <= s.order[d.Partition] {
		s.bad = fmt.Errorf("partition %d: offset %d after %d", d.Partition, d.Offset, s.order[d.Partition])
	}
	s.order[d.Partition] = d.Offset
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

func consume(t *testing.T, sys driver.System, topic, subscription string) *seen {
	t.Helper()
	s := &seen{times: make(map[string]int), order: make(map[int32]int64)}
	c, err := sys.Consumer(within(t, 10*time.Second), driver.ConsumerOptions{
		Topic: topic, Subscription: subscription, Deliver: s.deliver,
		Failed: func(err error) { t.Error(err) },
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(within(t, 5*time.Second))) })
	return s
}

// sender publishes numbered messages and counts the answers.
type sender struct {
	p             driver.Producer
	next          int
	acked, failed atomic.Int64
	last          atomic.Value // error
}

func (s *sender) send(ctx context.Context, n int) {
	for range n {
		s.p.Send(ctx, &driver.Message{Partition: driver.AnyPartition, Payload: fmt.Appendf(nil, "message %d", s.next), Done: s.done})
		s.next++
	}
}

func (s *sender) done(_ *driver.Message, a driver.Ack) {
	if a.Err != nil {
		s.last.Store(a.Err)
		s.failed.Add(1)
		return
	}
	s.acked.Add(1)
}

func TestBothProfilesPublishAndConsume(t *testing.T) {
	for _, profile := range (jetstream.Driver{}).Profiles() {
		t.Run(profile.Name, func(t *testing.T) {
			sys := open(t, profile.Name)
			require.Equal(t, "2.15.2", sys.About().Version)
			require.Equal(t, profile.Name == "fsync-always", sys.About().Durable)
			ctx := within(t, 15*time.Second)
			topic := driver.Topic{Name: "work", Partitions: 3, Replicas: 3, Subscriptions: []string{"a", "b"}, Members: 1}
			require.NoError(t, sys.CreateTopic(ctx, topic))
			require.ErrorContains(t, sys.CreateTopic(ctx, topic), "taken")
			a, b := consume(t, sys, "work", "a"), consume(t, sys, "work", "b")
			p, err := sys.Producer(ctx, driver.ProducerOptions{Topic: "work"})
			require.NoError(t, err)
			s := &sender{p: p}
			s.send(ctx, 1000)
			require.NoError(t, p.Close(ctx))
			require.EqualValues(t, 1000, s.acked.Load(), "%v", s.last.Load())
			for _, sub := range []*seen{a, b} {
				require.Eventually(t, func() bool { return sub.count() == 1000 }, 5*time.Second, 5*time.Millisecond)
				require.NoError(t, sub.bad)
			}
			p.Send(ctx, &driver.Message{Partition: 0, Done: s.done})
			require.ErrorIs(t, s.last.Load().(error), driver.ErrNotAppended)
		})
	}
}

func TestGoesOnWhenALeaderDies(t *testing.T) {
	sys := open(t, "default")
	ctx := within(t, 30*time.Second)
	require.NoError(t, sys.CreateTopic(ctx, driver.Topic{Name: "work", Partitions: 3, Replicas: 3, Subscriptions: []string{"a"}, Members: 1}))
	got := consume(t, sys, "work", "a")
	p, err := sys.Producer(ctx, driver.ProducerOptions{Topic: "work", Retry: true, MaxInFlight: 100})
	require.NoError(t, err)
	s := &sender{p: p}
	s.send(ctx, 500)
	victim := busiest(t, sys, "work")
	require.NoError(t, sys.Kill(ctx, victim))
	begin := time.Now()
	s.send(ctx, 1000) // blocks until the new leaders take what the old one had
	t.Logf("with node %d dead 1000 messages took %v", victim, time.Since(begin))
	require.NoError(t, sys.Start(ctx, victim))
	s.send(ctx, 500)
	require.NoError(t, p.Close(ctx))
	require.EqualValues(t, 2000, s.acked.Load(), "%v", s.last.Load())
	require.Eventually(t, func() bool { return got.count() == 2000 }, 10*time.Second, 10*time.Millisecond)
	leaders, err := sys.Leaders(ctx, "work")
	require.NoError(t, err)
	require.NotContains(t, leaders, 0)
}

// busiest is the node that leads most partitions.
func busiest(t *testing.T, sys driver.System, topic string) int {
	t.Helper()
	leaders, err := sys.Leaders(t.Context(), topic)
	require.NoError(t, err)
	leads := make(map[int]int)
	best := leaders[0]
	for _, id := range leaders {
		if leads[id]++; leads[id] > leads[best] {
			best = id
		}
	}
	return best
}

func TestClusterOfSomebodyElse(t *testing.T) {
	own := open(t, "default")
	var addrs []string
	for _, n := range own.Nodes() {
		addrs = append(addrs, n.Addr)
	}
	ctx := within(t, 10*time.Second)
	sys, err := jetstream.Driver{}.Open(ctx, driver.Options{Profile: "default", Addrs: addrs})
	require.NoError(t, err)
	require.Empty(t, sys.Nodes())
	require.ErrorIs(t, sys.Kill(ctx, 1), driver.ErrNotOurs)
	require.NoError(t, sys.CreateTopic(ctx, driver.Topic{Name: "work", Partitions: 1, Replicas: 3}))
	leaders, err := sys.Leaders(ctx, "work")
	require.NoError(t, err)
	require.NotZero(t, leaders[0])
	require.NoError(t, sys.DeleteTopic(ctx, "work"))
	_, err = sys.Leaders(ctx, "work")
	require.ErrorContains(t, err, "there is none")
	require.NoError(t, sys.Close(ctx))
}

func TestRefusesWhatItCannotRun(t *testing.T) {
	_, err := jetstream.Driver{}.Open(t.Context(), driver.Options{Profile: "fast", Dir: t.TempDir()})
	require.ErrorContains(t, err, "no profile")
	_, err = jetstream.Driver{}.Open(t.Context(), driver.Options{Nodes: 3, Dir: t.TempDir(), Binary: "/nowhere/nats-server"})
	require.ErrorIs(t, err, driver.ErrNotInstalled)
	require.ErrorContains(t, err, "make peers")
}
