package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
)

const (
	// ballast is the file that fills a disk.
	ballast = ".chaos-ballast"
	// probe is what a frozen disk must not take.
	probe     = ".chaos-probe"
	probeWait = 200 * time.Millisecond
	// leadsNothingIn is what a broker short of disk may need, beyond the time that the fault lasts, to lead nothing: an election can give it
	// leaderships at any moment, and it hands them over again. stopsIn is what one at its floor may need to stop: it looks once a second, and
	// hands over for two. Both times Options.Slack.
	leadsNothingIn = time.Second
	stopsIn        = 5 * time.Second
	// diskFloor is what brokers stop below, bytes: a quarter of the reserve.
	diskFloor = diskReserve / 4
	// roomSeenIn bounds how long a broker may need to see that its disk has room again, a start included.
	roomSeenIn = 20 * time.Second
	// refills is how often a disk is filled again that has room above what it was to be short of, because the broker deleted what it had
	// compacted.
	refills = 3
)

// diskFull fills the victims' disks until so much is free. Below limits.disk_reserve a broker must lead nothing any more. As a
// follower it goes on writing; it may stop when it comes to the floor, and must say so. Filled to below the floor it must stop.
type diskFull struct {
	harmless
	*rack
	name    string
	leave   int64 // bytes
	short   int64 // bytes, above leave: what the victim is to be short of
	within  time.Duration
	proven  int64 // times that a broker led nothing, short of disk, or had stopped
	stopped int64 // times that it had stopped
}

func newDiskFull(o *Options, r *rack, name string, leave int64) *diskFull {
	f := &diskFull{rack: r, name: name, leave: leave, short: diskReserve}
	within := leadsNothingIn
	if leave < diskFloor {
		f.short, within = diskFloor, stopsIn
	}
	f.within = time.Duration(float64(within) * o.Slack)
	return f
}

func (f *diskFull) Name() string                                       { return f.name }
func (f *diskFull) Available() error                                   { return f.available(f.Name()) }
func (f *diskFull) Setup(ctx context.Context, dir string, n int) error { return f.setup(ctx, dir, n) }
func (f *diskFull) Counts() map[string]int64 {
	return map[string]int64{"short_of_disk": f.proven, "disk_full_stops": f.stopped}
}

func (f *diskFull) Inject(_ context.Context, _ *cluster.Cluster, victims []int) error {
	return each(victims, func(id int) error { return fill(f.disks[id].dir, f.leave) })
}

// fill takes space of the file system of dir, more than it has taken already, until so many bytes are free.
func fill(dir string, leave int64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, ballast), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	taken, err := file.Stat()
	if err == nil && free > leave {
		err = unix.Fallocate(int(file.Fd()), 0, 0, taken.Size()+free-leave)
	}
	return errors.Join(err, file.Close())
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Prove shows that each victim leads nothing, or has stopped for the right reason.
func (f *diskFull) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		if err := f.yields(ctx, c, id); err != nil {
			return err
		}
		f.proven++
	}
	return nil
}

// fullForm is how a broker says why it stops.
var fullForm = regexp.MustCompile(`broker stops.*disk full`)

func (f *diskFull) saidFull(c *cluster.Cluster, id int) error {
	text, err := os.ReadFile(c.Log(id))
	if err != nil {
		return err
	}
	f.stopped++
	if !fullForm.Match(text) {
		return fmt.Errorf("broker %d ended with a full disk and did not say why: see %s", id, c.Log(id))
	}
	return nil
}

// yields waits until a broker leads nothing, or has stopped.
func (f *diskFull) yields(ctx context.Context, c *cluster.Cluster, id int) error {
	dir, again := f.disks[id].dir, 0
	for end := time.Now().Add(f.within); ; {
		b, err := c.Broker(id)
		if err == nil && b.PID == 0 {
			return f.saidFull(c, id)
		}
		switch {
		case err != nil:
		case f.short == diskFloor:
			err = fmt.Errorf("broker %d has not stopped within %v of its disk being full", id, f.within)
		default:
			err = f.leadsNothing(ctx, b)
		}
		if err == nil || time.Now().After(end) {
			return err
		}
		if free, ferr := freeBytes(dir); ferr == nil && free >= f.short && again < refills {
			again++
			end = time.Now().Add(f.within)
			if ferr := fill(dir, f.leave); ferr != nil {
				return ferr
			}
		}
		if serr := sleep(ctx, hitPoll); serr != nil {
			return serr
		}
	}
}

func (f *diskFull) leadsNothing(ctx context.Context, b cluster.Broker) error {
	values, err := observe.Scrape(ctx, b.Admin, "trunkline_disk_free_bytes", "trunkline_partition_leading")
	if err != nil {
		return fmt.Errorf("broker %d: %w", b.ID, err)
	}
	if free := values["trunkline_disk_free_bytes"]; free >= diskReserve {
		return fmt.Errorf("broker %d thinks that %.0f bytes are free after its disk was filled", b.ID, free)
	}
	if n := values["trunkline_partition_leading"]; n > 0 {
		return fmt.Errorf("broker %d is short of disk and still leads %.0f partitions", b.ID, n)
	}
	return nil
}

// Recover gives the space back and waits until each victim has seen that: one that has not may still stop.
func (f *diskFull) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		if err := os.Remove(filepath.Join(f.disks[id].dir, ballast)); err != nil {
			return err
		}
		if err := f.seesRoom(ctx, c, id); err != nil {
			return err
		}
	}
	return nil
}

// seesRoom waits until a broker says that its disk has room; it starts one that has ended.
func (f *diskFull) seesRoom(ctx context.Context, c *cluster.Cluster, id int) error {
	for end := time.Now().Add(roomSeenIn); ; {
		if err := startIfGone(c, id); err != nil {
			return err
		}
		b, err := c.Broker(id)
		if err != nil {
			return err
		}
		values, err := observe.Scrape(ctx, b.Admin, "trunkline_disk_free_bytes")
		if err == nil && values["trunkline_disk_free_bytes"] >= diskReserve {
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("broker %d does not see that its disk has room again: %v", id, values), err)
		}
		if err := sleep(ctx, hitPoll); err != nil {
			return err
		}
	}
}

// startIfGone starts a broker that has ended.
func startIfGone(c *cluster.Cluster, id int) error {
	b, err := c.Broker(id)
	if err != nil || b.PID != 0 {
		return err
	}
	return c.Spawn(id)
}

// diskFreeze freezes the victims' file systems: every write hangs and none fails.
type diskFreeze struct {
	harmless
	*rack
	frozen map[int]*atomic.Bool // by victim: a write was finished
	hung   int64                // writes that hung
}

func (f *diskFreeze) Name() string                                       { return "diskfreeze" }
func (f *diskFreeze) Available() error                                   { return f.available(f.Name()) }
func (f *diskFreeze) Setup(ctx context.Context, dir string, n int) error { return f.setup(ctx, dir, n) }
func (f *diskFreeze) Counts() map[string]int64                           { return map[string]int64{"frozen_writes": f.hung} }

func (f *diskFreeze) Inject(ctx context.Context, _ *cluster.Cluster, victims []int) error {
	f.frozen = map[int]*atomic.Bool{}
	for _, id := range victims {
		dir := f.disks[id].dir
		if err := command(ctx, "fsfreeze", "--freeze", dir); err != nil {
			return err
		}
		f.disks[id].frozen = true
		done := new(atomic.Bool)
		f.frozen[id] = done
		go func() { // ends when the disk thaws, which Recover and every way of unmounting see to
			_ = write(filepath.Join(dir, probe), []byte("frozen"), true) // only that it waits matters
			done.Store(true)
		}()
	}
	return sleep(ctx, probeWait)
}

func (f *diskFreeze) Prove(_ context.Context, _ *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		if f.frozen[id].Load() {
			return fmt.Errorf("broker %d: its frozen disk was written to", id)
		}
		f.hung++
	}
	return nil
}

func (f *diskFreeze) Recover(ctx context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		if err := f.disks[id].thaw(ctx); err != nil {
			return err
		}
		if err := startIfGone(c, id); err != nil { // it may have given up
			return err
		}
	}
	return nil
}
