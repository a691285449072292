package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trunkline/trunkline/bench/cluster"
)

const (
	// ballast is the file that fills a disk.
	ballast = ".chaos-ballast"
	// probe is what a frozen disk must not take.
	probe     = ".chaos-probe"
	probeWait = 200 * time.Millisecond
)

// diskFull fills the victims' disks until half of limits.disk_reserve is free: the broker must refuse publishes and lead nothing,
// and what it has accepted must still fit.
type diskFull struct {
	harmless
	*rack
	short int64 // times that a broker said it is short
}

func (f *diskFull) Name() string                                       { return "diskfull" }
func (f *diskFull) Available() error                                   { return f.available(f.Name()) }
func (f *diskFull) Setup(ctx context.Context, dir string, n int) error { return f.setup(ctx, dir, n) }
func (f *diskFull) Counts() map[string]int64                           { return map[string]int64{"short_of_disk": f.short} }

func (f *diskFull) Inject(_ context.Context, _ *cluster.Cluster, victims []int) error {
	return each(victims, func(id int) error { return fill(f.disks[id].dir, diskReserve/2) })
}

// fill takes space of the file system of dir until so many bytes are free.
func fill(dir string, leave int64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, ballast), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("ballast: %w", err)
	}
	err = unix.Fallocate(int(file.Fd()), 0, 0, max(free-leave, 1))
	return errors.Join(err, file.Close())
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Prove asks each victim for what it thinks is free, and shows that it lives.
func (f *diskFull) Prove(ctx context.Context, c *cluster.Cluster, victims []int) error {
	for _, id := range victims {
		b, err := c.Broker(id)
		if err != nil {
			return err
		}
		if b.PID == 0 {
			return fmt.Errorf("broker %d ended with a full disk: see %s", id, c.Log(id))
		}
		values, err := scrape(ctx, b.Admin, "trunkline_disk_free_bytes", "trunkline_partition_leading")
		if err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
		if free := values["trunkline_disk_free_bytes"]; free >= diskReserve {
			return fmt.Errorf("broker %d has %.0f bytes free after its disk was filled: %d were left", id, free, int64(diskReserve/2))
		}
		if n := values["trunkline_partition_leading"]; n > 0 {
			return fmt.Errorf("broker %d is short of disk and still leads %.0f partitions", id, n)
		}
		f.short++
	}
	return nil
}

func (f *diskFull) Recover(_ context.Context, _ *cluster.Cluster, victims []int) error {
	return each(victims, func(id int) error { return os.Remove(filepath.Join(f.disks[id].dir, ballast)) })
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
		if b, err := c.Broker(id); err != nil || b.PID == 0 { // it may have given up
			if err := errors.Join(err, c.Spawn(id)); err != nil {
				return err
			}
		}
	}
	return nil
}
