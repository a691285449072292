package seglog

import (
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

func unpaced(int) error { return nil }

// verifyAll checks every sealed segment and returns the damage that was found.
func verifyAll(t require.TestingT, l *Log) (found []*CorruptionError) {
	for from := l.Start(); from < l.SealedEnd(); {
		next, err := l.Verify(from, unpaced)
		var damage *CorruptionError
		if errors.As(err, &damage) {
			found = append(found, damage)
		} else {
			require.NoError(t, err)
		}
		require.Greater(t, next, from)
		from = next
	}
	return found
}

// fetchFrom is another replica.
func fetchFrom(l *Log) Fetch {
	return func(from protocol.Offset, maxBytes int) ([]byte, error) { return l.Read(from, maxBytes, nil) }
}

// segmentBytes returns the bytes of all segment files.
func segmentBytes(t require.TestingT, fs storefs.FS) map[string]string {
	entries, err := fs.ReadDir(testDir)
	require.NoError(t, err)
	all := map[string]string{}
	for _, e := range entries {
		if _, ok := parseFileName(e.Name(), logSuffix); ok {
			b, err := storefs.ReadFile(fs, testDir+"/"+e.Name(), 1<<30)
			require.NoError(t, err)
			all[e.Name()] = string(b)
		}
	}
	return all
}

// TestMendPutsRightWhatOpenFound damages a sealed segment so that Open sees it: the log opens, tells, serves the rest, and
// is whole after Mend and after another Open.
func TestMendPutsRightWhatOpenFound(t *testing.T) {
	base := newDir(t)
	good := twelve(t, base, noCache)
	require.NoError(t, good.Sync())
	defer good.Close()
	size := int(good.Bytes() / 12)
	file := fileName(testDir, 30, logSuffix)
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:n] } }
	for name, c := range map[string]struct {
		change   func([]byte) []byte // nil: the file is removed
		file     string
		position int
		bad      protocol.Offset // cannot be read before
	}{
		"one byte short":      {cut(3*size - 1), file, 2 * size, 55},
		"one batch short":     {cut(2 * size), file, 2 * size, 55},
		"inside a header":     {cut(size + 20), file, size, 45},
		"empty":               {cut(0), file, 0, 35},
		"longer":              {func(b []byte) []byte { return append(b, 1, 2, 3) }, file, 3 * size, 0},
		"last header":         {func(b []byte) []byte { b[2*size+9] ^= 4; return b }, file, 2 * size, 55},
		"the file is missing": {nil, fileName(testDir, 0, logSuffix), 3 * size, 35},
	} {
		t.Run(name, func(t *testing.T) {
			m := base.CrashClone(nil)
			if c.change == nil {
				require.NoError(t, m.Remove(file))
			} else {
				alter(t, m, file, c.change)
			}
			l := open(t, m, 120, noCache)
			require.Len(t, l.Damage(), 1)
			requireDamage(t, l.Damage()[0], c.file, int64(c.position))
			_, err := l.Read(65, 100, nil)
			require.NoError(t, err)
			if c.bad > 0 {
				_, err = l.Read(c.bad, 100, nil)
				var damage *CorruptionError
				require.ErrorAs(t, err, &damage)
			}
			segment, ok := l.Damage()[0].Segment()
			require.True(t, ok)
			_, err = l.Mend(segment, fetchFrom(good))
			require.NoError(t, err)
			require.Empty(t, verifyAll(t, l))
			require.Equal(t, readAll(t, good, 0, 1<<20), readAll(t, l, 0, 1<<20))
			require.Equal(t, good.Bytes(), l.Bytes())
			o, err := l.OffsetForTime(5000)
			require.NoError(t, err)
			require.Equal(t, protocol.Offset(40), o)

			again := open(t, m.CrashClone(nil), 120, noCache)
			require.Empty(t, again.Damage())
			require.Equal(t, readAll(t, good, 0, 1<<20), readAll(t, again, 0, 1<<20))
		})
	}
}

// TestMendNeedsWhatFits gives Mend batches that do not belong: nothing of them may be written.
func TestMendNeedsWhatFits(t *testing.T) {
	base := newDir(t)
	good := twelve(t, base, noCache)
	require.NoError(t, good.Sync())
	defer good.Close()
	size := int(good.Bytes() / 12)
	file := fileName(testDir, 30, logSuffix)
	m := base.CrashClone(nil)
	alter(t, m, file, func(b []byte) []byte { b[size+300] ^= 1; return b })
	l := open(t, m, 120, noCache)
	before := segmentBytes(t, m)
	right, err := good.Read(40, 1, nil)
	require.NoError(t, err)
	changed := func(change func([]byte) []byte) Fetch {
		return func(protocol.Offset, int) ([]byte, error) { return change(append([]byte(nil), right...)), nil }
	}
	for name, fetch := range map[string]Fetch{
		"nothing":      changed(func([]byte) []byte { return nil }),
		"not whole":    changed(func(b []byte) []byte { return b[:len(b)-1] }),
		"half a head":  changed(func(b []byte) []byte { return b[:40] }),
		"damaged too":  changed(func(b []byte) []byte { b[300] ^= 1; return b }),
		"other offset": changed(func([]byte) []byte { return buildBatch(t, 41, 10, 1000, 5000) }),
		"overlong":     changed(func([]byte) []byte { return buildBatch(t, 40, 21, 1000, 5000) }),
	} {
		done, err := l.Mend(30, fetch)
		var mismatch *MismatchError
		require.ErrorAs(t, err, &mismatch, name)
		require.Equal(t, file, mismatch.File)
		require.Equal(t, Mended{}, done, name)
	}
	errDown := errors.New("no replica answers")
	_, err = l.Mend(30, func(protocol.Offset, int) ([]byte, error) { return nil, errDown })
	require.ErrorIs(t, err, errDown)
	require.Equal(t, before, segmentBytes(t, m))
	// The first one is right, and stays; the second one is not what is here.
	done, err := l.Mend(30, changed(func(b []byte) []byte { return append(b, buildBatch(t, 50, 10, 900, 6000)...) }))
	require.ErrorContains(t, err, "the replicas differ")
	require.Equal(t, Mended{1, int64(size)}, done)
	_, err = l.Mend(120, fetchFrom(good))
	require.ErrorIs(t, err, protocol.ErrOffsetOutOfRange)
	require.NoError(t, l.Close())
	_, err = l.Mend(30, fetchFrom(good))
	require.ErrorIs(t, err, ErrClosed)
	_, err = l.Verify(30, unpaced)
	require.ErrorIs(t, err, ErrClosed)
}

// TestMendCrashes cuts the power before every file operation of a Mend: what is left is at least as good as before, and
// the next Mend ends the work.
func TestMendCrashes(t *testing.T) {
	base := newDir(t)
	good := twelve(t, base, noCache)
	require.NoError(t, good.Sync())
	defer good.Close()
	whole := segmentBytes(t, base)
	size := int(good.Bytes() / 12)
	file := fileName(testDir, 30, logSuffix)
	damaged := base.CrashClone(nil)
	alter(t, damaged, file, func(b []byte) []byte { b[9] ^= 1; b[size+300] ^= 1; return b[:2*size+100] })
	require.NoError(t, damaged.SyncDir(testDir))

	points := 0
	for ; ; points++ {
		m, count := damaged.CrashClone(nil), -1
		var left *storefs.Mem
		l, err := Open(storefs.Faulty(m, func(storefs.Op, string) error {
			if count >= 0 {
				if count++; count == points+1 {
					left = m.CrashClone(rand.New(rand.NewPCG(1, uint64(points))))
				}
			}
			return nil
		}), testDir, 120, noCache)
		require.NoError(t, err)
		count = 0
		done, err := l.Mend(30, fetchFrom(good))
		require.NoError(t, err)
		require.Equal(t, 3, done.Batches)
		require.NoError(t, l.Close())
		if left == nil {
			left = m.CrashClone(nil)
			require.Equal(t, whole, segmentBytes(t, left), "what Mend returned from is durable")
			break
		}
		l = open(t, left, 120, noCache)
		for o := protocol.Offset(0); o < 120; o += 10 {
			want, err := good.Read(o, 1, nil)
			require.NoError(t, err)
			got, err := l.Read(o, 1, nil)
			if o < 30 || o >= 60 || err == nil {
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		}
		_, err = l.Mend(30, fetchFrom(good))
		require.NoError(t, err)
		require.Equal(t, whole, segmentBytes(t, left))
	}
	require.Greater(t, points, 8)
}

// TestUnreadableSectorIsMended is a disk that cannot read what it stored until it is written again.
func TestUnreadableSectorIsMended(t *testing.T) {
	m := newDir(t)
	good := twelve(t, m, noCache)
	require.NoError(t, good.Sync())
	defer good.Close()
	file, bad := fileName(testDir, 30, logSuffix), true
	l := open(t, storefs.Faulty(m.CrashClone(nil), func(op storefs.Op, name string) error {
		switch {
		case name != file:
		case op == storefs.OpWrite:
			bad = false
		case op == storefs.OpRead && bad:
			return &os.PathError{Op: "read", Path: name, Err: syscall.EIO}
		}
		return nil
	}), 120, noCache)
	_, err := l.Read(35, 1, nil)
	requireDamage(t, err, file, 0)
	done, err := l.Mend(30, fetchFrom(good))
	require.NoError(t, err)
	require.Positive(t, done.Batches)
	require.Empty(t, verifyAll(t, l))
}

// TestMendOfTheActiveSegment mends what lies below the end of the log while more is appended.
func TestMendOfTheActiveSegment(t *testing.T) {
	m, other := newDir(t), newDir(t)
	l, good := create(t, m, 0, noCache), create(t, other, 0, noCache)
	defer l.Close()
	defer good.Close()
	for range 3 {
		add(t, l, 10, 1000, 1000)
		add(t, good, 10, 1000, 1000)
	}
	file := fileName(testDir, 0, logSuffix)
	f, err := m.OpenFile(file, os.O_RDWR)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("rot"), l.Bytes()/3+200)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = l.Read(15, 1, nil)
	requireDamage(t, err, file, l.Bytes()/3)
	done, err := l.Mend(15, func(from protocol.Offset, maxBytes int) ([]byte, error) {
		add(t, l, 10, 1000, 1000)
		return good.Read(from, maxBytes, nil)
	})
	require.NoError(t, err)
	require.Equal(t, 1, done.Batches)
	add(t, good, 10, 1000, 1000)
	require.Equal(t, readAll(t, good, 0, 1<<20), readAll(t, l, 0, 1<<20))
}

// TestMendProperty damages sealed segments at random, of this replica and of the other: no read ever returns a byte that
// was not appended, Verify finds each segment that is not what it was, and a whole replica makes it so again.
func TestMendProperty(t *testing.T) {
	base := newDir(t)
	good := twelve(t, base, noCache)
	require.NoError(t, good.Sync())
	defer good.Close()
	whole := segmentBytes(t, base)
	names := []string{fileName("", 0, logSuffix), fileName("", 30, logSuffix), fileName("", 60, logSuffix)}
	rapid.Check(t, func(t *rapid.T) {
		m := base.CrashClone(nil)
		options := Options{TailCacheBytes: -1, IndexEveryBytes: int64(rapid.IntRange(1, 4000).Draw(t, "index"))}
		l, err := Open(m, testDir, 120, options)
		require.NoError(t, err)
		for range rapid.IntRange(0, 4).Draw(t, "damages") {
			harm(t, m, testDir+"/"+rapid.SampledFrom(names).Draw(t, "file"))
		}
		if rapid.Bool().Draw(t, "reopen") {
			require.NoError(t, l.Close())
			l, err = Open(m, testDir, 120, options)
			require.NoError(t, err)
		}
		defer l.Close()
		start := protocol.Offset(rapid.IntRange(0, 29).Draw(t, "start"))
		require.NoError(t, l.SetStart(start))
		bad := map[string]bool{}
		for _, d := range verifyAll(t, l) {
			bad[d.File] = true
		}
		now := segmentBytes(t, m)
		for _, name := range names[1:] {
			require.Equal(t, now[name] != whole[name], bad[testDir+"/"+name], name)
		}
		for o := start; o < 120; o++ {
			if got, err := l.Read(o, rapid.IntRange(1, 4000).Draw(t, "max"), nil); err == nil {
				want, err := good.Read(o, len(got), nil)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		}
		if start > 0 && rapid.Bool().Draw(t, "whole") {
			return // below the start the other replica may have nothing
		}
		for _, o := range []protocol.Offset{max(start, 0), 30, 60} {
			_, err := l.Mend(o, fetchFrom(good))
			if start > 0 && o == start && err != nil {
				continue // the way to the start leads over what is damaged below it
			}
			require.NoError(t, err)
		}
		now = segmentBytes(t, m)
		for _, name := range names[1:] {
			require.Equal(t, whole[name], now[name])
		}
		if start == 0 {
			require.Equal(t, whole, now)
		}
	})
}

// harm changes a file at random.
func harm(t *rapid.T, m *storefs.Mem, name string) {
	b, err := storefs.ReadFile(m, name, 1<<30)
	require.NoError(t, err)
	f, err := m.Create(name)
	require.NoError(t, err)
	switch at := rapid.IntRange(0, max(0, len(b)-1)).Draw(t, "at"); {
	case len(b) == 0:
	case rapid.IntRange(0, 3).Draw(t, "kind") == 0:
		b = b[:at]
	case rapid.IntRange(0, 3).Draw(t, "kind") == 0:
		clear(b[at:min(len(b), at+700)])
	case rapid.IntRange(0, 3).Draw(t, "kind") == 0:
		b = append(b, b[:at]...)
	default:
		b[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	}
	_, err = f.Write(b)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
