package seglog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

func TestAppendAndReadAcrossSegments(t *testing.T) {
	for name, opts := range map[string]Options{
		"disk": {SegmentBytes: 2000, IndexEveryBytes: 300, TailCacheBytes: -1},
		"tail": {SegmentBytes: 2000, IndexEveryBytes: 300},
		"part": {SegmentBytes: 2000, IndexEveryBytes: 300, TailCacheBytes: 1500},
	} {
		t.Run(name, func(t *testing.T) {
			l := create(t, newDir(t), 100, opts)
			defer l.Close()
			var want []byte
			at := map[protocol.Offset]int{} // where the batch that contains an offset begins in want
			for i := range 60 {
				base := l.Next()
				for o := range protocol.Offset(1 + i%4) {
					at[base+o] = len(want)
				}
				want = append(want, add(t, l, 1+i%4, 17*i, int64(i))...)
			}
			require.Greater(t, len(l.segments), 5)
			require.Equal(t, int64(len(want)), l.Bytes())
			for _, step := range []int{0, 100, 700, 1 << 20} {
				require.Equal(t, want, readAll(t, l, 100, step), "steps of %d", step)
			}
			for o, pos := range at {
				got, err := l.Read(o, 500, []byte("prefix"))
				require.NoError(t, err)
				require.True(t, strings.HasPrefix(string(got), "prefix"))
				got = got[len("prefix"):]
				require.Equal(t, want[pos:pos+len(got)], got, "from %d", o)
				h, err := batch.ParseHeader(got)
				require.NoError(t, err)
				require.True(t, len(got) <= 500 || len(got) == int(h.Length), "%d bytes from %d", len(got), o)
			}
		})
	}
}

func TestReadOutsideOfTheLog(t *testing.T) {
	l := create(t, newDir(t), 10, Options{})
	add(t, l, 5, 10, 1)
	b, err := l.Read(15, 100, []byte("x"))
	require.NoError(t, err)
	require.Equal(t, []byte("x"), b)
	for _, o := range []protocol.Offset{0, 9, 16, All} {
		b, err = l.Read(o, 100, []byte("x"))
		require.ErrorIs(t, err, protocol.ErrOffsetOutOfRange)
		require.Equal(t, []byte("x"), b)
	}
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	_, err = l.Read(10, 100, nil)
	require.ErrorIs(t, err, ErrClosed)
	_, err = l.OffsetForTime(0)
	require.ErrorIs(t, err, ErrClosed)
	_, err = l.View()
	require.ErrorIs(t, err, ErrClosed)
	require.ErrorIs(t, l.Sync(), ErrClosed)
	require.ErrorIs(t, l.SetStart(12), ErrClosed)
	require.ErrorIs(t, l.DropBelow(12), ErrClosed)
	raw := buildBatch(t, 15, 1, 1, 1)
	h, _ := batch.ParseHeader(raw)
	require.ErrorIs(t, l.Append(raw, h), ErrClosed)
}

func TestAppendRefusesGaps(t *testing.T) {
	l := create(t, newDir(t), 0, Options{})
	defer l.Close()
	for _, base := range []protocol.Offset{1, 100} {
		raw := buildBatch(t, base, 1, 1, 1)
		h, _ := batch.ParseHeader(raw)
		require.ErrorContains(t, l.Append(raw, h), "log ends at 0")
	}
	raw := buildBatch(t, 0, 1, 1, 1)
	h, _ := batch.ParseHeader(raw)
	require.Error(t, l.Append(raw[:len(raw)-1], h))
	require.NoError(t, l.Append(raw, h), "a refused append changes nothing")
}

func TestCreateRefusesAnExistingLog(t *testing.T) {
	m := newDir(t)
	l := create(t, m, 0, Options{})
	require.NoError(t, l.Close())
	_, err := Create(m, testDir, 5, Options{})
	require.ErrorIs(t, err, fs.ErrExist)
	_, err = Create(m, "/data/other", 0, Options{SegmentBytes: 1 << 40})
	require.ErrorContains(t, err, "SegmentBytes")
	_, err = Create(m, "/data/other", 0, Options{IndexEveryBytes: -1})
	require.ErrorContains(t, err, "IndexEveryBytes")
}

func TestCreateIsDurable(t *testing.T) {
	m := newDir(t)
	create(t, m, 42, Options{})
	l := open(t, m.CrashClone(nil), 42, Options{})
	require.Equal(t, protocol.Offset(42), l.Next())
	require.Equal(t, protocol.Offset(42), l.Start())
}

// twelve fills a log with 12 batches of 10 records and 1000 bytes, 3 in each of 4 segments, appended at 1000, 2000
// and so on.
func twelve(t *testing.T, m storefs.FS, o Options) *Log {
	o.SegmentBytes = 3600
	l := create(t, m, 0, o)
	for i := range 12 {
		add(t, l, 10, 1000, int64(i+1)*1000)
	}
	require.Len(t, l.segments, 4)
	return l
}

func TestStartAndDrop(t *testing.T) {
	m := newDir(t)
	l := twelve(t, m, noCache)
	defer l.Close()
	all := l.Bytes()
	require.NoError(t, l.SetStart(65))
	require.NoError(t, l.SetStart(20), "the start never goes back")
	require.Equal(t, protocol.Offset(65), l.Start())
	require.Equal(t, all/2, l.Bytes())
	require.ErrorContains(t, l.SetStart(121), "above the end")
	require.Len(t, names(t, m), 7, "SetStart deletes nothing")
	_, err := l.Read(64, 100, nil)
	require.ErrorIs(t, err, protocol.ErrOffsetOutOfRange)
	b, err := l.Read(65, 100, nil)
	require.NoError(t, err)
	h, err := batch.ParseHeader(b)
	require.NoError(t, err)
	require.Equal(t, protocol.Offset(60), h.BaseOffset, "the whole batch that contains the start")

	require.NoError(t, l.DropBelow(30))
	require.Equal(t, protocol.Offset(30), l.segments[0].base)
	require.NoError(t, l.DropBelow(1000))
	require.Equal(t, protocol.Offset(60), l.segments[0].base)
	require.Len(t, names(t, m), 3)
	require.NoError(t, l.SetStart(120))
	require.NoError(t, l.DropBelow(120))
	require.Len(t, l.segments, 1, "the active segment stays")
	b, err = l.Read(120, 100, nil)
	require.NoError(t, err)
	require.Empty(t, b)
}

func TestViewKeepsItsRange(t *testing.T) {
	m := newDir(t)
	l := twelve(t, m, noCache)
	defer l.Close()
	want := readAll(t, l, 30, 1<<20)
	require.NoError(t, l.SetStart(30))
	v, err := l.View()
	require.NoError(t, err)
	require.Equal(t, protocol.Offset(30), v.Start())
	require.Equal(t, protocol.Offset(120), v.Next())
	add(t, l, 1, 1, 99999)
	require.NoError(t, l.SetStart(121))
	require.NoError(t, l.DropBelow(121))
	require.Equal(t, protocol.Offset(30), l.segments[0].base, "held by the view; what lies before it is gone")

	var got []byte
	for o := v.Start(); o < v.Next(); {
		b, err := v.Read(o, 2500, nil)
		require.NoError(t, err)
		got = append(got, b...)
		o += protocol.Offset(len(b) / (len(want) / 9) * 10)
	}
	require.Equal(t, want, got)
	b, err := v.Read(120, 100, nil)
	require.NoError(t, err)
	require.Empty(t, b, "what came later is not in the view")
	_, err = v.Read(121, 100, nil)
	require.ErrorIs(t, err, protocol.ErrOffsetOutOfRange)
	v.Close()
	v.Close()
	require.NoError(t, l.DropBelow(121))
	require.Len(t, l.segments, 1)
}

func TestViewEndsInsideTheTail(t *testing.T) {
	l := create(t, newDir(t), 0, Options{})
	defer l.Close()
	want := add(t, l, 2, 100, 1)
	v, err := l.View()
	require.NoError(t, err)
	defer v.Close()
	add(t, l, 2, 100, 1)
	b, err := v.Read(0, 1<<20, nil)
	require.NoError(t, err)
	require.Equal(t, want, b)
}

func TestRetentionPoint(t *testing.T) {
	l := twelve(t, newDir(t), Options{})
	defer l.Close()
	size := uint64(l.Bytes() / 12)
	for _, c := range []struct {
		now           int64
		age, bytes    uint64
		want          protocol.Offset
		reason, after string
	}{
		{now: 1 << 40, want: 0, reason: "no limits"},
		{now: 12000, age: 12000, want: 0, reason: "all young"},
		{now: 12000, age: 9000, want: 0, reason: "3000 is not older than 9000 yet"},
		{now: 12001, age: 9000, want: 30, reason: "the first segment ended at 3000"},
		{now: 1 << 40, age: 1, want: 90, reason: "the active one stays"},
		{now: 5, age: 1 << 63, want: 0, reason: "an age that no clock reaches"},
		{now: 0, bytes: 12 * size, want: 0, reason: "just full"},
		{now: 0, bytes: 9*size + 1, want: 0, reason: "one byte short"},
		{now: 0, bytes: 9 * size, want: 30, reason: "nine are left"},
		{now: 0, bytes: 1, want: 90, reason: "the active one stays"},
		{now: 9001, age: 3000, bytes: 9 * size, want: 60, reason: "whichever takes more"},
	} {
		require.Equal(t, c.want, l.RetentionPoint(c.now, c.age, c.bytes), c.reason)
	}
	require.NoError(t, l.SetStart(45))
	require.Equal(t, protocol.Offset(45), l.RetentionPoint(0, 0, 9*size), "segments below the start do not count")
	require.Equal(t, protocol.Offset(60), l.RetentionPoint(0, 0, 6*size))
}

func TestOffsetForTime(t *testing.T) {
	for name, opts := range map[string]Options{"sparse": {}, "dense": {IndexEveryBytes: 1}} {
		t.Run(name, func(t *testing.T) {
			m := newDir(t)
			l := twelve(t, m, opts)
			defer l.Close()
			check := func(ms int64, want protocol.Offset) {
				t.Helper()
				got, err := l.OffsetForTime(ms)
				require.NoError(t, err)
				require.Equal(t, want, got, "at %d", ms)
			}
			for i := range int64(12) {
				check((i+1)*1000, protocol.Offset(i*10))
				check((i+1)*1000-999, protocol.Offset(i*10))
			}
			check(-5, 0)
			check(12001, 120)
			require.NoError(t, l.SetStart(45))
			check(0, 45)
			check(5000, 45)
			check(5001, 50)
			require.NoError(t, m.Remove(fileName(testDir, 30, indexSuffix)))
			check(5001, 50)
			require.Contains(t, names(t, m), filepath.Base(fileName(testDir, 30, indexSuffix)), "rebuilt")
		})
	}
}

func TestOffsetForTimeOfEqualTimes(t *testing.T) {
	l := create(t, newDir(t), 0, Options{SegmentBytes: 1000, IndexEveryBytes: 1})
	defer l.Close()
	for range 20 {
		add(t, l, 1, 300, 7)
	}
	o, err := l.OffsetForTime(7)
	require.NoError(t, err)
	require.Zero(t, o, "the first of many")
	o, err = l.OffsetForTime(8)
	require.NoError(t, err)
	require.Equal(t, protocol.Offset(20), o)
}

func TestWriteErrorIsFinal(t *testing.T) {
	boom := errors.New("boom")
	for _, op := range []storefs.Op{storefs.OpWrite, storefs.OpSync, storefs.OpSyncDir, storefs.OpWriteback} {
		t.Run(string(op), func(t *testing.T) {
			var broken bool
			f := storefs.Faulty(newDir(t), func(o storefs.Op, _ string) error {
				if broken && o == op {
					return boom
				}
				return nil
			})
			l := create(t, f, 0, Options{SegmentBytes: 5000, WritebackBytes: 2000})
			defer l.Close()
			want := add(t, l, 1, 1000, 1)
			broken = true
			var err error
			for i := 0; err == nil && i < 20; i++ {
				raw := buildBatch(t, l.Next(), 1, 1000, 1)
				h, _ := batch.ParseHeader(raw)
				if err = l.Append(raw, h); err == nil {
					want = append(want, raw...)
				}
			}
			require.ErrorIs(t, err, boom)
			broken = false
			raw := buildBatch(t, l.Next(), 1, 10, 1)
			h, _ := batch.ParseHeader(raw)
			require.ErrorIs(t, l.Append(raw, h), boom, "no second try")
			require.ErrorIs(t, l.Sync(), boom)
			require.ErrorIs(t, l.DropBelow(0), boom)
			require.Equal(t, want, readAll(t, l, 0, 1500), "reads go on")
		})
	}
}

func TestReadErrorsAreReported(t *testing.T) {
	boom := errors.New("boom")
	for _, op := range []storefs.Op{storefs.OpOpen, storefs.OpRead} {
		var broken bool
		f := storefs.Faulty(newDir(t), func(o storefs.Op, _ string) error {
			if broken && o == op {
				return boom
			}
			return nil
		})
		l := twelve(t, f, noCache)
		require.NoError(t, l.Close())
		l = open(t, f, 120, noCache)
		broken = true
		b, err := l.Read(35, 100, []byte("x"))
		require.ErrorIs(t, err, boom)
		require.Equal(t, []byte("x"), b)
		_, err = l.OffsetForTime(3500)
		require.ErrorIs(t, err, boom)
		_, err = Open(f, testDir, 120, noCache)
		require.ErrorIs(t, err, boom)
		broken = false
		require.Len(t, readAll(t, l, 0, 5000), int(l.Bytes()))
	}
}

// TestOpenFilesAreBounded checks the bound of the package doc, and that an unused log has none open.
func TestOpenFilesAreBounded(t *testing.T) {
	var files int
	f := storefs.Faulty(newDir(t), func(op storefs.Op, _ string) error {
		switch op {
		case storefs.OpOpen:
			files++
		case storefs.OpClose:
			files--
		}
		return nil
	})
	l := create(t, f, 0, Options{SegmentBytes: 1000, TailCacheBytes: -1})
	for i := range 40 {
		add(t, l, 1, 900, int64(i))
		require.LessOrEqual(t, files, maxOpenSealed+1)
	}
	for i := range 200 {
		_, err := l.Read(protocol.Offset(i*7%40), 100, nil)
		require.NoError(t, err)
		require.LessOrEqual(t, files, maxOpenSealed+1)
	}
	require.NoError(t, l.Close())
	require.Zero(t, files)
	l = open(t, f, 40, noCache)
	require.Zero(t, files)
	require.NoError(t, l.Close())
}

func TestWritebackFollowsTheWriter(t *testing.T) {
	var calls int
	f := storefs.Faulty(newDir(t), func(op storefs.Op, _ string) error {
		if op == storefs.OpWriteback {
			calls++
		}
		return nil
	})
	l := create(t, f, 0, Options{WritebackBytes: 10_000})
	defer l.Close()
	for range 100 {
		add(t, l, 1, 1000, 1)
	}
	require.InDelta(t, 100*1090/10_000, calls, 1)
}

func TestReadAllocatesNothing(t *testing.T) {
	for name, opts := range map[string]Options{"tail": {}, "disk": noCache} {
		t.Run(name, func(t *testing.T) {
			l, err := Create(storefs.OS, filepath.Join(t.TempDir(), "log"), 0, opts)
			require.NoError(t, err)
			defer l.Close()
			for i := range 50 {
				add(t, l, 4, 1000, int64(i))
			}
			dst := make([]byte, 0, 64<<10)
			o := protocol.Offset(0)
			allocs := testing.AllocsPerRun(200, func() {
				b, err := l.Read(o, 10_000, dst)
				if err != nil {
					t.Fatal(err)
				}
				for len(b) > 0 {
					h, err := batch.ParseHeader(b)
					if err != nil {
						t.Fatal(err)
					}
					o, b = h.Next(), b[h.Length:]
				}
				o %= l.Next()
			})
			require.Zero(t, allocs)
		})
	}
}

// TestIdleLogIsSmall checks the memory bound of the package doc, after use and with the tail given up.
func TestIdleLogIsSmall(t *testing.T) {
	const count = 200
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC() // the first one leaves what pools hold
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	dir, cache := t.TempDir(), NewCache(firstChunkBytes)
	before := heap()
	logs := make([]*Log, count)
	for i := range logs {
		l, err := Create(storefs.OS, filepath.Join(dir, fmt.Sprint(i)), 0, Options{Cache: cache, IndexEveryBytes: 1})
		require.NoError(t, err)
		for range maxPendingEntries + 10 {
			add(t, l, 1, 10, 1)
		}
		_, err = l.Read(3, 100, nil)
		require.NoError(t, err)
		logs[i] = l
	}
	require.Less(t, (heap()-before)/count, uint64(8<<10))
	for _, l := range logs {
		require.NoError(t, l.Close())
	}
}

func TestFileNames(t *testing.T) {
	for _, o := range []protocol.Offset{0, 52107, All} {
		got, ok := parseFileName(filepath.Base(fileName("d", o, logSuffix)), logSuffix)
		require.True(t, ok)
		require.Equal(t, o, got)
	}
	for _, name := range []string{"1.log", "0000000000000000000x.log", "00000000000000000000.idx",
		"99999999999999999999.log", "+0000000000000000001.log", ""} {
		_, ok := parseFileName(name, logSuffix)
		require.False(t, ok, name)
	}
	require.Equal(t, "d/00000000000000052107.log", fileName("d", 52107, logSuffix), "frozen format")
}

func TestEntryBytes(t *testing.T) {
	e := entry{offset: 0x0102030405060708, time: 0x1112131415161718, pos: 0x21222324}
	b := e.append(nil)
	require.Len(t, b, entrySize)
	require.Equal(t, "0102030405060708"+"1112131415161718"+"21222324"+"fcd5d93b", fmt.Sprintf("%x", b), "frozen format")
	got, err := parseEntry(b)
	require.NoError(t, err)
	require.Equal(t, e, got)
	for i := range b {
		b[i] ^= 0x10
		_, err := parseEntry(b)
		require.ErrorIs(t, err, errBadIndex)
		b[i] ^= 0x10
	}
}
