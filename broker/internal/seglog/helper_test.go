package seglog

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

const testDir = "/data/log"

// noCache makes every read go to disk.
var noCache = Options{TailCacheBytes: -1}

// newDir returns a file system in memory whose directory above testDir is durable.
func newDir(t testing.TB) *storefs.Mem {
	t.Helper()
	m := storefs.NewMem()
	require.NoError(t, m.MkdirAll("/data"))
	require.NoError(t, m.SyncDir("/"))
	return m
}

// buildBatch returns a stamped batch of count records, the first with a value of size bytes.
func buildBatch(t testing.TB, base protocol.Offset, count, size int, time int64) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	for i := range count {
		r := batch.Record{Timestamp: time}
		if i == 0 {
			r.Value = bytes.Repeat([]byte{byte(base), byte(base >> 8), 'x'}, size/3+1)[:size]
		}
		require.NoError(t, b.Add(r))
	}
	raw, err := b.Build(nil, 7, 1, protocol.Sequence(base))
	require.NoError(t, err)
	batch.Stamp(raw, base, 3, time)
	return raw
}

// add appends one batch and returns its bytes.
func add(t testing.TB, l *Log, count, size int, time int64) []byte {
	t.Helper()
	raw := buildBatch(t, l.Next(), count, size, time)
	h, err := batch.ParseHeader(raw)
	require.NoError(t, err)
	require.NoError(t, l.Append(raw, h))
	return raw
}

// readAll reads from o to the end in steps of at most maxBytes.
func readAll(t testing.TB, l *Log, o protocol.Offset, maxBytes int) []byte {
	t.Helper()
	all := []byte{}
	for o < l.Next() {
		b, err := l.Read(o, maxBytes, nil)
		require.NoError(t, err)
		require.NotEmpty(t, b, "at offset %d", o)
		all = append(all, b...)
		for len(b) > 0 {
			h, err := batch.ParseHeader(b)
			require.NoError(t, err)
			o = h.Next()
			b = b[h.Length:]
		}
	}
	return all
}

func create(t testing.TB, fs storefs.FS, start protocol.Offset, o Options) *Log {
	t.Helper()
	l, err := Create(fs, testDir, start, o)
	require.NoError(t, err)
	return l
}

func open(t testing.TB, fs storefs.FS, keepBelow protocol.Offset, o Options) *Log {
	t.Helper()
	l, err := Open(fs, testDir, keepBelow, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// names returns the files of a log's directory.
func names(t testing.TB, fs storefs.FS) []string {
	t.Helper()
	entries, err := fs.ReadDir(testDir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// alter changes one file's bytes.
func alter(t testing.TB, fs storefs.FS, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := storefs.ReadFile(fs, name, 1<<30)
	require.NoError(t, err)
	f, err := fs.Create(name)
	require.NoError(t, err)
	_, err = f.Write(change(b))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}
