package raftnode

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// openAgain opens the broker's node and returns how that failed; the test's broker is gone.
func (c *cluster) openAgain(b *testBroker) error {
	n, err := Open(b.node.cfg)
	if err == nil {
		_ = n.Close()
	}
	return err
}

// TestDamagedLogIsRefused: a broker that lost what it voted or acknowledged must not come back.
func TestDamagedLogIsRefused(t *testing.T) {
	c := newCluster(t)
	c.replicas = c.replicas[:1]
	one := c.start(1)
	_, epoch := c.elect(one)
	c.publish(one, epoch, 10, 5, 100)
	c.kill(1)
	files, err := filepath.Glob(filepath.Join(c.dir, "raft1", hostDir, "*", "journal", "wal-*", "*.wal"))
	require.NoError(t, err)
	damaged := 0
	for _, path := range files {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		if b[3*4096] == 0 {
			continue
		}
		damaged++
		b[2*4096+64] ^= 1 // of the second round, which the third one follows
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
	require.Positive(t, damaged)
	for range 2 {
		err := c.openAgain(one)
		require.ErrorContains(t, err, "is damaged at byte 8192")
		require.ErrorContains(t, err, "leave it stopped")
	}
}

func TestDirectoryOfTanIsRefused(t *testing.T) {
	c := newCluster(t)
	one := c.open(1)
	c.kill(1)
	require.NoError(t, os.MkdirAll(filepath.Join(one.node.cfg.Dir, hostDir, "00000000000000000001", "tandb"), 0o750))
	require.ErrorContains(t, c.openAgain(one), "were written by an older version (storage tan)")
}
