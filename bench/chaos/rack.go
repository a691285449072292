package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// rack is a disk of its own for each broker: an ext4 image, mounted where the broker keeps its data. Several faults of a run use
// the same one. It belongs to the goroutine of the run.
type rack struct {
	images string // where the directory of the images is made
	size   int64  // of an image, bytes

	dir   string // of the images; "": not set up
	lock  *os.File
	disks map[int]*disk
}

// available returns an *UnavailableError for a fault where disks cannot be mounted.
func (r *rack) available(fault string) error {
	if os.Geteuid() != 0 {
		return &UnavailableError{fault, "mounting needs root"}
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "fsfreeze"} {
		if _, err := exec.LookPath(tool); err != nil {
			return &UnavailableError{fault, err.Error()}
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return &UnavailableError{fault, "no loop devices: " + err.Error()}
	}
	return nil
}

// setup makes and mounts the disks of brokers 1 to n of the cluster that will be made in dir, once, and shows that a power cut
// loses what it should.
func (r *rack) setup(ctx context.Context, dir string, n int) error {
	if r.dir != "" {
		return nil
	}
	var err error
	if r.dir, r.lock, err = claim(r.images); err != nil {
		return err
	}
	if err := provePowerCut(ctx, r.dir); err != nil {
		return err
	}
	r.disks = map[int]*disk{}
	for id := 1; id <= n; id++ {
		data := brokerData(dir, id)
		if err := os.MkdirAll(data, 0o700); err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
		d, err := makeDisk(ctx, filepath.Join(r.dir, fmt.Sprintf("broker-%d.img", id)), data, r.size)
		if err != nil {
			return err
		}
		r.disks[id] = d
		if err := d.mount(ctx); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(data, "lost+found")); err != nil {
			return fmt.Errorf("broker %d: %w", id, err)
		}
	}
	return nil
}

// cleanUp unmounts everything and, unless the data are to be kept, removes the images. No broker runs.
func (r *rack) cleanUp(keep bool) error {
	if r.dir == "" {
		return nil
	}
	var errs []error
	for _, d := range r.disks {
		errs = append(errs, d.unmount())
	}
	if err := errors.Join(errs...); !keep && err == nil {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(append(errs, r.lock.Close())...)
}

// evidence says how to look into what cleanUp kept.
func (r *rack) evidence() []string {
	var lines []string
	for id := range len(r.disks) {
		lines = append(lines, fmt.Sprintf("broker %d's data: mount -o ro,loop %s DIR", id+1, r.disks[id+1].image))
	}
	return lines
}
