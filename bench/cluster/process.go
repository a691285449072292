package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ErrEndedAtOnce says that a broker's process was gone before it could be looked at.
var ErrEndedAtOnce = errors.New("ended at once")

// spawn starts broker id in a session of its own, so that it outlives this process, unless it is tied to it, and does not
// get the terminal's signals. Its log is appended to broker-N/log.
func (c *Cluster) spawn(id int) error {
	dir := c.brokerDir(id)
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("broker %d: %w", id, err)
	}
	defer func() { _ = log.Close() }() // the child has its own descriptor

	at := c.state.place(id)
	argv := append(slices.Clone(at.Enter), cmp.Or(at.Binary, c.state.Binary), "--config", filepath.Join(dir, "trunkline.yaml"))
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // ended by signals
	cmd.Dir = dir
	cmd.Env = append(brokerEnv(os.Environ(), Processors(len(c.state.Brokers))), at.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if c.tied {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := c.run(cmd); err != nil {
		return fmt.Errorf("broker %d: start %s: %w", id, argv[0], err)
	}

	_, start, err := procState(cmd.Process.Pid)
	if err != nil {
		return fmt.Errorf("broker %d %w: see %s", id, ErrEndedAtOnce, log.Name())
	}
	return c.started(id, cmd.Process.Pid, start)
}

// run starts a process. A goroutine reaps it and ends with it; callers read the state of the process from /proc. With a death
// signal the goroutine stays on its thread: the kernel sends the signal when the thread that forked ends.
func (c *Cluster) run(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	go func() {
		if c.tied {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
		}
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Exit tells how it ended
			c.ended(cmd)
		}
	}()
	return <-started
}

// Processors is the GOMAXPROCS that each of so many brokers on this machine gets: its share, at least 1. With more, a broker wakes
// threads for work that another broker's threads then wait to begin. See docs/PERFORMANCE.md for what it is worth.
func Processors(brokers int) int { return max(1, runtime.NumCPU()/max(brokers, 1)) }

// brokerEnv drops keys of the environment that would override the broker's file, and says how many processors it has, unless the
// environment does.
func brokerEnv(environ []string, processors int) []string {
	out := []string{fmt.Sprintf("GOMAXPROCS=%d", processors)} // of two with the same key the last one counts
	for _, kv := range environ {
		if !strings.HasPrefix(kv, "TRUNKLINE_") {
			out = append(out, kv)
		}
	}
	return out
}

// WaitReady waits until broker id says that it is ready to serve.
func (c *Cluster) WaitReady(ctx context.Context, id int) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		last := ready(ctx, b.Admin)
		if last == nil {
			return nil
		}
		if now, err := c.Broker(id); err == nil && now.PID == 0 {
			return fmt.Errorf("broker %d ended while starting: %s", id, c.lastLine(id))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("broker %d is not ready (%w): %w; last log line: %s", id, last, ctx.Err(), c.lastLine(id))
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(body)))
	}
	return nil
}

// lastLine returns the last line of a broker's log, for error messages.
func (c *Cluster) lastLine(id int) string {
	text, err := os.ReadFile(filepath.Join(c.brokerDir(id), "log"))
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	return string(text[bytes.LastIndexByte(text, '\n')+1:])
}

// Log returns the path of a broker's log.
func (c *Cluster) Log(id int) string { return filepath.Join(c.brokerDir(id), "log") }

func (c *Cluster) brokerDir(id int) string {
	return filepath.Join(c.dir, "broker-"+strconv.Itoa(id))
}

// alive reports whether the process with that pid and start time runs. A zombie does not, once its last thread is gone: until
// then it holds its files and locks.
func alive(pid int, startTime uint64) bool {
	if pid == 0 {
		return false
	}
	st, start, err := procState(pid)
	if err != nil || start != startTime {
		return false
	}
	if st == 'Z' || st == 'X' {
		threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "task"))
		return err == nil && len(threads) > 1
	}
	return true
}

// procState reads state and start time (field 22) from /proc/PID/stat. The second field is a name in
// parentheses that may itself hold spaces and parentheses.
func procState(pid int) (state byte, start uint64, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const stateField, startField = 0, 19 // counted after the name
	if len(fields) <= startField {
		return 0, 0, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	start, err = strconv.ParseUint(fields[startField], 10, 64)
	return fields[stateField][0], start, err
}
