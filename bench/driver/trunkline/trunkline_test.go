package trunkline

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/driver"
)

// daemon is the trunklined that TestMain built.
var daemon string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "trunkline-driver-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	daemon = filepath.Join(dir, "trunklined")
	if out, err := exec.Command("go", "build", "-o", daemon, "../../../cmd/trunklined").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// open starts three brokers that end with the test, which must leave no goroutine.
func open(t *testing.T) driver.System {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	ctx := deadline(t, time.Minute)
	dir := filepath.Join(t.TempDir(), "nodes")
	s, err := Driver{}.Open(ctx, driver.Options{Nodes: 3, Dir: dir, Binary: daemon})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close(context.Background()))
		require.NoDirExists(t, dir)
		http.DefaultClient.CloseIdleConnections() // of the health checks
		goleak.VerifyNone(t, ignore)
	})
	return s
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// inbox is what a consumer got.
type inbox struct {
	mu  sync.Mutex
	got map[uint64]int // guarded by mu; number of deliveries by message
	at  map[uint64]driver.Ack
}

func (b *inbox) deliver(d *driver.Delivery) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := number(d.Payload)
	b.got[n]++
	b.at[n] = driver.Ack{Partition: d.Partition, Offset: d.Offset}
}

func (b *inbox) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.got)
}

func number(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

// publish sends messages from to to-1 and waits for all answers, which must be acknowledgements.
func publish(t *testing.T, p driver.Producer, from, to int, send func(n int, m *driver.Message)) map[uint64]driver.Ack {
	t.Helper()
	ctx := deadline(t, 30*time.Second)
	acks := make(map[uint64]driver.Ack)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for n := from; n < to; n++ {
		wg.Add(1)
		m := &driver.Message{Partition: driver.AnyPartition, Payload: binary.BigEndian.AppendUint64(nil, uint64(n))}
		m.Done = func(m *driver.Message, a driver.Ack) {
			mu.Lock()
			acks[number(m.Payload)] = a
			mu.Unlock()
			wg.Done()
		}
		send(n, m)
		p.Send(ctx, m)
	}
	wg.Wait()
	require.Len(t, acks, to-from)
	for n, a := range acks {
		require.NoError(t, a.Err, "message %d", n)
	}
	return acks
}

func TestPublishAndConsumeThroughAKill(t *testing.T) {
	s := open(t)
	ctx := deadline(t, 50*time.Second)
	about := s.About()
	require.Equal(t, "dev", about.Version)
	require.NoError(t, s.CreateTopic(ctx, driver.Topic{Name: "work", Partitions: 4, Replicas: 3, Subscriptions: []string{"all"}}))
	require.Error(t, s.CreateTopic(ctx, driver.Topic{Name: "work", Partitions: 4, Replicas: 3}))
	leaders, err := s.Leaders(ctx, "work")
	require.NoError(t, err)
	require.Len(t, leaders, 4)
	require.NotContains(t, leaders, 0)
	_, err = s.Leaders(ctx, "none")
	require.ErrorContains(t, err, "none")

	box := &inbox{got: map[uint64]int{}, at: map[uint64]driver.Ack{}}
	c, err := s.Consumer(ctx, driver.ConsumerOptions{Topic: "work", Subscription: "all", Deliver: box.deliver,
		Failed: func(err error) { t.Errorf("consumer: %v", err) }})
	require.NoError(t, err)
	p, err := s.Producer(ctx, driver.ProducerOptions{Topic: "work", MaxInFlight: 100, Retry: true})
	require.NoError(t, err)

	acks := publish(t, p, 0, 1000, func(n int, m *driver.Message) {
		switch n % 3 {
		case 0:
			m.Partition = int32(n % 4)
		case 1:
			m.Key = []byte("alice")
		}
	})
	victim := leaders[0]
	require.NoError(t, s.Kill(ctx, victim))
	require.Zero(t, s.Nodes()[victim-1].PID)
	for n, a := range publish(t, p, 1000, 2000, func(n int, m *driver.Message) { m.Partition = int32(n % 4) }) {
		acks[n] = a
	}
	require.Eventually(t, func() bool { return box.size() == 2000 }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, s.Start(ctx, victim))
	require.NotZero(t, s.Nodes()[victim-1].PID)
	require.NoError(t, p.Close(ctx))
	require.NoError(t, c.Close(ctx))
	for n, times := range box.got {
		require.Equal(t, 1, times, "message %d", n)
	}
	require.Equal(t, acks, box.at, "acknowledged where it was delivered from")
	for n := range uint64(1000) {
		if n%3 == 0 {
			require.Equal(t, int32(n%4), acks[n].Partition)
		}
	}
	require.NoError(t, s.DeleteTopic(ctx, "work"))
}

func TestARunningCluster(t *testing.T) {
	own := open(t)
	file := own.(*system).cluster.Context()
	ctx := deadline(t, 30*time.Second)
	s, err := Driver{}.Open(ctx, driver.Options{Addrs: []string{file}})
	require.NoError(t, err)
	require.Empty(t, s.Nodes())
	require.ErrorIs(t, s.Kill(ctx, 1), driver.ErrNotOurs)
	require.NoError(t, s.CreateTopic(ctx, driver.Topic{Name: "one", Partitions: 1, Replicas: 3}))
	p, err := s.Producer(ctx, driver.ProducerOptions{Topic: "one", MaxInFlight: 1})
	require.NoError(t, err)
	acks := publish(t, p, 0, 20, func(int, *driver.Message) {})
	for n, a := range acks {
		require.Equal(t, driver.Ack{Partition: 0, Offset: int64(n)}, a)
	}
	require.NoError(t, p.Close(ctx))
	closed := make(chan driver.Ack, 1)
	p.Send(ctx, &driver.Message{Partition: 0, Done: func(_ *driver.Message, a driver.Ack) { closed <- a }})
	require.ErrorIs(t, (<-closed).Err, driver.ErrNotAppended)
	require.NoError(t, s.Close(ctx))
	require.NotZero(t, own.Nodes()[0].PID)
}

func TestOpenThatCannot(t *testing.T) {
	ctx := deadline(t, 10*time.Second)
	_, err := Driver{}.Open(ctx, driver.Options{Nodes: 3, Dir: t.TempDir(), Binary: "/none/trunklined"})
	require.ErrorIs(t, err, driver.ErrNotInstalled)
	_, err = Driver{}.Open(ctx, driver.Options{Profile: "fast"})
	require.ErrorContains(t, err, "no profile")
	require.ErrorIs(t, Driver{}.Installed(), driver.ErrNotInstalled, "beside the test binary is none")
	dir := filepath.Join(t.TempDir(), "nodes")
	_, err = Driver{}.Open(ctx, driver.Options{Nodes: 3, Dir: dir, Binary: "/bin/false"})
	require.ErrorContains(t, err, "broker")
	require.NoDirExists(t, dir)
}
