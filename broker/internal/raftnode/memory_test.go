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
