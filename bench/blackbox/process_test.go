package blackbox

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a command of ours that runs beside the test.
type process struct {
	*exec.Cmd
	stdin io.WriteCloser

	mu  sync.Mutex
	out bytes.Buffer
	err bytes.Buffer
}

// lockedWriter lets the test read what a process wrote so far.
type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

func (e *env) start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(deadline(t, 2*time.Minute), filepath.Join(binaries, "trunkline"), append([]string{"--context", e.Context()}, args...)...)}
	p.Env = append(os.Environ(), "TRUNKLINE_CONTEXT=")
	p.Stdout, p.Stderr = lockedWriter{&p.mu, &p.out}, lockedWriter{&p.mu, &p.err}
	var err error
	p.stdin, err = p.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	return p
}

func (p *process) lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Fields(p.out.String())
}

// TestStoppedClientsGoOn: a publisher and a subscriber that were stopped for longer than every timeout go on by themselves; nothing
// is lost or repeated.
func TestStoppedClientsGoOn(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 1, 3)
	sub := e.start(t, "sub", "t", "--subscription", "s")
	pub := e.start(t, "pub", "t")
	var want []string
	feed := func(n int) {
		for range n {
			want = append(want, fmt.Sprint(len(want)))
			_, err := fmt.Fprintln(pub.stdin, want[len(want)-1])
			require.NoError(t, err)
		}
	}
	received := func() error { return atLeast(len(sub.lines()), len(want)) }
	feed(1000)
	eventually(t, 20*time.Second, received)
	feed(500) // some of these are under way when the clients stop
	for _, p := range []*process{pub, sub} {
		require.NoError(t, p.Process.Signal(syscall.SIGSTOP))
	}
	time.Sleep(11 * time.Second) // what is tested: longer than heartbeats and the broker's idle timeout
	for _, p := range []*process{pub, sub} {
		require.NoError(t, p.Process.Signal(syscall.SIGCONT))
	}
	feed(500)
	eventually(t, 20*time.Second, received)
	require.NoError(t, pub.stdin.Close())
	require.NoError(t, pub.Wait(), pub.err.String())
	require.NoError(t, sub.Process.Signal(syscall.SIGTERM))
	require.NoError(t, sub.Wait(), sub.err.String())
	require.True(t, slices.Equal(want, sub.lines()), "received %d lines, sent %d", len(sub.lines()), len(want))
}
