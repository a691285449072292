// Package cgroup limits the processor time and the memory of processes that run, by control groups of version 1, and counts what the
// kernel did about it.
//
//	Make -> Limit -> Add processes -> Number -> Remove, which lets the processes go on without limits
//
// A group is made below the one that this process is in, so that a process that is given back has the limits that it had. Memory that a
// process took before it was added counts for the group where it was. A Group has no goroutine and no memory of its own beside its
// path; its methods may be called from any goroutine. It needs root and the controllers mounted below /sys/fs/cgroup.
package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// root is where the controllers are mounted.
const root = "/sys/fs/cgroup"

const (
	removeLimit = 5 * time.Second // until a group whose processes ended is empty
	removePoll  = 10 * time.Millisecond
)

// Controllers.
const (
	CPU    = "cpu"
	Memory = "memory"
)

// Group is one control group of one controller.
type Group struct{ dir string }

// Make makes a group without limits. The name must not be in use.
func Make(controller, name string) (*Group, error) {
	own, err := ownGroup(controller)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, controller, own, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("control group: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
		return nil, errors.Join(fmt.Errorf("control group: %s is no mount of a controller: %w", filepath.Join(root, controller), err), os.Remove(dir))
	}
	return &Group{dir}, nil
}

// ownGroup returns the path of the group that this process is in, below the controller's mount.
func ownGroup(controller string) (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("control group: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		const number, names, path = 0, 1, 2
		fields := strings.SplitN(strings.TrimSpace(line), ":", path+1)
		if len(fields) > path && fields[number] != "0" && fields[names] == controller {
			return fields[path], nil
		}
	}
	return "", fmt.Errorf("control group: the kernel has no controller %q of version 1", controller)
}

// Limit writes one of the group's files, like cpu.cfs_quota_us.
func (g *Group) Limit(file string, value int64) error {
	return g.write(filepath.Join(g.dir, file), value)
}

// Add moves a process with all its threads into the group.
func (g *Group) Add(pid int) error {
	return g.write(filepath.Join(g.dir, "cgroup.procs"), int64(pid))
}

func (g *Group) write(path string, value int64) error {
	if err := os.WriteFile(path, []byte(strconv.FormatInt(value, 10)), 0); err != nil {
		return fmt.Errorf("control group: %d: %w", value, err)
	}
	return nil
}

// Number reads a number of one of the group's files: the one behind a key, like nr_throttled in cpu.stat, or the only one, with key "".
func (g *Group) Number(file, key string) (int64, error) {
	text, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0, fmt.Errorf("control group: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if key != "" && len(fields) > 1 && fields[0] == key {
			return strconv.ParseInt(fields[1], 10, 64)
		}
		if key == "" && len(fields) == 1 {
			return strconv.ParseInt(fields[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("control group: %s/%s has no number %q", g.dir, file, key)
}

// Remove gives the processes back and removes the group. It may have been removed already.
func (g *Group) Remove() error {
	parent := &Group{filepath.Dir(g.dir)}
	for end := time.Now().Add(removeLimit); ; time.Sleep(removePoll) {
		text, err := os.ReadFile(filepath.Join(g.dir, "cgroup.procs"))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		for _, pid := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(pid); err == nil {
				_ = parent.Add(n) // fails for one that has just ended
			}
		}
		err = syscall.Rmdir(g.dir)
		if err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("remove control group %s: %w", g.dir, err)
		}
	}
}
