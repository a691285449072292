package storefs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// each runs a test on the real file system and on Mem: what a test of a storage package sees in Mem has to hold on
// a disk.
func each(t *testing.T, test func(t *testing.T, fsys FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, OS, t.TempDir()) })
	t.Run("mem", func(t *testing.T) {
		m := NewMem()
		require.NoError(t, m.MkdirAll("/tmp/x"))
		test(t, m, "/tmp/x")
	})
	t.Run("faulty", func(t *testing.T) {
		test(t, Faulty(OS, func(Op, string) error { return nil }), t.TempDir())
	})
}

func content(t *testing.T, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name, 1000)
	require.NoError(t, err)
	return string(b)
}

func TestFile(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		f, err := fsys.Create(name)
		require.NoError(t, err)
		for _, s := range []string{"hello ", "world"} {
			n, err := f.Write([]byte(s))
			require.NoError(t, err)
			require.Equal(t, len(s), n)
		}
		_, err = f.WriteAt([]byte("W"), 6)
		require.NoError(t, err)
		_, err = f.Write([]byte("!"))
		require.NoError(t, err, "WriteAt does not move the position")
		require.Equal(t, "hello World!", content(t, fsys, name))
		_, err = f.WriteAt([]byte("z"), 14)
		require.NoError(t, err)
		require.Equal(t, "hello World!\x00\x00z", content(t, fsys, name))
		require.NoError(t, f.Truncate(5))
		require.NoError(t, f.Truncate(7))
		require.Equal(t, "hello\x00\x00", content(t, fsys, name))
		size, err := f.Size()
		require.NoError(t, err)
		require.Equal(t, int64(7), size)

		b := make([]byte, 5)
		n, err := f.ReadAt(b, 4)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, 3, n)
		n, err = f.ReadAt(b, 7)
		require.ErrorIs(t, err, io.EOF)
		require.Zero(t, n)
		_, err = f.ReadAt(b, -1)
		require.Error(t, err)
		_, err = f.WriteAt(b, -1)
		require.Error(t, err)
		require.Error(t, f.Truncate(-1))
		require.NoError(t, f.StartWriteback(0, 7))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.ErrorIs(t, f.Close(), fs.ErrClosed)
		_, err = f.Write(b)
		require.ErrorIs(t, err, fs.ErrClosed)
		require.Error(t, f.Sync())
		_, err = f.Size()
		require.Error(t, err)
	})
}

func TestOpenFlags(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		_, err := fsys.Open(name)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = fsys.OpenFile(filepath.Join(dir, "no", "f"), os.O_RDWR|os.O_CREATE)
		require.ErrorIs(t, err, fs.ErrNotExist)
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		require.NoError(t, err)
		_, err = f.Write([]byte("abc"))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
		require.ErrorIs(t, err, fs.ErrExist)

		f, err = fsys.OpenFile(name, os.O_WRONLY|os.O_APPEND)
		require.NoError(t, err)
		_, err = f.Write([]byte("de"))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, "abcde", content(t, fsys, name))

		f, err = fsys.Open(name)
		require.NoError(t, err)
		_, err = f.Write([]byte("x"))
		require.Error(t, err)
		require.Error(t, f.Truncate(0))
		require.NoError(t, fsys.Remove(name))
		b := make([]byte, 5)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err, "an open file outlives its name")
		require.NoError(t, f.Close())
		_, err = fsys.OpenFile(dir, os.O_RDWR)
		require.Error(t, err)
	})
}

func TestDirectories(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		deep := filepath.Join(dir, "a", "b")
		require.NoError(t, fsys.MkdirAll(deep))
		require.NoError(t, fsys.MkdirAll(deep))
		for _, n := range []string{"2", "1"} {
			require.NoError(t, WriteFileAtomic(fsys, filepath.Join(deep, n), []byte("v"+n)))
		}
		entries, err := fsys.ReadDir(deep)
		require.NoError(t, err)
		require.Len(t, entries, 2, "no temporary file is left")
		require.Equal(t, "1", entries[0].Name())
		require.False(t, entries[0].IsDir())
		info, err := entries[0].Info()
		require.NoError(t, err)
		require.Equal(t, int64(2), info.Size())
		st, err := fsys.Stat(deep)
		require.NoError(t, err)
		require.True(t, st.IsDir())
		require.Error(t, fsys.MkdirAll(filepath.Join(deep, "1", "x")))
		require.Error(t, fsys.Remove(deep), "not empty")

		require.NoError(t, fsys.Rename(filepath.Join(deep, "1"), filepath.Join(deep, "2")))
		require.Equal(t, "v1", content(t, fsys, filepath.Join(deep, "2")))
		require.NoError(t, fsys.Rename(deep, filepath.Join(dir, "c")))
		require.Equal(t, "v1", content(t, fsys, filepath.Join(dir, "c", "2")))
		require.ErrorIs(t, fsys.Rename(deep, filepath.Join(dir, "d")), fs.ErrNotExist)
		require.ErrorIs(t, fsys.Remove(deep), fs.ErrNotExist)
		_, err = fsys.Stat(deep)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = fsys.ReadDir(deep)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.ErrorIs(t, fsys.SyncDir(deep), fs.ErrNotExist)

		require.NoError(t, fsys.SyncDir(dir))
		require.NoError(t, fsys.RemoveAll(filepath.Join(dir, "c")))
		require.NoError(t, fsys.RemoveAll(filepath.Join(dir, "c")))
		require.NoError(t, fsys.Remove(filepath.Join(dir, "a")))
	})
}

func TestReserve(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		f, err := fsys.Create(name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("abc"), 0)
		require.NoError(t, err)
		require.NoError(t, f.Reserve(2), "it never shortens")
		require.Equal(t, "abc", content(t, fsys, name))
		require.NoError(t, f.Reserve(0))
		require.NoError(t, f.Reserve(5))
		require.Equal(t, "abc\x00\x00", content(t, fsys, name))
		require.Error(t, f.Reserve(-1))
		require.NoError(t, f.Datasync())
		require.NoError(t, f.Close())
		require.Error(t, f.Datasync())
		require.Error(t, f.Reserve(9))
	})
}

func TestReadFileLimit(t *testing.T) {
	each(t, func(t *testing.T, fsys FS, dir string) {
		name := filepath.Join(dir, "f")
		require.NoError(t, WriteFileAtomic(fsys, name, make([]byte, 11)))
		_, err := ReadFile(fsys, name, 10)
		require.ErrorContains(t, err, "at most 10")
		b, err := ReadFile(fsys, name, 11)
		require.NoError(t, err)
		require.Len(t, b, 11)
		require.NoError(t, WriteFileAtomic(fsys, name, nil))
		b, err = ReadFile(fsys, name, 11)
		require.NoError(t, err)
		require.Empty(t, b)
		_, err = ReadFile(fsys, name+"x", 11)
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}

func TestFreeBytes(t *testing.T) {
	n, err := FreeBytes(t.TempDir())
	require.NoError(t, err)
	require.NotZero(t, n)
	_, err = FreeBytes("/no/such/directory")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestFaults lets each operation fail once, in the middle of replacing and reading a file.
func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	for _, op := range []Op{OpOpen, OpMkdir, OpRemove, OpRename, OpReadDir, OpStat, OpSyncDir, OpRead, OpWrite, OpTruncate,
		OpSync, OpDatasync, OpReserve, OpWriteback, OpClose} {
		m := NewMem()
		require.NoError(t, m.MkdirAll("/d"))
		require.NoError(t, WriteFileAtomic(m, "/d/f", []byte("old!")))
		asked := 0
		f := Faulty(m, func(o Op, name string) error {
			if o == op {
				asked++
				return boom
			}
			return nil
		})
		use := func() error {
			file, err := f.OpenFile("/d/f", os.O_RDWR)
			if err != nil {
				return err
			}
			_, wrote := file.Write([]byte("new!"))
			_, wroteAt := file.WriteAt([]byte("new!"), 0)
			_, read := file.ReadAt(make([]byte, 1), 0)
			err = errors.Join(wrote, wroteAt, read, file.Truncate(4), file.StartWriteback(0, 4), file.Sync(),
				file.Datasync(), file.Reserve(4), file.Close())
			_, stat := f.Stat("/d/f")
			_, list := f.ReadDir("/d")
			return errors.Join(err, stat, list, f.MkdirAll("/d/e"), f.SyncDir("/d"), f.Rename("/d/f", "/d/g"), f.Remove("/d/g"))
		}
		require.ErrorIs(t, use(), boom, op)
		require.NotZero(t, asked, op)
		if op == OpWrite {
			_, err := m.Stat("/d/g")
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
	}
}

func TestFailedWriteWritesHalf(t *testing.T) {
	boom := errors.New("boom")
	m := NewMem()
	f, err := Faulty(m, func(op Op, _ string) error {
		if op == OpWrite {
			return boom
		}
		return nil
	}).Create("f")
	require.NoError(t, err)
	n, err := f.Write([]byte("abcd"))
	require.ErrorIs(t, err, boom)
	require.Equal(t, 2, n)
	n, err = f.WriteAt([]byte("xyzw"), 2)
	require.ErrorIs(t, err, boom)
	require.Equal(t, 2, n)
	require.Equal(t, "abxy", content(t, m, "f"))
}

func TestWriteFileAtomicFails(t *testing.T) {
	boom := errors.New("boom")
	for _, op := range []Op{OpOpen, OpWrite, OpSync, OpClose, OpRename, OpSyncDir} {
		m := NewMem()
		require.NoError(t, WriteFileAtomic(m, "f", []byte("old")))
		err := WriteFileAtomic(Faulty(m, func(o Op, _ string) error {
			if o == op {
				return boom
			}
			return nil
		}), "f", []byte("newer"))
		require.ErrorIs(t, err, boom, op)
		want := "old"
		if op == OpSyncDir {
			want = "newer" // there, but not yet for sure
		}
		require.Equal(t, want, content(t, m, "f"))
	}
}
