package storefs

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func write(t *testing.T, f File, off int64, b []byte) {
	t.Helper()
	_, err := f.WriteAt(b, off)
	require.NoError(t, err)
}

func TestCrashForgetsWhatWasNotSynced(t *testing.T) {
	m := NewMem()
	f, err := m.Create("f")
	require.NoError(t, err)
	write(t, f, 0, []byte("one"))
	require.NoError(t, f.Sync())
	_, err = m.CrashClone(nil).Stat("f")
	require.ErrorIs(t, err, fs.ErrNotExist, "the bytes are durable, the name is not")
	require.NoError(t, m.SyncDir("."))
	write(t, f, 0, []byte("two!"))
	require.Equal(t, "one", content(t, m.CrashClone(nil), "f"))
	require.Equal(t, "two!", content(t, m, "f"), "m goes on undisturbed")

	require.NoError(t, m.Rename("f", "g"))
	after := m.CrashClone(nil)
	require.Equal(t, "one", content(t, after, "f"))
	_, err = after.Stat("g")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, m.SyncDir("."))
	require.Equal(t, "one", content(t, m.CrashClone(nil), "g"))
	require.NoError(t, m.Remove("g"))
	require.Equal(t, "one", content(t, m.CrashClone(nil), "g"), "a removed file comes back")
	require.NoError(t, m.SyncDir("."))
	_, err = m.CrashClone(nil).Stat("g")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestCrashLosesUnsyncedDirectories(t *testing.T) {
	m := NewMem()
	require.NoError(t, m.MkdirAll("/a/b"))
	require.NoError(t, WriteFileAtomic(m, "/a/b/f", []byte("x")))
	_, err := m.CrashClone(nil).Stat("/a/b/f")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, m.SyncDir("/"))
	_, err = m.CrashClone(nil).Stat("/a/b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, m.SyncDir("/a"))
	require.Equal(t, "x", content(t, m.CrashClone(nil), "/a/b/f"))
}

// TestRandomCrash checks that every outcome in between is one that the rules allow, and that many of them happen.
func TestRandomCrash(t *testing.T) {
	old, young := bytes.Repeat([]byte{'o'}, 3*sectorSize), bytes.Repeat([]byte{'y'}, 5*sectorSize)
	m := NewMem()
	f, err := m.Create("f")
	require.NoError(t, err)
	write(t, f, 0, old)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("."))
	write(t, f, 0, young)
	_, err = m.Create("new")
	require.NoError(t, err)

	outcomes := map[string]bool{}
	withNew := 0
	for seed := range uint64(300) {
		c := m.CrashClone(rand.New(rand.NewPCG(seed, 1)))
		again := m.CrashClone(rand.New(rand.NewPCG(seed, 1)))
		b, err := ReadFile(c, "f", 1<<20)
		require.NoError(t, err)
		b2, err := ReadFile(again, "f", 1<<20)
		require.NoError(t, err)
		require.Equal(t, b, b2, "a seed says it all")
		require.GreaterOrEqual(t, len(b), len(old))
		require.LessOrEqual(t, len(b), len(young))
		for i, v := range b {
			require.Contains(t, "oy\x00", string(v))
			require.False(t, v == 0 && i < len(old), "old bytes are never lost")
			require.Equal(t, b[i/sectorSize*sectorSize], v, "sectors are written whole")
		}
		outcomes[string(b)] = true
		if _, err := c.Stat("new"); err == nil {
			withNew++
		}
	}
	require.Greater(t, len(outcomes), 100)
	require.InDelta(t, 150, withNew, 60)
}

func TestCrashAfterTruncation(t *testing.T) {
	m := NewMem()
	require.NoError(t, WriteFileAtomic(m, "f", []byte("0123456789")))
	f, err := m.OpenFile("f", os.O_RDWR)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(4))
	for seed := range uint64(50) {
		got := content(t, m.CrashClone(rand.New(rand.NewPCG(seed, 2))), "f")
		require.GreaterOrEqual(t, len(got), 4)
		require.Equal(t, "0123", got[:4])
	}
}

func TestCloneIsApartAndKnowsWhatIsDurable(t *testing.T) {
	m := NewMem()
	require.NoError(t, WriteFileAtomic(m, "f", []byte("0123")))
	f, err := m.OpenFile("f", os.O_RDWR)
	require.NoError(t, err)
	write(t, f, 0, []byte("ab"))
	require.NoError(t, m.Rename("f", "g"))
	c := m.Clone()
	write(t, f, 0, []byte("xy"))
	require.NoError(t, m.Remove("g"))
	require.Equal(t, "ab23", content(t, c, "g"), "a kill takes nothing")
	_, err = c.Stat("f")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, "0123", content(t, c.CrashClone(nil), "f"), "a power cut after it takes what was not synced")
}

// TestWriteFileAtomicSurvivesCrashes cuts the power before each operation of a replacement.
func TestWriteFileAtomicSurvivesCrashes(t *testing.T) {
	m := NewMem()
	require.NoError(t, WriteFileAtomic(m, "f", []byte("old")))
	seed := uint64(0)
	seen := map[string]bool{}
	fsys := Faulty(m, func(Op, string) error {
		for range 20 {
			seed++
			got := content(t, m.CrashClone(rand.New(rand.NewPCG(seed, 3))), "f")
			require.Contains(t, []string{"old", "new one"}, got)
			seen[got] = true
		}
		return nil
	})
	require.NoError(t, WriteFileAtomic(fsys, "f", []byte("new one")))
	require.Len(t, seen, 2)
	require.Equal(t, "new one", content(t, m.CrashClone(nil), "f"))
}

func TestDatasyncSurvivesCrashes(t *testing.T) {
	m := NewMem()
	require.NoError(t, WriteFileAtomic(m, "f", []byte("0123")))
	f, err := m.OpenFile("f", os.O_RDWR)
	require.NoError(t, err)
	require.NoError(t, f.Reserve(6))
	write(t, f, 0, []byte("ab"))
	require.Equal(t, "0123", content(t, m.CrashClone(nil), "f"))
	require.NoError(t, f.Datasync())
	require.Equal(t, "ab23\x00\x00", content(t, m.CrashClone(nil), "f"))
}
