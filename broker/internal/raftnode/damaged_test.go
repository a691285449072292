package raftnode

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// TestDamagedLogIsTheErrorOfOneShard: the others go on, and the process does not panic at each start.
func TestDamagedLogIsTheErrorOfOneShard(t *testing.T) {
	c := newCluster(t)
	c.replicas = c.replicas[:1]
	one := c.start(1)
	_, epoch := c.elect(one)
	c.publish(one, epoch, 10, 5, 100)
	c.kill(1)
	damaged := 0
	require.NoError(t, filepath.WalkDir(filepath.Join(c.dir, "raft1"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".log") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) < 200 {
			return err
		}
		damaged++
		b[len(b)-1] ^= 1 // of the last record
		return os.WriteFile(path, b, 0o600)
	}))
	require.Positive(t, damaged)

	b := c.open(1)
	start := func(shard uint64, dir string) error {
		m := fsm.New(fsm.Config{FS: storefs.OS, Dir: filepath.Join(c.dir, dir), Partition: testTP})
		return b.node.StartPartition(shard, 1, c.replicas, m, func(Leadership) {})
	}
	require.ErrorContains(t, start(testShard, "data1"), "crc mismatch")
	require.ErrorContains(t, start(testShard, "data1"), "crc mismatch", "again")
	require.NoError(t, start(testShard+1, "other"))
}
