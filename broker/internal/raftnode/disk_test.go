package raftnode

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// TestIdleReplicasReserveNoDisk: a broker hosts hundreds of them, and restarts.
func TestIdleReplicasReserveNoDisk(t *testing.T) {
	c := newCluster(t)
	b := c.open(1)
	m := fsm.New(fsm.Config{FS: storefs.OS, Dir: filepath.Join(c.dir, "p"), Partition: testTP})
	require.NoError(t, b.node.StartPartition(Start{Shard: testShard, Replica: 1, Replicas: c.replicas}, m))
	require.Less(t, diskBytes(t, b.node.cfg.Dir), int64(4<<20))
}

// diskBytes returns what the files below dir take of the disk, which may be more than their sizes.
func diskBytes(t *testing.T, dir string) int64 {
	var sum int64
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		sum += st.Blocks * 512
		return err
	}))
	return sum
}
