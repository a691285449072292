package kafka

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/driver"
)

// jars returns the directory of the server's jars, or skips the test.
func jars(t *testing.T) string {
	t.Helper()
	dir := driver.PeersDir()
	if os.Getenv("TRUNKBENCH_PEERS") == "" {
		dir = filepath.Join("..", "..", "..", "bin", "peers")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "kafka"))
	require.NoError(t, err)
	if err := installed(dir); err != nil {
		t.Skip(err)
	}
	return dir
}

// open starts three nodes that end with the test, without a goroutine left.
func open(t *testing.T, profile string) driver.System {
	t.Helper()
	from := jars(t)
	before := goleak.IgnoreCurrent()
	dir := filepath.Join(t.TempDir(), "kafka")
	require.NoError(t, os.Mkdir(dir, 0o700))
	begin := time.Now()
	s, err := Driver{}.Open(t.Context(), driver.Options{Profile: profile, Nodes: 3, Dir: dir, Binary: from})
	require.NoError(t, err)
	t.Logf("three nodes took %.1f s", time.Since(begin).Seconds())
	t.Cleanup(func() {
		require.NoError(t, s.Close(context.Background()))
		require.NoDirExists(t, dir)
		goleak.VerifyNone(t, before)
	})
	return s
}

// published is what the producer was answered.
type published struct {
	mu     sync.Mutex
	offset map[string]driver.Ack // by payload
	failed []error
	acks   chan struct{} // one per answer
}

func (p *published) done(m *driver.Message, a driver.Ack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.Err != nil {
		p.failed = append(p.failed, a.Err)
	} else {
		p.offset[string(m.Payload)] = a
	}
	p.acks <- struct{}{}
}

// publish sends messages from one to the other number, dealt out over the partitions unless asked not to.
func (p *published) publish(t *testing.T, to driver.Producer, from, end, partitions int) {
	t.Helper()
	for i := from; i < end; i++ {
		m := &driver.Message{Partition: driver.AnyPartition, Payload: fmt.Appendf(nil, "%d", i), Done: p.done}
		if partitions > 0 {
			m.Partition = int32(i % partitions)
		}
		to.Send(t.Context(), m)
	}
	for i := from; i < end; i++ {
		select {
		case <-p.acks:
		case <-t.Context().Done():
			t.Fatal("no answer")
		}
	}
}

// reader is a subscription's consumer and what it got.
type reader struct {
	mu   sync.Mutex
	got  map[string]driver.Ack
	next map[int32]int64
	bad  []string
}

func subscribe(t *testing.T, s driver.System, topic, subscription string, id int, r *reader) driver.Consumer {
	t.Helper()
	c, err := s.Consumer(t.Context(), driver.ConsumerOptions{
		Topic: topic, Subscription: subscription, ID: id,
		Deliver: func(d *driver.Delivery) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if d.Offset < r.next[d.Partition] {
				r.bad = append(r.bad, fmt.Sprintf("partition %d: %d after %d", d.Partition, d.Offset, r.next[d.Partition]-1))
			}
			r.next[d.Partition] = d.Offset + 1
			r.got[string(d.Payload)] = driver.Ack{Partition: d.Partition, Offset: d.Offset}
		},
		Failed: func(err error) { t.Error(err) },
	})
	require.NoError(t, err)
	return c
}

func newReader() *reader {
	return &reader{got: make(map[string]driver.Ack), next: make(map[int32]int64)}
}

// all waits until the reader has what was published, and nothing else.
func (r *reader) all(t *testing.T, p *published) {
	t.Helper()
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.got) >= len(p.offset)
	}, 30*time.Second, 20*time.Millisecond)
	require.Equal(t, p.offset, r.got)
	require.Empty(t, r.bad)
}

// most returns the node that leads most partitions.
func most(t *testing.T, s driver.System, topic string) int {
	t.Helper()
	leaders, err := s.Leaders(t.Context(), topic)
	require.NoError(t, err)
	led := make(map[int]int)
	for _, id := range leaders {
		led[id]++
	}
	best := leaders[0]
	for id, n := range led {
		if n > led[best] {
			best = id
		}
	}
	return best
}

func TestPublishConsumeAndFailOver(t *testing.T) {
	s := open(t, "")
	about := s.About()
	require.Equal(t, "4.4.0", about.Version)
	require.False(t, about.Durable)
	require.Len(t, s.Nodes(), 3)

	topic := driver.Topic{Name: "orders", Partitions: 4, Replicas: 3, Subscriptions: []string{"a", "b"}}
	require.NoError(t, s.CreateTopic(t.Context(), topic))
	require.Error(t, s.CreateTopic(t.Context(), topic), "the name is taken")
	leaders, err := s.Leaders(t.Context(), topic.Name)
	require.NoError(t, err)
	require.Len(t, leaders, 4)
	require.NotContains(t, leaders, 0)

	a, b := newReader(), newReader()
	consumers := []driver.Consumer{
		subscribe(t, s, topic.Name, "a", 0, a), subscribe(t, s, topic.Name, "b", 0, b), subscribe(t, s, topic.Name, "b", 1, b),
	}
	p := &published{offset: make(map[string]driver.Ack), acks: make(chan struct{}, 4000)}
	producer, err := s.Producer(t.Context(), driver.ProducerOptions{Topic: topic.Name, Retry: true})
	require.NoError(t, err)
	p.publish(t, producer, 0, 500, 0)
	p.publish(t, producer, 500, 1000, 4)
	require.Empty(t, p.failed)
	for i := 500; i < 1000; i++ {
		require.EqualValues(t, i%4, p.offset[fmt.Sprint(i)].Partition)
	}
	a.all(t, p)
	b.all(t, p)

	victim := most(t, s, topic.Name)
	require.NoError(t, s.Kill(t.Context(), victim))
	require.Zero(t, s.Nodes()[victim-1].PID)
	begin := time.Now()
	p.publish(t, producer, 1000, 1200, 4)
	t.Logf("all partitions were written %.1f s after the kill", time.Since(begin).Seconds())
	require.Empty(t, p.failed)
	begin = time.Now()
	require.NoError(t, s.Start(t.Context(), victim))
	t.Logf("the node was in sync %.1f s after its start", time.Since(begin).Seconds())
	p.publish(t, producer, 1200, 1400, 4)
	require.Empty(t, p.failed)
	a.all(t, p)
	b.all(t, p)

	require.NoError(t, producer.Close(t.Context()))
	p.publish(t, producer, 1400, 1401, 4)
	require.ErrorIs(t, errors.Join(p.failed...), driver.ErrNotAppended, "a closed producer refuses")
	for _, c := range consumers {
		require.NoError(t, c.Close(t.Context()))
	}
	require.NoError(t, s.DeleteTopic(t.Context(), topic.Name))
	_, err = s.Leaders(t.Context(), topic.Name)
	require.Error(t, err)
}

func TestFlushProfileWithGivenAddressesAndOneInFlight(t *testing.T) {
	own := open(t, flushEach)
	require.True(t, own.About().Durable)
	s, err := Driver{}.Open(t.Context(), driver.Options{Profile: flushEach, Addrs: []string{own.Nodes()[0].Addr}})
	require.NoError(t, err)
	defer s.Close(t.Context())
	require.Empty(t, s.Nodes())
	require.Contains(t, s.About().Version, "v4.")
	require.ErrorIs(t, s.Kill(t.Context(), 1), driver.ErrNotOurs)

	topic := driver.Topic{Name: "many", Partitions: 256, Replicas: 3, Subscriptions: []string{"a"}}
	begin := time.Now()
	require.NoError(t, s.CreateTopic(t.Context(), topic))
	t.Logf("256 partitions took %.1f s", time.Since(begin).Seconds())
	p := &published{offset: make(map[string]driver.Ack), acks: make(chan struct{}, 4000)}
	producer, err := s.Producer(t.Context(), driver.ProducerOptions{Topic: topic.Name, MaxInFlight: 1})
	require.NoError(t, err)
	begin = time.Now()
	p.publish(t, producer, 0, 8, 4)
	t.Logf("one message in flight: %.1f ms each", float64(time.Since(begin).Milliseconds())/8)
	require.Empty(t, p.failed)
	require.NoError(t, producer.Close(t.Context()))

	r := newReader()
	c := subscribe(t, s, topic.Name, "a", 0, r)
	r.all(t, p)
	require.NoError(t, c.Close(t.Context()))

	again := newReader()
	c = subscribe(t, s, topic.Name, "a", 0, again)
	producer, err = s.Producer(t.Context(), driver.ProducerOptions{Topic: topic.Name})
	require.NoError(t, err)
	late := &published{offset: make(map[string]driver.Ack), acks: make(chan struct{}, 4000)}
	late.publish(t, producer, 20, 30, 0)
	again.all(t, late)
	require.NoError(t, producer.Close(t.Context()))
	require.NoError(t, c.Close(t.Context()))
	require.NoError(t, s.DeleteTopic(t.Context(), topic.Name))
}

func TestNotInstalledIsSaid(t *testing.T) {
	_, err := Driver{}.Open(t.Context(), driver.Options{Nodes: 3, Dir: t.TempDir(), Binary: t.TempDir()})
	require.ErrorIs(t, err, driver.ErrNotInstalled)
	_, err = Driver{}.Open(t.Context(), driver.Options{Profile: "none", Nodes: 3, Dir: t.TempDir()})
	require.ErrorContains(t, err, "no profile")
}
