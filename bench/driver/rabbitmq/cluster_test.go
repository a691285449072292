package rabbitmq_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/rabbitmq"
)

// seen is what one subscription got: how often each message came, by its number.
type seen struct {
	mu    sync.Mutex
	times map[uint64]int
}

func (s *seen) deliver(d *driver.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[binary.BigEndian.Uint64(d.Payload)]++
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

// bed is a cluster with a topic, a producer, and a consumer on each of two subscriptions.
type bed struct {
	t     *testing.T
	sys   driver.System
	out   driver.Producer
	subs  map[string]*seen
	acked int
}

func lay(ctx context.Context, t *testing.T, dir string) *bed {
	t.Helper()
	if err := (rabbitmq.Driver{}).Installed(); err != nil {
		t.Skip(err)
	}
	sys, err := rabbitmq.Driver{}.Open(ctx, driver.Options{Nodes: 3, Dir: dir})
	require.NoError(t, err)
	b := &bed{t: t, sys: sys, subs: make(map[string]*seen)}
	topic := driver.Topic{Name: "orders", Partitions: 3, Replicas: 3, Subscriptions: []string{"bills", "stock"}}
	require.NoError(t, sys.CreateTopic(ctx, topic))
	require.Error(t, sys.CreateTopic(ctx, topic), "the name is taken")
	for _, name := range topic.Subscriptions {
		got := &seen{times: make(map[uint64]int)}
		b.subs[name] = got
		_, err := sys.Consumer(ctx, driver.ConsumerOptions{
			Topic: topic.Name, Subscription: name, Deliver: got.deliver, Failed: func(err error) { t.Error(err) },
		})
		require.NoError(t, err)
	}
	b.out, err = sys.Producer(ctx, driver.ProducerOptions{Topic: topic.Name, Retry: true})
	require.NoError(t, err)
	return b
}

// publish sends n more messages and waits until all are acknowledged and both subscriptions have them.
func (b *bed) publish(ctx context.Context, n int) {
	b.t.Helper()
	answers := make(chan error, n)
	for range n {
		payload := binary.BigEndian.AppendUint64(nil, uint64(b.acked))
		b.out.Send(ctx, &driver.Message{
			Partition: int32(b.acked % 3), Payload: payload,
			Done: func(_ *driver.Message, a driver.Ack) { answers <- a.Err },
		})
		b.acked++
	}
	for range n {
		require.NoError(b.t, <-answers)
	}
	for name, got := range b.subs {
		require.Eventually(b.t, func() bool { return got.count() == b.acked }, 20*time.Second, 20*time.Millisecond, "%s has not got all", name)
	}
}

func TestAClusterThatLosesItsLeaders(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	b := lay(ctx, t, dir)
	defer func() {
		require.NoError(t, b.sys.Close(ctx))
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, left)
		assert.Empty(t, processesIn(t, dir), "processes of the cluster that outlived it")
	}()
	leaders, err := b.sys.Leaders(ctx, "orders")
	require.NoError(t, err)
	assert.ElementsMatch(t, []int{1, 2, 3}, leaders, "leaders are spread")
	b.publish(ctx, 1000)
	for _, got := range b.subs {
		for number, times := range got.times {
			require.Equal(t, 1, times, "message %d without any failure", number)
		}
	}

	b.killInFlight(ctx, leaders[0])
	assert.Zero(t, b.sys.Nodes()[leaders[0]-1].PID)
	b.publish(ctx, 300)
	after, err := b.sys.Leaders(ctx, "orders")
	require.NoError(t, err)
	assert.NotContains(t, after, leaders[0])
	require.NoError(t, b.sys.Start(ctx, leaders[0]))
	b.publish(ctx, 300)

	require.NoError(t, b.sys.Pause(ctx, leaders[0]))
	require.NoError(t, b.sys.Resume(ctx, leaders[0]))
	require.NoError(t, b.out.Close(ctx))
	b.out.Send(ctx, &driver.Message{Done: func(_ *driver.Message, a driver.Ack) { assert.ErrorIs(t, a.Err, driver.ErrNotAppended) }})
	b.byAddress(ctx)
	require.NoError(t, b.sys.DeleteTopic(ctx, "orders"))
	about := b.sys.About()
	assert.NotEmpty(t, about.Version)
	assert.NotEmpty(t, about.Config)
	t.Logf("%+v", about)
}

// killInFlight kills a leader while a producer without retry has messages under way: each is answered once.
func (b *bed) killInFlight(ctx context.Context, leader int) {
	b.t.Helper()
	plain, err := b.sys.Producer(ctx, driver.ProducerOptions{Topic: "orders", ID: 1})
	require.NoError(b.t, err)
	const n = 300
	answers := make(chan error, 2*n)
	for i := range n {
		payload := binary.BigEndian.AppendUint64(nil, 0) // a number that is taken
		plain.Send(ctx, &driver.Message{
			Partition: driver.AnyPartition, Payload: payload,
			Done: func(_ *driver.Message, a driver.Ack) { answers <- a.Err },
		})
		if i == n/2 {
			require.NoError(b.t, b.sys.Kill(ctx, leader))
		}
	}
	require.NoError(b.t, plain.Close(ctx))
	require.Len(b.t, answers, n)
	failed := 0
	for range n {
		if err := <-answers; err != nil {
			failed++
		}
	}
	assert.NotZero(b.t, failed, "a third went to the node that was killed")
}

// byAddress uses the same cluster as one that somebody else runs. The topic has no subscription: its messages are stored all the
// same.
func (b *bed) byAddress(ctx context.Context) {
	b.t.Helper()
	one, two := b.sys.Nodes()[1].Addr, "amqp://guest:guest@"+b.sys.Nodes()[2].Addr
	sys, err := rabbitmq.Driver{}.Open(ctx, driver.Options{Addrs: []string{one, two}})
	require.NoError(b.t, err)
	assert.ErrorIs(b.t, sys.Kill(ctx, 1), driver.ErrNotOurs)
	require.NoError(b.t, sys.CreateTopic(ctx, driver.Topic{Name: "bare", Partitions: 1, Replicas: 3}))
	p, err := sys.Producer(ctx, driver.ProducerOptions{Topic: "bare"})
	require.NoError(b.t, err)
	p.Send(ctx, &driver.Message{Payload: []byte("x"), Done: func(_ *driver.Message, a driver.Ack) { assert.NoError(b.t, a.Err) }})
	require.NoError(b.t, p.Close(ctx))
	conn, err := amqp.Dial(two)
	require.NoError(b.t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(b.t, err)
	q, err := ch.QueueDeclarePassive("bare..0", true, false, false, false, nil)
	require.NoError(b.t, err)
	assert.Equal(b.t, 1, q.Messages)
	require.NoError(b.t, sys.DeleteTopic(ctx, "bare"))
	require.NoError(b.t, sys.Close(ctx))
}

// processesIn returns the processes whose environment names dir.
func processesIn(t *testing.T, dir string) (out []string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, file := range found {
		environ, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(environ), "HOME="+dir) {
			command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
			out = append(out, fmt.Sprintf("%s %s", file, strings.ReplaceAll(string(command), "\x00", " ")))
		}
	}
	return out
}
