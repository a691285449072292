package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// EXT4_IOC_SHUTDOWN of linux/ext4.h, _IOR('X', 125, __u32): from then on the file system writes nothing. Without a log
// flush it does not even write what its own journal holds in memory, as if the power had gone.
const (
	ioctlShutdown = 0x8004587D
	noLogFlush    = 2
)

const (
	// commitEvery is the seconds between ext4's own commits: long, so that only a sync makes anything durable.
	commitEvery = 300
	busyLimit   = 10 * time.Second // until a file system that nobody uses can be unmounted
	busyPoll    = 5 * time.Millisecond
)

// disk is an ext4 file system in an image file, mounted on a directory. One goroutine at a time.
type disk struct {
	image   string
	dir     string
	mounted bool
	frozen  bool
}

// makeDisk makes an image of so many bytes, which takes only the space that is used, and formats it. dir exists.
func makeDisk(ctx context.Context, image, dir string, size int64) (*disk, error) {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, fmt.Errorf("image %s: %w", image, err)
	}
	// With lazy initialisation the kernel would go on writing the image behind the run's back.
	if err := command(ctx, "mkfs.ext4", "-q", "-F", "-i", "65536", "-E", "lazy_itable_init=0,lazy_journal_init=0", image); err != nil {
		return nil, err
	}
	return &disk{image: image, dir: dir}, nil
}

// mount also replays ext4's journal. The loop device is released by the kernel at the unmount. There is no online discard: at the
// unmount after a cut the kernel would discard the blocks of files whose removal was not committed, and the files come back
// full of zeros, which no power cut does.
func (d *disk) mount(ctx context.Context) error {
	err := command(ctx, "mount", "-t", "ext4", "-o", fmt.Sprintf("loop,commit=%d", commitEvery), d.image, d.dir)
	d.mounted = err == nil
	return err
}

// unmount waits until nobody uses the file system any more. A disk that is not mounted is left alone.
func (d *disk) unmount() error {
	if !d.mounted {
		return nil
	}
	if err := errors.Join(d.thaw(context.Background()), unmount(d.dir)); err != nil {
		return err
	}
	d.mounted = false
	return nil
}

// thaw lets a frozen file system go on.
func (d *disk) thaw(ctx context.Context) error {
	if !d.frozen {
		return nil
	}
	err := command(ctx, "fsfreeze", "--unfreeze", d.dir)
	d.frozen = err != nil
	return err
}

func unmount(dir string) error {
	for end := time.Now().Add(busyLimit); ; time.Sleep(busyPoll) {
		err := unix.Unmount(dir, 0)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
}

// cut takes the power away: what was not synced is lost.
func (d *disk) cut() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("power cut: %w", err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, noLogFlush); err != nil {
		return fmt.Errorf("power cut of %s: EXT4_IOC_SHUTDOWN: %w", d.dir, err)
	}
	return nil
}

// provePowerCut shows on a small disk in dir that a cut loses what was not synced and keeps what was. It returns an
// *UnavailableError where no such disk can be made.
func provePowerCut(ctx context.Context, dir string) (err error) {
	at := filepath.Join(dir, "self-test")
	if err := os.Mkdir(at, 0o700); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	d, err := makeDisk(ctx, at+".img", at, 16<<20)
	if err != nil {
		return &UnavailableError{"powercut", err.Error()}
	}
	defer func() { err = errors.Join(err, d.unmount(), os.Remove(d.image), os.Remove(at)) }()
	if err := d.mount(ctx); err != nil {
		return &UnavailableError{"powercut", err.Error()}
	}
	if err := writeAndCut(ctx, d); err != nil {
		return fmt.Errorf("self-test: %w", err)
	}
	return nil
}

// writeAndCut writes files of every kind, cuts, and looks for them.
func writeAndCut(ctx context.Context, d *disk) error {
	kept, removed, lost := filepath.Join(d.dir, "kept"), filepath.Join(d.dir, "removed"), filepath.Join(d.dir, "lost")
	synced := []byte("synced")
	err := errors.Join(
		write(kept, synced, true), write(removed, synced, true),
		write(kept, []byte("and not"), false), os.Remove(removed), write(lost, []byte("not synced"), false),
		d.cut(), d.unmount(), d.mount(ctx))
	if err != nil {
		return err
	}
	for _, path := range []string{kept, removed} { // the removal was not synced
		text, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(text, synced) {
			err = fmt.Errorf("%s holds %q", path, text)
		}
		if err != nil {
			return fmt.Errorf("a power cut must keep what was synced (%q): %w", synced, err)
		}
	}
	left, err := survived(lost)
	if left {
		err = fmt.Errorf("a power cut must lose what was not synced: %s is there", lost)
	}
	return err
}

// write appends to a file and makes it durable if asked, its name too.
func write(path string, text []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if sync {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

// survived reports whether the content of an unsynced file is there. Its bare name may be: another file's sync commits all
// names. It is removed then.
func survived(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return info.Size() > 0, os.Remove(path)
}

// command runs a program of the system and returns what it said if it failed.
func command(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, args[len(args)-1], err, bytes.TrimSpace(out))
	}
	return nil
}
