package engine

import (
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/vitals"
)

// costs add up what the nodes use between begin and end, in samples of a second. A node that is killed and started again is
// several processes: what the killed one used after its last sample is lost. begin, sample and end may be called from any
// goroutine.
type costs struct {
	sys driver.System

	mu     sync.Mutex
	nodes  map[int]*nodeCost // by node ID
	loader time.Duration     // processor time of this process
	before vitals.Machine    // when begin was called
	busy   float64           // share of the machine's processor time from begin to end that was spent on anything
	stolen float64           // share that the host of this virtual machine spent on something else
	done   chan struct{}     // closed by end
	wg     sync.WaitGroup
}

// nodeCost is one node, as the sum of its processes.
type nodeCost struct {
	pid         int
	first, last vitals.Usage // of the process that runs
	before      vitals.Usage // of those that ended
	rss         int64        // the most that was seen
}

func newCosts(sys driver.System) *costs { return &costs{sys: sys, nodes: map[int]*nodeCost{}} }

// begin starts sampling.
func (c *costs) begin() {
	c.loader = -ownCPU()
	c.before, _ = vitals.ReadMachine() // without /proc/stat there would be no costs of nodes either
	c.done = make(chan struct{})
	c.sample()
	for _, n := range c.nodes {
		n.first = n.last // what was used before does not count; a process that appears later counts from its start
	}
	c.wg.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				c.sample()
			case <-c.done:
				return
			}
		}
	})
}

// end takes the last sample.
func (c *costs) end() {
	c.loader += ownCPU()
	if now, err := vitals.ReadMachine(); err == nil {
		c.busy, c.stolen = now.Since(c.before)
	}
	close(c.done)
	c.wg.Wait()
	c.sample()
}

// sample looks at every node that runs.
func (c *costs) sample() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, node := range c.sys.Nodes() {
		n := c.nodes[node.ID]
		if n == nil {
			n = &nodeCost{pid: node.PID}
			c.nodes[node.ID] = n
		}
		if node.PID == 0 {
			continue
		}
		u, err := vitals.Process(node.PID)
		if err != nil {
			continue // it has just ended
		}
		if node.PID != n.pid {
			n.before = n.sum()
			n.pid, n.first = node.PID, vitals.Usage{}
		}
		n.last = u
		n.rss = max(n.rss, u.RSS)
	}
}

func (n *nodeCost) sum() vitals.Usage {
	return vitals.Usage{
		CPU:     n.before.CPU + n.last.CPU - n.first.CPU,
		Written: n.before.Written + n.last.Written - n.first.Written,
	}
}

func (c *costs) list() []results.Cost {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]results.Cost, 0, len(c.nodes))
	for id, n := range c.nodes {
		u := n.sum()
		list = append(list, results.Cost{
			Node: id, CPUSeconds: u.CPU.Seconds(), RSSMaxMiB: float64(n.rss) / (1 << 20), BytesWritten: u.Written,
		})
	}
	slices.SortFunc(list, func(a, b results.Cost) int { return a.Node - b.Node })
	return list
}

// ownCPU is the processor time of this process so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
