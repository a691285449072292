package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// MaxBrokers bounds a local cluster.
const MaxBrokers = 7

// Broker is one broker process.
type Broker struct {
	ID        int    `json:"id"`
	PID       int    `json:"pid"`        // 0: not running
	StartTime uint64 `json:"start_time"` // of the process, in kernel clock ticks since boot
	Listen    string `json:"listen"`
	Raft      string `json:"raft"`
	Admin     string `json:"admin"`
	Joined    bool   `json:"joined,omitempty"` // the running cluster, and did not found it

	// Others use these addresses instead of Listen and Raft, if something stands between; empty: nothing does.
	FrontListen string `json:"front_listen,omitempty"`
	FrontRaft   string `json:"front_raft,omitempty"`
}

// Spec says what to start.
type Spec struct {
	Dir     string            // created if missing; must not hold a cluster
	Brokers int               // 1 to MaxBrokers
	Binary  string            // path of trunklined
	Config  map[string]string // more keys for every broker, like "log.level"
	// Tied: brokers that this process starts die with it, however it ends. Otherwise they outlive it.
	Tied bool
	// Places say where brokers run, Places[i] for broker i+1; those beyond its end run as Place{} says.
	Places []Place
	// Front returns the addresses that clients (UDP) and brokers (TCP) use instead of a broker's own, so that something can
	// stand between; empty ones change nothing. It is called once a broker, before any of them starts; nil: nobody stands between.
	Front func(Broker) (listen, raft string, err error)
}

// Place says where and how one broker runs. The zero value is this machine's loopback and the cluster's binary.
type Place struct {
	Host   string   `json:"host,omitempty"`   // the address it binds, for whose ports nobody else asks; empty: 127.0.0.1, free ports
	Enter  []string `json:"enter,omitempty"`  // a command that ends in exec of the broker's, like nsenter; it stands before it
	Binary string   `json:"binary,omitempty"` // empty: Spec.Binary
	Env    []string `json:"env,omitempty"`    // more environment, KEY=VALUE
}

// Cluster is a set of local broker processes.
type Cluster struct {
	dir  string
	tied bool

	mu    sync.Mutex
	state state                       // guarded by mu
	exits map[string]*os.ProcessState // how the last process of each broker's directory ended; guarded by mu
}

type state struct {
	Context string            `json:"context"`
	Binary  string            `json:"binary"`
	Config  map[string]string `json:"config,omitempty"`
	Brokers []Broker          `json:"brokers"`
	Places  []Place           `json:"places,omitempty"`  // by broker, or nil
	LastID  int               `json:"last_id,omitempty"` // the highest that was ever used, once brokers joined or were removed
}

// place returns where broker id runs.
func (s *state) place(id int) Place {
	if id > len(s.Places) {
		return Place{}
	}
	return s.Places[id-1]
}

// ErrNoCluster says that a directory holds no cluster.
var ErrNoCluster = errors.New("no local cluster there")

// Up creates a cluster in spec.Dir, starts its brokers and waits until all are ready. What was started is
// stopped again if that fails.
func Up(ctx context.Context, spec Spec) (*Cluster, error) {
	c, err := create(spec)
	if err != nil {
		return nil, err
	}
	for _, b := range c.state.Brokers {
		if err := c.spawn(b.ID); err != nil {
			return nil, errors.Join(err, c.killAll())
		}
	}
	for _, b := range c.state.Brokers {
		if err := c.WaitReady(ctx, b.ID); err != nil {
			return nil, errors.Join(err, c.killAll())
		}
	}
	return c, nil
}

func create(spec Spec) (*Cluster, error) {
	if spec.Brokers < 1 || spec.Brokers > MaxBrokers {
		return nil, fmt.Errorf("a local cluster has 1 to %d brokers, not %d", MaxBrokers, spec.Brokers)
	}
	dir, err := filepath.Abs(spec.Dir)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", spec.Dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cluster.json")); err == nil {
		return nil, fmt.Errorf("%s holds a cluster already: use `trunkline local start ID`, or `local down` to remove it", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	binary, err := filepath.Abs(spec.Binary)
	if err != nil {
		return nil, fmt.Errorf("binary %s: %w", spec.Binary, err)
	}
	brokers, err := allocate(spec, 1)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, tied: spec.Tied, state: state{
		Context: filepath.Join(dir, "context.json"), Binary: binary, Config: spec.Config, Brokers: brokers, Places: spec.Places,
	}}
	if err := c.writeFiles(); err != nil {
		return nil, err
	}
	return c, c.save()
}

// Open returns the cluster that lives in dir.
func Open(dir string) (*Cluster, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", dir, err)
	}
	c := &Cluster{dir: abs}
	if err := c.load(); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: start one with `trunkline local up --dir %s`", abs, ErrNoCluster, dir)
	} else if err != nil {
		return nil, err
	}
	return c, nil
}

// load reads the state. c.mu is held, or nobody else has c.
func (c *Cluster) load() error {
	text, err := os.ReadFile(filepath.Join(c.dir, "cluster.json"))
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	var st state
	if err := json.Unmarshal(text, &st); err != nil {
		return fmt.Errorf("%s/cluster.json is damaged: %w", c.dir, err)
	}
	c.state = st
	return nil
}

// Context returns the path of the file that tells clients how to connect.
func (c *Cluster) Context() string { return c.state.Context }

// Dir returns the cluster's directory.
func (c *Cluster) Dir() string { return c.dir }

// Brokers returns all brokers; PID is 0 for one that does not run.
func (c *Cluster) Brokers() []Broker {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Broker, len(c.state.Brokers))
	for i, b := range c.state.Brokers {
		if !alive(b.PID, b.StartTime) {
			b.PID, b.StartTime = 0, 0
		}
		out[i] = b
	}
	return out
}

// Broker returns one broker.
func (c *Cluster) Broker(id int) (Broker, error) {
	for _, b := range c.Brokers() {
		if b.ID == id {
			return b, nil
		}
	}
	return Broker{}, fmt.Errorf("there is no broker %d: this cluster has 1 to %d", id, len(c.state.Brokers))
}

// Kill ends a broker with SIGKILL and waits until the process is gone.
func (c *Cluster) Kill(ctx context.Context, id int) error {
	return c.end(ctx, id, syscall.SIGKILL, 10*time.Second)
}

// Stop asks a broker to drain and exit (SIGTERM) and waits until it did.
func (c *Cluster) Stop(ctx context.Context, id int) error {
	return c.end(ctx, id, syscall.SIGTERM, 30*time.Second)
}

// Pause stops a broker's process where it is (SIGSTOP).
func (c *Cluster) Pause(id int) error { return c.signal(id, syscall.SIGSTOP) }

// Resume lets a paused broker go on (SIGCONT).
func (c *Cluster) Resume(id int) error { return c.signal(id, syscall.SIGCONT) }

// Start starts a broker that does not run and waits until it is ready.
func (c *Cluster) Start(ctx context.Context, id int) error {
	if err := c.Spawn(id); err != nil {
		return err
	}
	return c.WaitReady(ctx, id)
}

// Spawn starts a broker that does not run and returns at once.
func (c *Cluster) Spawn(id int) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	if b.PID != 0 {
		return fmt.Errorf("broker %d runs already (pid %d)", id, b.PID)
	}
	return c.spawn(id)
}

// Down stops every broker, gracefully within ctx and then by SIGKILL, and removes the directory.
func (c *Cluster) Down(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, b := range c.Brokers() {
		if b.PID == 0 {
			continue
		}
		wg.Go(func() {
			if c.Resume(b.ID) != nil || c.Stop(ctx, b.ID) != nil {
				_ = c.Kill(context.WithoutCancel(ctx), b.ID) // killAll below reports one that survives
			}
		})
	}
	wg.Wait()
	if err := c.killAll(); err != nil {
		return err
	}
	return os.RemoveAll(c.dir)
}

// killAll ends whatever still runs.
func (c *Cluster) killAll() error {
	var errs []error
	for _, b := range c.Brokers() {
		if b.PID != 0 {
			errs = append(errs, c.Kill(context.Background(), b.ID))
		}
	}
	return errors.Join(errs...)
}

func (c *Cluster) signal(id int, sig syscall.Signal) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	if b.PID == 0 {
		return fmt.Errorf("broker %d does not run: start it with `trunkline local start %d`", id, id)
	}
	if err := syscall.Kill(b.PID, sig); err != nil {
		return fmt.Errorf("signal broker %d (pid %d): %w", id, b.PID, err)
	}
	return nil
}

// end signals a broker and waits until its process is gone, at most limit.
func (c *Cluster) end(ctx context.Context, id int, sig syscall.Signal, limit time.Duration) error {
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	if err := c.signal(id, sig); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for alive(b.PID, b.StartTime) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("broker %d (pid %d) still runs after %v: %w", id, b.PID, sig, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// save writes the whole state. Nobody else knows the directory yet, or the lock file is held.
func (c *Cluster) save() error {
	text, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	tmp := filepath.Join(c.dir, "cluster.json.tmp")
	if err := os.WriteFile(tmp, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return os.Rename(tmp, filepath.Join(c.dir, "cluster.json"))
}

// started notes the new process of a broker.
func (c *Cluster) started(id, pid int, startTime uint64) error {
	return c.change(func() error {
		for i := range c.state.Brokers {
			if b := &c.state.Brokers[i]; b.ID == id {
				b.PID, b.StartTime = pid, startTime
			}
		}
		return nil
	})
}

// change changes the state by fn and saves it. Other processes may do so at the same time: the file is read again and replaced under a
// lock.
func (c *Cluster) change(fn func() error) error {
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	defer lock.Close() // releases the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("cluster: lock: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.load(); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return c.save()
}
