package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
)

// Fault is one way to harm brokers. It is used by one goroutine, in the order Available, Setup, then any number of times
// Inject, Prove, Recover, at last Cleanup, also after a failure of any of them.
type Fault interface {
	Name() string
	// Available returns an *UnavailableError where the fault cannot be injected.
	Available() error
	// Setup prepares the place for brokers 1 to n before the cluster is made in dir, and shows that the means work.
	Setup(ctx context.Context, dir string, n int) error
	// Inject harms the victims, which run, all at the same time.
	Inject(ctx context.Context, c *cluster.Cluster, victims []int) error
	// Prove returns an error if the fault had not the effect that it is named after.
	Prove(ctx context.Context, c *cluster.Cluster, victims []int) error
	// Recover takes the harm back and starts the victims. It does not wait until they are ready.
	Recover(ctx context.Context, c *cluster.Cluster, victims []int) error
	// Cleanup leaves nothing behind, with keep only the stored data. No broker runs. It may be called after a Setup that failed.
	Cleanup(keep bool) error
	// Evidence names what Cleanup keeps, apart from the run's directory.
	Evidence() []string
}

// UnavailableError says why a fault cannot be injected on this machine.
type UnavailableError struct{ Fault, Reason string }

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("fault %s is not available here: %s", e.Fault, e.Reason)
}

// shaper is a fault that has a say in where brokers run and what stands between them. Shape is called after Setup.
type shaper interface {
	Shape(spec *cluster.Spec) error
}

// stepper is a fault that is made of steps, each of which may cost a pause. It is asked when the fault is over.
type stepper interface {
	steps() []time.Time // when each of them began
}

// counter is a fault that counts what it did, for the evidence of rows.
type counter interface {
	Counts() map[string]int64
}

// judge is a fault that finds broken promises itself. Violations is asked once, when nothing happens any more.
type judge interface {
	Violations() []string
}

// harmless is embedded by faults that need less than all of Fault.
type harmless struct{}

func (harmless) Name() string                                           { return "none" }
func (harmless) Available() error                                       { return nil }
func (harmless) Setup(context.Context, string, int) error               { return nil }
func (harmless) Inject(context.Context, *cluster.Cluster, []int) error  { return nil }
func (harmless) Prove(context.Context, *cluster.Cluster, []int) error   { return nil }
func (harmless) Recover(context.Context, *cluster.Cluster, []int) error { return nil }
func (harmless) Cleanup(bool) error                                     { return nil }
func (harmless) Evidence() []string                                     { return nil }

// kill is SIGKILL: the process is gone, what it wrote stays in the page cache.
type kill struct{ harmless }

func (kill) Name() string { return "kill" }

func (kill) Recover(_ context.Context, c *cluster.Cluster, victims []int) error {
	return spawn(c, victims)
}

func (kill) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	return killAll(ctx, c, victims)
}

func (kill) Prove(_ context.Context, c *cluster.Cluster, victims []int) error {
	return allGone(c, victims)
}

// processes are what SIGKILL and power cuts need of those that they hit: brokers of a cluster, or of a driver's system.
type processes interface {
	Kill(ctx context.Context, id int) error
	Pause(id int) error
	Broker(id int) (cluster.Broker, error) // its ID and PID
}

// killAll ends the victims with SIGKILL, all at the same time.
func killAll(ctx context.Context, c processes, victims []int) error {
	return each(victims, func(id int) error { return c.Kill(ctx, id) })
}

// allGone returns an error if a victim's process is there.
func allGone(c processes, victims []int) error {
	for _, id := range victims {
		b, err := c.Broker(id)
		if err == nil && b.PID != 0 {
			err = fmt.Errorf("broker %d (pid %d) runs after SIGKILL", id, b.PID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func spawn(c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		if err := c.Spawn(id); err != nil {
			return err
		}
	}
	return nil
}

// brokerData is where a cluster in dir keeps the data of a broker.
func brokerData(dir string, id int) string {
	return filepath.Join(dir, "broker-"+strconv.Itoa(id), "data")
}

// stopped reports whether no thread of a process runs: each is stopped, or waits in the kernel and stops when it leaves it.
func stopped(pid int) (bool, error) {
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/stat"))
	if err != nil {
		return false, err
	}
	if len(tasks) == 0 {
		return false, fmt.Errorf("pid %d has ended", pid)
	}
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread ended
		}
		if err != nil {
			return false, err
		}
		switch threadState(text) {
		case 'T', 't', 'D', 'Z', 'X':
		default:
			return false, nil
		}
	}
	return true, nil
}
