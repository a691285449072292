package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/bench/cgroup"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/vitals"
)

const (
	quotaPeriod = 100_000 // microseconds
	quota       = 10_000  // of processor time in each period: 0.1 core
	throttled   = 0.2     // of a core; a broker that used more was not limited

	oomLimit = 24 << 20         // bytes that the victim and the process beside it may still take
	oomFirst = "1000"           // the score that names a process as the one to kill
	oomWait  = 15 * time.Second // until the kernel has killed
)

// squeeze is what the faults by control groups have in common. They need root and control groups of version 1.
type squeeze struct {
	harmless
	name       string
	controller string
	groups     map[int]*cgroup.Group // by victim
	counts     map[string]int64
}

func (s *squeeze) Name() string { return s.name }

// Counts says what the kernel did.
func (s *squeeze) Counts() map[string]int64 { return s.counts }

func (s *squeeze) Available() error {
	g, err := s.group()
	if err != nil {
		return &UnavailableError{s.name, err.Error()}
	}
	return g.Remove()
}

func (s *squeeze) group() (*cgroup.Group, error) {
	return cgroup.Make(s.controller, fmt.Sprintf("%s%d-%x", dirPrefix, os.Getpid(), rand.Uint32()))
}

// enclose puts each victim into a group of its own, with limits, in this order.
func (s *squeeze) enclose(c *cluster.Cluster, victims []int, limits ...limit) error {
	for _, id := range victims {
		b, err := c.Broker(id)
		if err != nil {
			return err
		}
		g, err := s.group()
		if err != nil {
			return err
		}
		s.groups[id] = g
		for _, l := range limits {
			if err := g.Limit(l.file, l.value); err != nil {
				return err
			}
		}
		if err := g.Add(b.PID); err != nil {
			return fmt.Errorf("broker %d (pid %d): %w", id, b.PID, err)
		}
	}
	return nil
}

type limit struct {
	file  string
	value int64
}

// free takes the limits from all processes.
func (s *squeeze) free() error {
	var errs []error
	for id, g := range s.groups {
		errs = append(errs, g.Remove())
		delete(s.groups, id)
	}
	return errors.Join(errs...)
}

func (s *squeeze) Cleanup(bool) error { return s.free() }

// throttle leaves the victims a tenth of a processor. They run on.
//
// Counts: throttled_periods (in which the kernel made a broker wait), throttled_led (leaderships that brokers had when they were limited),
// throttled_lost (leaderships that they lost until the end), throttled_flaps (those among them that they had won meanwhile).
type throttle struct {
	squeeze
	since  time.Time
	before map[int]burden // by victim: when it was limited
}

// burden is what a broker has done so far and what it leads.
type burden struct {
	cpu         time.Duration
	lost, leads float64
}

func newThrottle() *throttle {
	return &throttle{squeeze: squeeze{name: "throttle", controller: cgroup.CPU, groups: map[int]*cgroup.Group{}, counts: map[string]int64{}}}
}

func (t *throttle) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	t.before = map[int]burden{}
	for _, id := range victims {
		now, err := burdenOf(ctx, c, id)
		if err != nil {
			return err
		}
		t.before[id] = now
		t.counts["throttled_led"] += int64(now.leads)
	}
	t.since = time.Now()
	return t.enclose(c, victims, limit{"cpu.cfs_period_us", quotaPeriod}, limit{"cpu.cfs_quota_us", quota})
}

func burdenOf(ctx context.Context, c *cluster.Cluster, id int) (burden, error) {
	const leads, lost = "trunkline_partition_leading", "trunkline_raft_leader_losses_total"
	b, err := c.Broker(id)
	if err != nil {
		return burden{}, err
	}
	values, err := observe.Scrape(ctx, b.Admin, leads, lost)
	if err != nil {
		return burden{}, fmt.Errorf("broker %d: %w", id, err)
	}
	cpu, err := vitals.CPU(b)
	return burden{cpu, values[lost], values[leads]}, err
}

// Prove returns an error unless each victim had to wait and got about its quota at most.
func (t *throttle) Prove(_ context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		b, err := c.Broker(id)
		if err != nil {
			return err
		}
		now, err := vitals.CPU(b)
		if err != nil {
			return err
		}
		n, err := t.groups[id].Number("cpu.stat", "nr_throttled")
		if err != nil {
			return err
		}
		share := (now - t.before[id].cpu).Seconds() / time.Since(t.since).Seconds()
		if n == 0 || share > throttled {
			return fmt.Errorf("broker %d had to wait in %d periods and used %.2f of a core: it was not limited", id, n, share)
		}
		t.counts["throttled_periods"] += n
	}
	return nil
}

// Recover asks what became of leaderships when the victims have time to answer.
func (t *throttle) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	if err := t.free(); err != nil {
		return err
	}
	for _, id := range victims {
		now, err := burdenOf(ctx, c, id)
		if err != nil {
			return err
		}
		before := t.before[id]
		t.counts["throttled_lost"] += int64(now.lost - before.lost)
		t.counts["throttled_flaps"] += int64(max(0, now.lost-before.lost-before.leads))
	}
	return nil
}

// oom lets the kernel kill the victims for want of memory. Each is put into a group with a process that takes all that the group may
// have, and is named as the one to be killed first: as on a machine whose memory somebody else takes, and who is more important.
//
// Counts: oom_kills (as the kernel counts them).
type oom struct {
	squeeze
}

func newOOM() *oom {
	return &oom{squeeze{name: "oom", controller: cgroup.Memory, groups: map[int]*cgroup.Group{}, counts: map[string]int64{}}}
}

func (o *oom) Inject(ctx context.Context, c *cluster.Cluster, victims []int) error {
	if err := o.enclose(c, victims, limit{"memory.limit_in_bytes", oomLimit}); err != nil {
		return err
	}
	return each(victims, func(id int) error { return o.starve(ctx, c, id) })
}

// starve takes the memory of a victim's group until the kernel has killed the victim.
func (o *oom) starve(ctx context.Context, c *cluster.Cluster, id int) error {
	ctx, cancel := context.WithTimeout(ctx, oomWait)
	defer cancel()
	b, err := c.Broker(id)
	if err != nil {
		return err
	}
	score := filepath.Join("/proc", strconv.Itoa(b.PID), "oom_score_adj")
	if err := os.WriteFile(score, []byte(oomFirst), 0); err != nil {
		return fmt.Errorf("broker %d (pid %d): %w", id, b.PID, err)
	}
	eater := exec.CommandContext(ctx, "sh", "-c", "read go; exec tail /dev/zero") // which keeps all that it reads, once it is in the group
	eater.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := eater.StdinPipe()
	if err != nil {
		return err
	}
	if err := eater.Start(); err != nil {
		return fmt.Errorf("starve broker %d: %w", id, err)
	}
	defer func() {
		_ = eater.Process.Kill() // fails only if it has ended
		_ = eater.Wait()         // it was killed
	}()
	if err := o.groups[id].Add(eater.Process.Pid); err != nil {
		return err
	}
	if _, err := stdin.Write([]byte("go\n")); err != nil {
		return fmt.Errorf("starve broker %d: %w", id, err)
	}
	return await(ctx, func() error {
		b, err := c.Broker(id)
		if err == nil && b.PID != 0 {
			err = fmt.Errorf("broker %d (pid %d) is not killed for want of memory, %s", id, b.PID, scoreOf(b.PID))
		}
		return err
	})
}

// scoreOf says how the kernel ranks a process.
func scoreOf(pid int) string {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "oom_score"))
	if err != nil {
		return err.Error()
	}
	return "oom_score " + string(text)
}

// Prove returns an error unless the kernel killed each victim: the first of its group, and perhaps the process beside it as well.
func (o *oom) Prove(_ context.Context, _ *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		n, err := o.groups[id].Number("memory.oom_control", "oom_kill")
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("broker %d ended, but the kernel killed nobody for want of memory", id)
		}
		o.counts["oom_kills"]++
	}
	return nil
}

func (o *oom) Recover(_ context.Context, c *cluster.Cluster, victims []int) error {
	if err := o.free(); err != nil {
		return err
	}
	return spawn(c, victims)
}
