package seglog

import (
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// requireDamage checks that err is a CorruptionError of the file and position.
func requireDamage(t *testing.T, err error, file string, position int64) {
	t.Helper()
	var c *CorruptionError
	require.ErrorAs(t, err, &c)
	require.Equal(t, file, c.File)
	require.Equal(t, position, c.Position, c.Reason)
	require.NotEmpty(t, c.Reason)
}

func TestReopenKeepsEverything(t *testing.T) {
	for _, keepBelow := range []protocol.Offset{120, All} {
		m := newDir(t)
		l := twelve(t, m, Options{IndexEveryBytes: 1})
		want := readAll(t, l, 0, 1<<20)
		require.NoError(t, l.Close())
		l = open(t, m, keepBelow, noCache)
		require.Equal(t, protocol.Offset(0), l.Start())
		require.Equal(t, protocol.Offset(120), l.Next())
		require.Equal(t, int64(len(want)), l.Bytes())
		want = append(want, add(t, l, 10, 1000, 13_000)...)
		require.Equal(t, want, readAll(t, l, 0, 5000))
		o, err := l.OffsetForTime(12_500)
		require.NoError(t, err)
		require.Equal(t, protocol.Offset(120), o)
		require.Equal(t, protocol.Offset(30), l.RetentionPoint(1<<40, 0, uint64(len(want)*3/4)))
	}
}

func TestSyncedSurvivesPowerLoss(t *testing.T) {
	m := newDir(t)
	l := twelve(t, m, noCache)
	want := readAll(t, l, 0, 1<<20)
	require.NoError(t, l.Sync())
	require.NoError(t, l.Sync())
	add(t, l, 1, 100, 13_000)
	for _, keepBelow := range []protocol.Offset{120, All} {
		after := open(t, m.CrashClone(nil), keepBelow, noCache)
		require.Equal(t, want, readAll(t, after, 0, 1<<20))
	}
	_, err := Open(m.CrashClone(nil), testDir, 121, noCache)
	requireDamage(t, err, fileName(testDir, 120, logSuffix), 0) // the 13th began a segment, and was not synced
	require.ErrorContains(t, err, "the log ends at offset 120, the checkpoint at 121")
}

func TestCutToCheckpoint(t *testing.T) {
	for keep := protocol.Offset(0); keep <= 120; keep += 10 {
		m := newDir(t)
		l := twelve(t, m, Options{TailCacheBytes: -1, IndexEveryBytes: 1500})
		want := readAll(t, l, 0, 1<<20)
		want = want[:len(want)/12*int(keep/10)]
		require.NoError(t, l.Sync())
		require.NoError(t, l.Close())
		l = open(t, m, keep, noCache)
		require.Equal(t, keep, l.Next())
		require.Equal(t, want, readAll(t, l, 0, 2000))
		raw := add(t, l, 3, 50, int64(keep)*100)
		require.NoError(t, l.Close())
		l = open(t, m.CrashClone(rand.New(rand.NewPCG(1, uint64(keep)))), keep, noCache)
		require.Equal(t, want, readAll(t, l, 0, 2000), "the cut is durable")
		require.NoError(t, l.Close())
		l = open(t, m, All, noCache)
		require.Equal(t, append(want, raw...), readAll(t, l, 0, 2000))
	}
}

func TestCheckpointInsideABatch(t *testing.T) {
	m := newDir(t)
	l := twelve(t, m, noCache)
	size := l.Bytes() / 12
	require.NoError(t, l.Close())
	_, err := Open(m, testDir, 95, noCache)
	requireDamage(t, err, fileName(testDir, 90, logSuffix), 0)
	_, err = Open(m, testDir, 105, noCache)
	requireDamage(t, err, fileName(testDir, 90, logSuffix), size)
	open(t, m, 120, noCache)
}

func TestTornTailIsCut(t *testing.T) {
	base := newDir(t)
	l := twelve(t, base, noCache)
	want := readAll(t, l, 0, 1<<20)
	require.NoError(t, l.Sync())
	size := len(want) / 12
	last := fileName(testDir, 90, logSuffix)
	for name, tail := range map[string]func([]byte) []byte{
		"short header":  func(b []byte) []byte { return b[:2*size+10] },
		"short body":    func(b []byte) []byte { return b[:2*size+100] },
		"one byte less": func(b []byte) []byte { return b[:3*size-1] },
		"zeros":         func(b []byte) []byte { clear(b[2*size:]); return b },
		"zero sector":   func(b []byte) []byte { clear(b[2*size+512 : 2*size+1024]); return b },
		"flipped bit":   func(b []byte) []byte { b[2*size+500] ^= 1; return b },
		"garbage behind": func(b []byte) []byte {
			copy(b[2*size:], b[:size]) // a valid batch that does not belong there
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := base.CrashClone(nil)
			alter(t, m, last, tail)
			l := open(t, m, All, noCache)
			require.Equal(t, protocol.Offset(110), l.Next())
			require.Equal(t, want[:11*size], readAll(t, l, 0, 1<<20))
			more := add(t, l, 10, 1000, 12_000)
			require.Equal(t, append(want[:11*size:11*size], more...), readAll(t, l, 0, 1<<20))

			m = base.CrashClone(nil)
			alter(t, m, last, tail)
			_, err := Open(m, testDir, 120, noCache)
			requireDamage(t, err, last, int64(2*size))
			l = open(t, m, 110, noCache)
			require.Equal(t, want[:11*size], readAll(t, l, 0, 1<<20))
		})
	}
}

func TestDamageIsReported(t *testing.T) {
	base := newDir(t)
	l := twelve(t, base, Options{IndexEveryBytes: 1})
	require.NoError(t, l.Sync())
	size := int(l.Bytes() / 12)
	file := func(o protocol.Offset) string { return fileName(testDir, o, logSuffix) }
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte { b[at] ^= 4; return b }
	}
	for _, keepBelow := range []protocol.Offset{120, All} {
		openAltered := func(name string, change func([]byte) []byte) (*storefs.Mem, error) {
			m := base.CrashClone(nil)
			alter(t, m, name, change)
			l, err := Open(m, testDir, keepBelow, noCache)
			if err == nil {
				_ = l.Close()
			}
			return m, err
		}
		// In the middle of a sealed segment: found by whoever reads it, and nobody else.
		m, err := openAltered(file(30), flip(size+200))
		require.NoError(t, err)
		l := open(t, m, keepBelow, noCache)
		_, err = l.Read(35, 100, nil)
		require.NoError(t, err)
		_, err = l.Read(45, 100, nil)
		requireDamage(t, err, file(30), int64(size))
		got, err := l.Read(30, 1<<20, nil)
		require.NoError(t, err)
		require.Len(t, got, size, "what is good before it")
		_, err = l.Read(55, 100, nil)
		require.NoError(t, err)

		m = base.CrashClone(nil)
		for _, o := range []protocol.Offset{0, 30, 60, 90} {
			require.NoError(t, m.Remove(file(o)))
		}
		_, err = Open(m, testDir, keepBelow, noCache)
		requireDamage(t, err, testDir, 0)
	}
	m := base.CrashClone(nil)
	require.NoError(t, m.Remove(file(0)))
	_, err := Open(m, testDir, 20, noCache)
	requireDamage(t, err, file(30), 0)
	_, err = Open(m, "/nowhere", 20, noCache)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestIndexIsOnlyAHint ruins indexes in every way: nothing may be lost or found wrong, and Open puts right what it
// meets.
func TestIndexIsOnlyAHint(t *testing.T) {
	base := newDir(t)
	l := twelve(t, base, Options{IndexEveryBytes: 1})
	want := readAll(t, l, 0, 1<<20)
	require.NoError(t, l.Sync())
	good, err := storefs.ReadFile(base, fileName(testDir, 30, indexSuffix), 1000)
	require.NoError(t, err)
	require.Len(t, good, 3*entrySize)
	other, err := storefs.ReadFile(base, fileName(testDir, 60, indexSuffix), 1000)
	require.NoError(t, err)
	for name, change := range map[string]func([]byte) []byte{
		"empty":          func(b []byte) []byte { return nil },
		"half an entry":  func(b []byte) []byte { return b[:entrySize/2] },
		"short":          func(b []byte) []byte { return b[:entrySize] },
		"short and torn": func(b []byte) []byte { return b[:entrySize+5] },
		"zeros":          func(b []byte) []byte { clear(b); return b },
		"first flipped":  func(b []byte) []byte { b[3] ^= 1; return b },
		"middle flipped": func(b []byte) []byte { b[entrySize+3] ^= 1; return b },
		"last flipped":   func(b []byte) []byte { b[2*entrySize+17] ^= 1; return b },
		"of another one": func(b []byte) []byte { return other },
		"far too long":   func(b []byte) []byte { return append(b, make([]byte, 1000)...) },
		"behind the end": func([]byte) []byte {
			return append(entry{30, 4000, 0}.append(nil), entry{31, 4000, 1 << 20}.append(nil)...)
		},
		"lying position": func([]byte) []byte {
			return append(entry{30, 4000, 0}.append(nil), entry{40, 5000, 100}.append(nil)...)
		},
		"lying offset": func([]byte) []byte {
			return append(entry{30, 4000, 0}.append(nil), entry{35, 5000, 1090}.append(nil)...)
		},
		"first is missing": func(b []byte) []byte { return b[entrySize:] },
	} {
		t.Run(name, func(t *testing.T) {
			for _, victim := range []protocol.Offset{30, 90} {
				for _, keepBelow := range []protocol.Offset{120, 110, All} {
					m := base.CrashClone(nil)
					alter(t, m, fileName(testDir, victim, indexSuffix), change)
					l := open(t, m, keepBelow, noCache)
					checkTwelve(t, l, want[:len(want)/12*int(l.Next()/10)])
				}
				m := base.CrashClone(nil)
				l := open(t, m, 120, noCache)
				alter(t, m, fileName(testDir, victim, indexSuffix), change) // while it is open
				checkTwelve(t, l, want)
			}
		})
	}
	m := base.CrashClone(nil)
	require.NoError(t, m.Remove(fileName(testDir, 30, indexSuffix)))
	checkTwelve(t, open(t, m, 120, noCache), want)
	got, err := storefs.ReadFile(m, fileName(testDir, 30, indexSuffix), 1000)
	require.NoError(t, err)
	require.Equal(t, good[:entrySize], got, "rebuilt, with the default distance")
}

// checkTwelve reads a log made by twelve from each offset and time.
func checkTwelve(t *testing.T, l *Log, want []byte) {
	t.Helper()
	size := 0
	for o := l.Next(); o > 0; o-- { // downwards: no hint of an earlier read helps
		b, err := l.Read(o-1, 1, nil)
		require.NoError(t, err, "at %d", o-1)
		size = len(b)
		require.Equal(t, want[int(o-1)/10*size:][:size], b, "at %d", o-1)
	}
	require.Equal(t, len(want), int(l.Next())/10*size)
	for i := int64(1); i <= int64(l.Next()/10); i++ {
		o, err := l.OffsetForTime(i*1000 - 500)
		require.NoError(t, err)
		require.Equal(t, protocol.Offset(i-1)*10, o)
	}
}

func TestOpenRemovesStrayIndexes(t *testing.T) {
	m := newDir(t)
	l := twelve(t, m, noCache)
	require.NoError(t, l.Close())
	alter := func(name string) {
		f, err := m.Create(name)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	alter(fileName(testDir, 31, indexSuffix))
	alter(testDir + "/README")
	require.NoError(t, open(t, m, 50, noCache).Close())
	require.Equal(t, []string{
		"00000000000000000000.idx", "00000000000000000000.log",
		"00000000000000000030.idx", "00000000000000000030.log", "README",
	}, names(t, m))
}

func TestOpenKeepsManyIndexEntries(t *testing.T) {
	m := newDir(t)
	o := Options{IndexEveryBytes: 1, TailCacheBytes: -1}
	l := create(t, m, 0, o)
	for i := range 3 * maxPendingEntries {
		add(t, l, 1, 10, int64(i))
	}
	want := readAll(t, l, 0, 1<<20)
	require.NoError(t, l.Close())
	require.NoError(t, m.Remove(fileName(testDir, 0, indexSuffix)))
	l = open(t, m, All, o)
	require.Empty(t, l.pending, "what was rebuilt is not kept in memory")
	require.Equal(t, int64(3*maxPendingEntries), l.flushed)
	require.Equal(t, want, readAll(t, l, 0, 300))
	require.NoError(t, l.Close())
}
