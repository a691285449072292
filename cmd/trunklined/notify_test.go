package main

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// patient is a broker as the service manager is told of it.
type patient struct {
	mu    sync.Mutex
	ready error
	alive error
	hangs bool // until the deadline
}

func (p *patient) set(change func(*patient)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *patient) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ready
}

func (p *patient) Alive(ctx context.Context) error {
	p.mu.Lock()
	alive, hangs := p.alive, p.hangs
	p.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return errors.New("the controller has not answered")
	}
	return alive
}

// ward runs a notifier in a bubble and keeps what it says.
type ward struct {
	patient
	mu   sync.Mutex
	told []string
	logs []string
}

func (w *ward) watch(ctx context.Context, watchdog time.Duration) (wait func()) {
	n := &notifier{broker: w, watchdog: watchdog, log: func(s string) { w.logs = append(w.logs, s) }, tell: func(s string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, s)
		return nil
	}}
	var wg sync.WaitGroup
	wg.Go(func() { n.run(ctx) })
	return wg.Wait
}

// during returns what was told in the next d.
func (w *ward) during(d time.Duration) string {
	w.mu.Lock()
	w.told = nil
	w.mu.Unlock()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.told, "\n")
}

func TestTheLifeOfABroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &ward{patient: patient{ready: errors.New("the metadata shard has no leader")}}
		wait := w.watch(ctx, 30*time.Second)

		waiting := w.during(time.Hour) // the others are started an hour later
		require.GreaterOrEqual(t, strings.Count(waiting, "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=waits: the metadata shard has no leader"), 3600)
		require.NotContains(t, waiting, "READY")
		require.NotContains(t, waiting, "WATCHDOG")

		w.set(func(p *patient) { p.ready = nil })
		require.Contains(t, w.during(2*time.Second), "READY=1\nWATCHDOG=1\nSTATUS=serves")
		serving := w.during(time.Minute)
		require.GreaterOrEqual(t, strings.Count(serving, "WATCHDOG=1"), 5)
		require.NotContains(t, serving, "READY")
		require.NotContains(t, serving, "EXTEND_TIMEOUT")

		w.set(func(p *patient) { p.ready = errors.New("the metadata shard has no leader") })
		require.Contains(t, w.during(time.Minute), "WATCHDOG=1\nSTATUS=does not serve: the metadata shard has no leader", "it is alive")

		cancel()
		wait()
		require.Equal(t, "STOPPING=1\nSTATUS=draining, then closing", w.told[len(w.told)-1])
		require.Equal(t, []string{
			"waits: the metadata shard has no leader", "serves", "does not serve: the metadata shard has no leader", "draining, then closing",
		}, w.logs, "each change once")
	})
}

// TestABrokerThatHangsGetsNoMoreTime: neither the watchdog nor the start is fed, and what hangs is said.
func TestABrokerThatHangsGetsNoMoreTime(t *testing.T) {
	for name, ready := range map[string]error{"while it serves": nil, "while it starts": errors.New("starting")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				w := &ward{patient: patient{ready: ready}}
				wait := w.watch(ctx, 30*time.Second)
				w.during(time.Minute)
				w.set(func(p *patient) { p.hangs = true })
				w.during(20 * time.Second) // a beat may have been under way
				silence := w.during(time.Minute)
				require.Contains(t, silence, "STATUS=not alive: the controller has not answered")
				require.NotContains(t, silence, "WATCHDOG")
				require.NotContains(t, silence, "EXTEND_TIMEOUT")
				require.Contains(t, w.logs, "not alive: the controller has not answered")
				cancel()
				wait()
			})
		})
	}
}

func TestAReasonOfManyLinesIsOneStatus(t *testing.T) {
	var told string
	n := &notifier{log: func(string) {}, tell: func(s string) error { told = s; return nil }}
	n.send("one\nREADY=1", "WATCHDOG=1")
	require.Equal(t, "WATCHDOG=1\nSTATUS=one; READY=1", told)
}

// TestSuperviseSpeaksToTheSocket: the messages go to where the environment says.
func TestSuperviseSpeaksToTheSocket(t *testing.T) {
	addr := &net.UnixAddr{Net: "unixgram", Name: filepath.Join(t.TempDir(), "notify")}
	socket, err := net.ListenUnixgram("unixgram", addr)
	require.NoError(t, err)
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", addr.Name)
	t.Setenv("WATCHDOG_USEC", "30000000")
	t.Setenv("WATCHDOG_PID", "")
	ctx, cancel := context.WithCancel(t.Context())
	wait := supervise(ctx, &patient{})
	require.Equal(t, "READY=1\nWATCHDOG=1\nSTATUS=serves", receive(t, socket))
	cancel()
	wait()
	require.Equal(t, "STOPPING=1\nSTATUS=draining, then closing", receive(t, socket))
}

func receive(t *testing.T, socket *net.UnixConn) string {
	t.Helper()
	buf := make([]byte, 4096)
	require.NoError(t, socket.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := socket.Read(buf)
	require.NoError(t, err)
	return string(buf[:n])
}
