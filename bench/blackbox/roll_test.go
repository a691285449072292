package blackbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRollIsInvisible: `trunkline cluster roll` restarts every broker while records flow; no publish fails, and the cluster is healthy before
// and after. Then a broker is killed, and health says so.
func TestRollIsInvisible(t *testing.T) {
	e := up(t, 3, nil)
	e.createTopic(t, "t", 6, 3)
	s := e.startStream(t, "t", 6, time.Millisecond)
	eventually(t, 20*time.Second, func() error { return atLeast(s.acked(), 500) })
	eventually(t, 20*time.Second, func() error { return e.health(t, 0, "healthy") })

	before := map[int]int{}
	for _, b := range e.Brokers() {
		before[b.ID] = b.PID
	}
	out, errs, err := e.cli(t, "", "cluster", "roll", "--restart-cmd", "echo {id} > "+e.restarter(t))
	require.NoError(t, err, "%s%s", out, errs)
	require.Contains(t, out, "all brokers are restarted")
	for _, b := range e.Brokers() {
		require.NotEqual(t, before[b.ID], b.PID, "broker %d is the old process", b.ID)
		resp, err := http.Get("http://" + b.Admin + "/readyz?caught-up") //nolint:noctx // bounded by the broker
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	acked := s.acked()
	eventually(t, 10*time.Second, func() error { return atLeast(s.acked(), acked+500) })
	eventually(t, 20*time.Second, func() error { return e.health(t, 0, "healthy") })

	require.NoError(t, e.Kill(deadline(t, 10*time.Second), 2))
	eventually(t, 20*time.Second, func() error { return e.health(t, 2, "broker_dead") })
	require.NoError(t, e.Start(deadline(t, 30*time.Second), 2))
	eventually(t, 20*time.Second, func() error { return e.health(t, 0, "healthy") })
	e.requireKept(t, "t", s.finish(t))
}

// health checks the exit code of `trunkline cluster health` and that it says something.
func (e *env) health(t *testing.T, code int, says string) error {
	out, errs, err := e.cli(t, "", "cluster", "health", "--json")
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	}
	if got != code || !strings.Contains(out, `"`+says+`"`) {
		return fmt.Errorf("exit code %d: %s%s", got, out, errs)
	}
	var report struct {
		Findings []struct{ Code, Severity, Text string }
	}
	return json.Unmarshal([]byte(out), &report)
}

// restarter returns a pipe: the brokers whose IDs are written to it are stopped and started, until the test ends.
func (e *env) restarter(t *testing.T) (pipe string) {
	pipe = filepath.Join(t.TempDir(), "restart")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	f, err := os.OpenFile(pipe, os.O_RDWR, 0) // for writing too: it does not end when a writer does
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			id, err := strconv.Atoi(lines.Text())
			if err == nil {
				err = errors.Join(e.Stop(deadline(t, 15*time.Second), id), e.Start(deadline(t, 30*time.Second), id))
			}
			if err != nil {
				t.Errorf("restart %q: %v", lines.Text(), err)
			}
		}
	}()
	t.Cleanup(func() { _ = f.Close(); <-ended })
	return pipe
}
