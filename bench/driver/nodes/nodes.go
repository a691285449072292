// Package nodes runs the server processes of a peer: starts, kills, pauses and waits for them.
//
// States of a node: down, running, paused (stopped by a signal). A node that ended by itself is down, and Start says what its
// log ended with. Processes die with the bench (PR_SET_PDEATHSIG) and lead a process group of their own, so that a wrapper
// script and its server end together. Linux only. All methods may be called from any goroutine, but not two for one node.
package nodes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
)

// Spec says how to run one node.
type Spec struct {
	ID   int      // from 1, dense
	Addr string   // where clients connect; for people and for Node
	Dir  string   // working directory, created if missing; the log is Dir/log
	Args []string // program and arguments
	Env  []string // added to the environment of the bench
	// Healthy returns nil once the node serves. It is asked every 50 ms and must end with its context.
	Healthy func(ctx context.Context) error
}

// Nodes is a set of processes.
type Nodes struct {
	mu    sync.Mutex
	specs []Spec
	procs []*process // by ID-1; nil: never started
}

type process struct {
	pid  int
	gone chan struct{} // closed when the process was reaped
}

func (p *process) running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// Up starts all nodes side by side and waits until all are healthy. If that fails they are gone again.
func Up(ctx context.Context, specs []Spec) (*Nodes, error) {
	n := &Nodes{specs: specs, procs: make([]*process, len(specs))}
	for _, s := range specs {
		if err := n.spawn(s); err != nil {
			return nil, errors.Join(err, n.Down())
		}
	}
	for _, s := range specs {
		if err := n.wait(ctx, s); err != nil {
			return nil, errors.Join(err, n.Down())
		}
	}
	return n, nil
}

// List returns all nodes in the order of their IDs.
func (n *Nodes) List() []driver.Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]driver.Node, len(n.specs))
	for i, s := range n.specs {
		out[i] = driver.Node{ID: s.ID, Addr: s.Addr, Log: logFile(s)}
		if n.procs[i].running() {
			out[i].PID = n.procs[i].pid
		}
	}
	return out
}

// Start starts a node that does not run and waits until it is healthy.
func (n *Nodes) Start(ctx context.Context, id int) error {
	s, p, err := n.node(id)
	if err != nil {
		return err
	}
	if p.running() {
		return fmt.Errorf("node %d runs already (pid %d)", id, p.pid)
	}
	if err := n.spawn(s); err != nil {
		return err
	}
	return n.wait(ctx, s)
}

// Kill ends a node with SIGKILL and waits until it is gone.
func (n *Nodes) Kill(ctx context.Context, id int) error { return n.end(ctx, id, syscall.SIGKILL) }

// Stop asks a node to end with SIGTERM and waits until it is gone.
func (n *Nodes) Stop(ctx context.Context, id int) error { return n.end(ctx, id, syscall.SIGTERM) }

// Pause stops a node where it is.
func (n *Nodes) Pause(id int) error { return n.signal(id, syscall.SIGSTOP) }

// Resume lets a paused node go on.
func (n *Nodes) Resume(id int) error { return n.signal(id, syscall.SIGCONT) }

// Down kills whatever runs and waits at most 10 s for each to be gone.
func (n *Nodes) Down() error {
	var errs []error
	for _, node := range n.List() {
		if node.PID == 0 {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		errs = append(errs, n.Kill(ctx, node.ID))
		cancel()
	}
	return errors.Join(errs...)
}

func (n *Nodes) node(id int) (Spec, *process, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, s := range n.specs {
		if s.ID == id {
			return s, n.procs[i], nil
		}
	}
	return Spec{}, nil, fmt.Errorf("there is no node %d: this cluster has 1 to %d", id, len(n.specs))
}

func (n *Nodes) signal(id int, sig syscall.Signal) error {
	_, p, err := n.node(id)
	if err != nil {
		return err
	}
	if !p.running() {
		return fmt.Errorf("node %d does not run", id)
	}
	if err := syscall.Kill(-p.pid, sig); err != nil {
		return fmt.Errorf("signal node %d (pid %d): %w", id, p.pid, err)
	}
	return nil
}

func (n *Nodes) end(ctx context.Context, id int, sig syscall.Signal) error {
	if err := n.signal(id, sig); err != nil {
		return err
	}
	_, p, _ := n.node(id)
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("node %d (pid %d) still runs after %v: %w", id, p.pid, sig, ctx.Err())
	}
}

// spawn starts the process of a node. The goroutine that forks stays on its thread until the process is gone: the kernel
// sends the death signal when that thread ends, not when the bench does.
func (n *Nodes) spawn(s Spec) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("node %d: %w", s.ID, err)
	}
	log, err := os.OpenFile(logFile(s), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("node %d: %w", s.ID, err)
	}
	cmd := exec.Command(s.Args[0], s.Args[1:]...) //nolint:noctx // ended by signals
	cmd.Dir, cmd.Env = s.Dir, append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started, gone := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(gone)
		err := cmd.Start()
		_ = log.Close() // the child has its own descriptor
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("node %d: start %s: %w", s.ID, s.Args[0], err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.procs[s.ID-1] = &process{pid: cmd.Process.Pid, gone: gone}
	return nil
}

// wait waits until a node is healthy.
func (n *Nodes) wait(ctx context.Context, s Spec) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := s.Healthy(ctx)
		if last == nil {
			return nil
		}
		if _, p, _ := n.node(s.ID); !p.running() {
			return fmt.Errorf("node %d ended while starting; the end of %s: %s", s.ID, logFile(s), lastLines(logFile(s)))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %d is not healthy (%w): %w; the end of %s: %s", s.ID, last, ctx.Err(), logFile(s), lastLines(logFile(s)))
		case <-tick.C:
		}
	}
}

func logFile(s Spec) string { return filepath.Join(s.Dir, "log") }

// lastLines returns the end of a log, for error messages.
func lastLines(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 600
	text = bytes.TrimSpace(text)
	return string(text[max(0, len(text)-most):])
}

// FreePorts returns n TCP ports of 127.0.0.1 that were free a moment ago. They are all held until the last is found, so they
// differ; somebody else may take one before a node does, which then ends while starting and says so.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		defer func() { _ = l.Close() }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
