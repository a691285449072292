package worker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// Crew is a set of client processes and what they report. Its methods may be called from any goroutine, but not from the function
// that takes the reports.
type Crew struct {
	command []string
	on      func(Report)
	read    *os.File
	write   *os.File
	done    chan struct{} // closed when nothing is read any more

	mu      sync.Mutex
	clients map[int]*Client // guarded by mu; by number, those that are not gone
	next    int             // guarded by mu
	err     error           // guarded by mu; why reading ended
}

// NewCrew returns a crew without clients, which are started by a command that calls Main. on is told of every report, in order, by
// one goroutine; while it does not return, clients wait. Close ends it.
func NewCrew(command []string, on func(Report)) (*Crew, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("reports of clients: %w", err)
	}
	c := &Crew{command: command, on: on, read: r, write: w, done: make(chan struct{}), clients: map[int]*Client{}}
	go func() { defer close(c.done); c.listen() }()
	return c, nil
}

// listen reads reports until the pipe is closed.
func (c *Crew) listen() {
	lines := bufio.NewScanner(c.read)
	lines.Buffer(make([]byte, lineLimit), lineLimit)
	var err error
	for err == nil && lines.Scan() {
		var r Report
		if err = json.Unmarshal(lines.Bytes(), &r); err != nil {
			err = fmt.Errorf("a client reports %q: %w", lines.Text(), err)
			break
		}
		c.on(r)
		if r.What == Gone {
			c.mu.Lock()
			cl := c.clients[r.Client]
			delete(c.clients, r.Client)
			c.mu.Unlock()
			close(cl.gone)
		}
	}
	c.mu.Lock()
	c.err = errors.Join(err, lines.Err())
	c.mu.Unlock()
	_ = c.read.Close() // writers fail from now on instead of waiting
}

// Client is one process. Its methods may be called from any goroutine.
type Client struct {
	crew   *Crew
	number int
	cmd    *exec.Cmd
	stdin  io.Closer
	gone   chan struct{} // closed when its last report was taken
}

// Start starts a client, which begins with its task at once.
func (c *Crew) Start(t Task) (*Client, error) {
	c.mu.Lock()
	c.next++
	t.Number = c.next
	c.mu.Unlock()
	text, err := json.Marshal(t)
	if err != nil {
		return nil, fmt.Errorf("client %d: task: %w", t.Number, err)
	}
	cmd := exec.Command(c.command[0], c.command[1:]...) //nolint:noctx // ended by signals
	cmd.ExtraFiles = []*os.File{c.write}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("client %d: %w", t.Number, err)
	}
	cl := &Client{crew: c, number: t.Number, cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	c.mu.Lock()
	c.clients[t.Number] = cl
	c.mu.Unlock()
	if err := cl.run(); err != nil {
		c.mu.Lock()
		delete(c.clients, t.Number)
		c.mu.Unlock()
		return nil, fmt.Errorf("client %d: start %s: %w", t.Number, c.command[0], err)
	}
	if _, err := stdin.Write(append(text, '\n')); err != nil {
		return nil, errors.Join(fmt.Errorf("client %d: task: %w", t.Number, err), cl.Kill())
	}
	return cl, nil
}

// run starts the process. The goroutine that reaps it stays on its thread: the kernel sends the death signal when the thread that
// forked ends.
func (cl *Client) run() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cl.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cl.cmd.Wait()
		r := Report{Client: cl.number, What: Gone}
		if err != nil {
			r.Text = err.Error()
		}
		if report(cl.crew.write, r) != nil {
			close(cl.gone) // nobody listens
		}
	}()
	return <-started
}

// Number is what the client's reports say in Report.Client.
func (cl *Client) Number() int { return cl.number }

// PID is that of the process.
func (cl *Client) PID() int { return cl.cmd.Process.Pid }

// Alive reports whether its Gone has not been taken yet.
func (cl *Client) Alive() bool {
	select {
	case <-cl.gone:
		return false
	default:
		return true
	}
}

// Kill ends the client with SIGKILL and waits until all that it wrote has been taken. It may be gone already.
func (cl *Client) Kill() error {
	if err := cl.Signal(syscall.SIGKILL); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-cl.gone
	return nil
}

// Signal sends a signal: SIGSTOP and SIGCONT to make a client stand still.
func (cl *Client) Signal(sig syscall.Signal) error {
	if err := cl.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("client %d (pid %d): %v: %w", cl.number, cl.cmd.Process.Pid, sig, err)
	}
	return nil
}

// Leave asks the client to end in order and waits until it has. When ctx ends first it is killed, and that is an error.
func (cl *Client) Leave(ctx context.Context) error {
	_ = cl.stdin.Close() // fails only if it is closed
	select {
	case <-cl.gone:
		return nil
	case <-ctx.Done():
	}
	return errors.Join(fmt.Errorf("client %d (pid %d) does not leave: %w", cl.number, cl.cmd.Process.Pid, ctx.Err()), cl.Kill())
}

// Close kills all clients and returns why reports could not be read, if they could not.
func (c *Crew) Close() error {
	c.mu.Lock()
	var left []*Client
	for _, cl := range c.clients {
		left = append(left, cl)
	}
	c.mu.Unlock()
	var errs []error
	for _, cl := range left {
		errs = append(errs, cl.Kill())
	}
	errs = append(errs, c.write.Close())
	<-c.done
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(append(errs, c.err)...)
}
