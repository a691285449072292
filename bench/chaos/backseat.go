package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"

	"github.com/trunkline/trunkline/bench/cgroup"
)

// backseat is a control group whose processes get a processor only while nobody else wants one, and leave it to the first who does. What
// attackers do in there costs the brokers what brokers let them do, and not the machine that attackers have of their own elsewhere.
//
// A nice value does not do this: processes with sessions of their own are weighed as groups (autogroup), and one that waits
// for a processor may wait for the end of a slice of whoever has it, however little weight that one has.
type backseat struct{ group *cgroup.Group }

// open makes the group. It needs root, control groups of version 1 and Linux 5.15.
func (b *backseat) open() error {
	g, err := cgroup.Make(cgroup.CPU, fmt.Sprintf("%s%d-%x", dirPrefix, os.Getpid(), rand.Uint32()))
	if err != nil {
		return err
	}
	b.group = g
	return g.Limit("cpu.idle", 1)
}

// spin is a process that only computes, for spinLimit seconds of a processor at most.
const (
	spin      = "ulimit -t %d; while :; do :; done"
	spinLimit = 60
)

// occupy lets processes in the group compute until leave is called, one for each processor: what else runs then is as fast as it is beside
// attackers whom nobody listens to.
func (b *backseat) occupy() (leave func(), err error) {
	var all []*exec.Cmd
	leave = func() {
		for _, c := range all {
			_ = c.Process.Kill() // it may have ended
			_ = c.Wait()         // by that
		}
	}
	for range runtime.NumCPU() {
		c := exec.Command("sh", "-c", fmt.Sprintf(spin, spinLimit)) //nolint:noctx // ended by leave, and by itself
		if err := c.Start(); err != nil {
			leave()
			return nil, fmt.Errorf("occupy the processors: %w", err)
		}
		all = append(all, c)
		if err := b.group.Add(c.Process.Pid); err != nil {
			leave()
			return nil, err
		}
	}
	return leave, nil
}

// close removes the group, if there is one. Processes that are left in it go on as all others.
func (b *backseat) close() error {
	if b.group == nil {
		return nil
	}
	err := b.group.Remove()
	b.group = nil
	return err
}
