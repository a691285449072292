package raftnode

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// TestIdleReplicasAreCheap: a broker hosts hundreds of them.
func TestIdleReplicasAreCheap(t *testing.T) {
	c := newCluster(t)
	b := c.open(1)
	before := heap()
	const replicas = 50
	for i := range uint64(replicas) {
		m := fsm.New(fsm.Config{FS: storefs.OS, Dir: filepath.Join(c.dir, fmt.Sprint("p", i)), Partition: testTP})
		require.NoError(t, b.node.StartPartition(Start{Shard: testShard + i, Replica: 1, Replicas: c.replicas}, m))
	}
	goroutines := runtime.NumGoroutine()
	time.Sleep(300 * time.Millisecond) // three ticks of Raft
	each := (heap() - before) / replicas
	t.Logf("%d bytes for each idle replica", each)
	require.Less(t, each, int64(raceFactor*300<<10))
	require.Less(t, runtime.NumGoroutine(), goroutines+replicas)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestABacklogIsNotKept: a follower that was away applies much at once, and little at a time from then on.
func TestABacklogIsNotKept(t *testing.T) {
	const commands, each = 300, 64 << 10
	c := newCluster(t)
	one, _ := c.start(1), c.start(2)
	c.start(3)
	_, epoch := c.elect(one)
	c.kill(3)
	c.publish(one, epoch, 1, commands, each)
	before := heap()
	three := c.start(3)
	c.same(one, three)
	c.publish(one, epoch, 2, 10, 100)
	c.same(one, three)
	kept := heap() - before
	t.Logf("%d bytes more than before a backlog of %d", kept, commands*each)
	require.Less(t, kept, int64(commands*each/2))
}
