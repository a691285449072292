package cluster

import (
	"fmt"
	"os"
	"os/exec"
)

// ended notes how a broker's process ended. One is kept for each broker.
func (c *Cluster) ended(cmd *exec.Cmd) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exits == nil {
		c.exits = map[string]*os.ProcessState{}
	}
	c.exits[cmd.Dir] = cmd.ProcessState
}

// Exit returns how the process pid of broker id ended. It is known only of processes that this Cluster started, a moment after
// they are gone, and until the broker's next one ends.
func (c *Cluster) Exit(id, pid int) (*os.ProcessState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.exits[c.brokerDir(id)]
	if state == nil || state.Pid() != pid {
		return nil, fmt.Errorf("how broker %d (pid %d) ended is not known", id, pid)
	}
	return state, nil
}

// LastExit returns how the last process of a broker that has ended did so, a moment after it is gone. It is known only of processes
// that this Cluster started.
func (c *Cluster) LastExit(id int) (*os.ProcessState, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state := c.exits[c.brokerDir(id)]
	if state == nil {
		return nil, fmt.Errorf("how broker %d ended is not known", id)
	}
	return state, nil
}
