package journal

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// walFiles returns the paths of the files of WAL 0, by id.
func walFiles(t testing.TB, fs storefs.FS) []string {
	t.Helper()
	dir := filepath.Join(testDir, "wal-0")
	list, err := fs.ReadDir(dir)
	require.NoError(t, err)
	var paths []string
	for _, e := range list {
		if _, spare, ok := parseFileName(e.Name()); ok && !spare {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}

// flip damages one byte.
func flip(t testing.TB, fs storefs.FS, path string, off int64) {
	t.Helper()
	f, err := fs.OpenFile(path, os.O_RDWR)
	require.NoError(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, off)
	require.NoError(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, off)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func refused(t testing.TB, fs storefs.FS, file string, off int64, reason string) {
	t.Helper()
	_, err := Open(testDir, 1, small(fs))
	var damage *CorruptionError
	require.True(t, errors.As(err, &damage), "%v", err)
	require.Equal(t, file, damage.File)
	require.Equal(t, off, damage.Offset)
	require.Contains(t, damage.Reason, reason)
}

// TestDamage: every round but the newest of a crashed broker is known to be durable, and its loss is noticed wherever
// the damage is; after an orderly end, all of them.
func TestDamage(t *testing.T) {
	fs := newMem(t)
	j := openRoomy(t, fs)
	for i := range uint64(4) {
		save(t, j, update(1, entries(i+1, i+1, 1, 100)))
	}
	crashed := fs.CrashClone(nil)
	path := walFiles(t, fs)[0]
	for round := range int64(3) {
		for _, at := range []int64{0, 9, 63, 70, 120, 160, 300} {
			c := crashed.CrashClone(nil)
			off := blockBytes * (round + 1)
			flip(t, c, path, off+at)
			refused(t, c, path, off, "is missing, but the one at byte")
		}
	}
	c := crashed.CrashClone(nil)
	flip(t, c, path, blockBytes*4+70)
	k := openRoomy(t, c)
	wantLog(t, k, 1, entries(1, 3, 1, 100))

	require.NoError(t, j.Close())
	refusedAfter := fs.CrashClone(nil)
	flip(t, refusedAfter, path, blockBytes*4+70)
	refused(t, refusedAfter, path, blockBytes*4, "is missing")

	c = fs.CrashClone(nil)
	flip(t, c, path, 33)
	refused(t, c, path, 0, "checksum")
	c = fs.CrashClone(nil)
	flip(t, c, filepath.Join(testDir, metaName), 20)
	refused(t, c, filepath.Join(testDir, metaName), 0, "not what a journal wrote")
	c = fs.CrashClone(nil)
	require.NoError(t, c.Remove(filepath.Join(testDir, metaName)))
	refused(t, c, filepath.Join(testDir, metaName), 0, "it is missing")
	c = fs.CrashClone(nil)
	require.NoError(t, c.Remove(path))
	refused(t, c, filepath.Join(testDir, "wal-0"), 0, "no files")
}

// TestDamageInAnOlderEpoch: what an earlier recovery accepted is durable, the newest round of it too.
func TestDamageInAnOlderEpoch(t *testing.T) {
	fs := newMem(t)
	j := openRoomy(t, fs)
	save(t, j, update(1, entries(1, 1, 1, 100)))
	path := walFiles(t, fs)[0]
	fs = fs.CrashClone(nil)
	k := openRoomy(t, fs)
	c := fs.CrashClone(nil)
	flip(t, c, path, blockBytes+100)
	refused(t, c, path, blockBytes, "round 1 is missing")
	save(t, k, update(1, entries(2, 2, 1, 100)))
	c = fs.CrashClone(nil)
	flip(t, c, path, blockBytes+100)
	refused(t, c, path, blockBytes, "round 1 is missing")
}

func TestMissingFiles(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	for i := range uint64(40) {
		save(t, j, update(1, entries(i+1, i+1, 1, 8000)))
	}
	require.NoError(t, j.Close())
	paths := walFiles(t, fs)
	require.Greater(t, len(paths), 5)
	for i := range len(paths) - 2 { // the last one may have been prepared only
		c := fs.CrashClone(nil)
		require.NoError(t, c.Remove(paths[i]))
		_, err := Open(testDir, 1, small(c))
		var damage *CorruptionError
		require.True(t, errors.As(err, &damage), "without %s: %v", paths[i], err)
	}
}

// TestTornRoundIsCutForEver tears the newest round in many ways. What is recovered is the log with it or without it;
// then the log goes on, is cut again, and every later recovery agrees about the first cut.
func TestTornRoundIsCutForEver(t *testing.T) {
	var crashed, mem *storefs.Mem
	var armed atomic.Bool
	var r *rand.Rand
	tear := func(op storefs.Op, _ string) error {
		if op == storefs.OpDatasync && armed.CompareAndSwap(true, false) {
			crashed = mem.CrashClone(r)
		}
		return nil
	}
	outcomes := map[int]int{}
	for seed := range uint64(20) {
		r = rand.New(rand.NewPCG(seed, 7))
		mem = newMem(t)
		opts := small(storefs.Faulty(mem, tear))
		opts.FileBytes = 256 << 10 // no file is prepared meanwhile
		j, err := Open(testDir, 1, opts)
		require.NoError(t, err)
		save(t, j, update(1, entries(1, 2, 1, 100)))
		armed.Store(true)
		save(t, j, update(1, entries(3, 4, 2, 10)))
		require.NoError(t, j.Close())

		last := uint64(0)
		for cut := range uint64(4) {
			mem = crashed
			opts.FS = storefs.Faulty(mem, tear)
			j, err = Open(testDir, 1, opts)
			require.NoError(t, err, "seed %d", seed)
			s, err := j.ReadRaftState(1, 1, 0)
			require.NoError(t, err)
			outcomes[int(s.EntryCount)]++
			require.GreaterOrEqual(t, s.EntryCount, max(2, last))
			wantLog(t, j, 1, read(t, j, 1, 1, s.EntryCount))
			last = s.EntryCount + 1
			save(t, j, update(1, entries(last, last, 3+cut, 100)))
			armed.Store(true)
			save(t, j, update(1, entries(last+1, last+1, 3+cut, 10+int(cut)*200)))
			require.NoError(t, j.Close())
		}
	}
	require.Greater(t, len(outcomes), 4, "%v", outcomes)
}

// TestLeftoverFiles: files that were begun but whose rounds were never promised are dropped with the cut.
func TestLeftoverFiles(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	for i := range uint64(12) {
		save(t, j, update(1, entries(i+1, i+1, 1, 8000)))
	}
	c := fs.CrashClone(nil)
	paths := walFiles(t, c)
	for _, p := range paths[2:] { // as if nothing of the later files had reached the disk
		f, err := c.OpenFile(p, os.O_RDWR)
		require.NoError(t, err)
		_, err = f.WriteAt(make([]byte, minFileBytes-blockBytes), blockBytes)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
	}
	require.Greater(t, len(paths), 2)
	k := open(t, c)
	s, err := k.ReadRaftState(1, 1, 0)
	require.NoError(t, err)
	require.NotZero(t, s.EntryCount)
	save(t, k, update(1, entries(s.EntryCount+1, s.EntryCount+1, 2, 10)))
	k = reopen(t, k, c)
	require.Len(t, read(t, k, 1, 1, 100), int(s.EntryCount+1))
}

// TestImpossibleReplica: a log that Dragonboat would panic at is the error of that replica only.
func TestImpossibleReplica(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	save(t, j, update(1, entries(1, 5, 1, 10)))
	bad := update(2, entries(1, 5, 1, 10))
	bad.State.Commit = 6
	save(t, j, bad)
	j = reopen(t, j, fs)
	wantLog(t, j, 1, entries(1, 5, 1, 10))
	_, err := j.ReadRaftState(2, 1, 0)
	require.ErrorContains(t, err, "shard 2 replica 1: entries up to 6 are committed")
}
