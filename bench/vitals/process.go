package vitals

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// tick is one unit of processor time in /proc: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// Usage is what a process and its descendants have cost so far.
type Usage struct {
	CPU     time.Duration // user and system time of all threads, and of descendants that ended and were waited for
	RSS     int64         // bytes resident at this moment; pages that two processes share count twice
	Written int64         // bytes handed to the block layer
}

// Process sums up a process and its descendants: a server that a shell script started is counted with the script. A descendant that
// ends meanwhile is left out; it is an error if the process itself has ended. The bench must own all of them.
func Process(pid int) (Usage, error) {
	u, err := one(pid)
	if err != nil {
		return Usage{}, err
	}
	children, err := childrenOf(pid)
	if err != nil {
		return Usage{}, err
	}
	for _, child := range children {
		c, err := one(child)
		if ended(err) {
			continue
		}
		if err != nil {
			return Usage{}, fmt.Errorf("descendant of pid %d: %w", pid, err)
		}
		u.CPU, u.RSS, u.Written = u.CPU+c.CPU, u.RSS+c.RSS, u.Written+c.Written
	}
	return u, nil
}

// one reads a single process.
func one(pid int) (Usage, error) {
	st, err := readStat(pid)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{CPU: st.cpu + st.reaped}
	if u.RSS, err = rss(pid); err != nil {
		return Usage{}, err
	}
	if u.Written, err = value(pid, "io", "write_bytes:"); err != nil {
		return Usage{}, err
	}
	return u, nil
}

// errEnded says that a process is a zombie: it has no memory any more.
var errEnded = errors.New("the process ended")

// ended reports whether an error of reading /proc means that the process is gone.
func ended(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, errEnded)
}

// childrenOf returns the descendants of a process, in no order.
func childrenOf(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list of processes: %w", err)
	}
	children := map[int][]int{} // by parent
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		if st, err := readStat(id); err == nil {
			children[st.parent] = append(children[st.parent], id)
		}
	}
	found := children[pid]
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found, nil
}

// stat is what /proc/PID/stat says.
type stat struct {
	parent int
	cpu    time.Duration // of its own threads
	reaped time.Duration // of descendants that it has waited for
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return stat{}, fmt.Errorf("pid %d: %w", pid, err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const parent, user, system, childUser, childSystem = 1, 11, 12, 13, 14 // counted after the name, which may hold spaces
	if len(fields) <= childSystem {
		return stat{}, fmt.Errorf("%s has %d fields after the name", proc(pid, "stat"), len(fields))
	}
	var n [childSystem + 1]int64
	for _, i := range []int{parent, user, system, childUser, childSystem} {
		if n[i], err = strconv.ParseInt(string(fields[i]), 10, 64); err != nil {
			return stat{}, fmt.Errorf("%s: %w", proc(pid, "stat"), err)
		}
	}
	return stat{
		parent: int(n[parent]),
		cpu:    time.Duration(n[user]+n[system]) * tick,
		reaped: time.Duration(n[childUser]+n[childSystem]) * tick,
	}, nil
}

func rss(pid int) (int64, error) {
	kib, err := value(pid, "status", "VmRSS:")
	return kib << 10, err
}

// value returns the number behind a key in a file of /proc/PID.
func value(pid int, file, key string) (int64, error) {
	text, err := os.ReadFile(proc(pid, file))
	if err != nil {
		return 0, fmt.Errorf("pid %d: %w", pid, err)
	}
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(key))
		if fields := bytes.Fields(rest); ok && len(fields) > 0 {
			n, err := strconv.ParseInt(string(fields[0]), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %s %w", proc(pid, file), key, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s %w", proc(pid, file), key, errEnded)
}

func proc(pid int, file string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), file)
}
