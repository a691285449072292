package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// dirPrefix begins the name of every directory of a run, and ownerFile lies in it, locked for as long as the run lives: that
// is how a later run tells its own kind's remains from what is in use and from what others mounted.
const (
	dirPrefix = "trunkline-chaos-"
	ownerFile = "owner.lock"
)

// claim makes a directory in parent that belongs to this process until the file is closed.
func claim(parent string) (dir string, lock *os.File, err error) {
	if dir, err = os.MkdirTemp(parent, dirPrefix); err != nil {
		return "", nil, fmt.Errorf("directory: %w", err)
	}
	if lock, err = os.OpenFile(filepath.Join(dir, ownerFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return "", nil, fmt.Errorf("directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", nil, fmt.Errorf("lock %s: %w", lock.Name(), errors.Join(err, lock.Close()))
	}
	return dir, lock, nil
}

// reclaim unmounts what runs left that ended without their clean-up (SIGKILL, a crash), and returns where. Their images stay.
// Mounts of others, and of runs that still live, are not touched.
func reclaim() ([]string, error) {
	mounts, err := loopMounts()
	if err != nil {
		return nil, err
	}
	var done []string
	var errs []error
	for _, m := range mounts {
		dir := filepath.Dir(m.image)
		if !strings.HasPrefix(filepath.Base(dir), dirPrefix) {
			continue
		}
		lock, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDWR, 0)
		if err != nil {
			continue // not one of ours, or not whole
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil { // else its run lives
			err = unmount(m.dir)
			errs = append(errs, err)
			if err == nil {
				done = append(done, m.dir)
			}
		}
		_ = lock.Close() // releases the lock
	}
	return done, errors.Join(errs...)
}

// loopMount is an image file that is mounted.
type loopMount struct{ image, dir string }

func loopMounts() ([]loopMount, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list of mounts: %w", err)
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var found []loopMount
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(line, " - ")
		fields, source := strings.Fields(before), strings.Fields(after)
		const dirField, sourceField = 4, 1
		if !ok || len(fields) <= dirField || len(source) <= sourceField {
			return nil, fmt.Errorf("list of mounts: %q is not of the known form", line)
		}
		device, ok := strings.CutPrefix(source[sourceField], "/dev/loop")
		if !ok {
			continue
		}
		image, err := os.ReadFile(filepath.Join("/sys/block", "loop"+device, "loop/backing_file"))
		if err != nil {
			continue // gone meanwhile
		}
		found = append(found, loopMount{strings.TrimSpace(string(image)), unescape.Replace(fields[dirField])})
	}
	return found, nil
}
