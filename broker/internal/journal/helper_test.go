package journal

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

const testDir = "/data/journal"

// small makes files and caches so small that a few entries fill them.
func small(fs storefs.FS) Options {
	return Options{FS: fs, FileBytes: minFileBytes, CacheBytes: minCacheBytes}
}

func newMem(t testing.TB) *storefs.Mem {
	m := storefs.NewMem()
	require.NoError(t, m.MkdirAll("/data"))
	require.NoError(t, m.SyncDir("/"))
	return m
}

func open(t testing.TB, fs storefs.FS) *Journal { return openWith(t, small(fs)) }

// openRoomy opens a journal whose first file is so large that no second one is prepared.
func openRoomy(t testing.TB, fs storefs.FS) *Journal {
	return openWith(t, Options{FS: fs, FileBytes: 256 << 10, CacheBytes: minCacheBytes})
}

func openWith(t testing.TB, opts Options) *Journal {
	t.Helper()
	j, err := Open(testDir, 1, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() })
	return j
}

// entries makes entries of term with commands of n bytes that name index and term.
func entries(first, last, term uint64, n int) []pb.Entry {
	var list []pb.Entry
	for i := first; i <= last; i++ {
		cmd := bytes.Repeat([]byte(fmt.Sprintf("<%d.%d>", i, term)), n/4+1)[:n]
		list = append(list, pb.Entry{Index: i, Term: term, Type: pb.EncodedEntry, Key: i * 3, ClientID: 7, SeriesID: i,
			RespondedTo: i / 2, Cmd: cmd})
	}
	return list
}

// update saves entries with a state that commits all but the last.
func update(shard uint64, list []pb.Entry) pb.Update {
	u := pb.Update{ShardID: shard, ReplicaID: 1, EntriesToSave: list}
	if n := len(list); n > 0 {
		u.State = pb.State{Term: list[n-1].Term, Vote: 1, Commit: list[n-1].Index - 1}
	}
	return u
}

func save(t testing.TB, j *Journal, updates ...pb.Update) {
	t.Helper()
	require.NoError(t, j.SaveRaftState(updates, 1))
}

// read returns entries low to high.
func read(t testing.TB, j *Journal, shard, low, high uint64) []pb.Entry {
	t.Helper()
	list, size, err := j.IterateEntries(nil, 0, shard, 1, low, high+1, math.MaxUint64)
	require.NoError(t, err)
	want := uint64(0)
	for i := range list {
		want += uint64(list[i].SizeUpperLimit())
	}
	require.Equal(t, want, size)
	return list
}

func wantLog(t testing.TB, j *Journal, shard uint64, want []pb.Entry) {
	t.Helper()
	first := want[0].Index
	require.Equal(t, want, read(t, j, shard, first, want[len(want)-1].Index+10))
	s, err := j.ReadRaftState(shard, 1, first-1)
	require.NoError(t, err)
	require.Equal(t, first, s.FirstIndex)
	require.Equal(t, uint64(len(want)), s.EntryCount)
}

func reopen(t testing.TB, j *Journal, fs storefs.FS) *Journal {
	t.Helper()
	require.NoError(t, j.Close())
	return open(t, fs)
}
