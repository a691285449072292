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

	require.NoError(t, b.sys.Kill(ctx, leaders[0]))
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
	require.NoError(t, b.sys.DeleteTopic(ctx, "orders"))
	about := b.sys.About()
	assert.NotEmpty(t, about.Version)
	assert.NotEmpty(t, about.Config)
	t.Logf("%+v", about)
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
