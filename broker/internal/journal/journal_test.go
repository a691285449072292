package journal

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/lni/dragonboat/v4/raftio"
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

func TestSaveAndReopen(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	_, err := j.ReadRaftState(1, 1, 0)
	require.ErrorIs(t, err, raftio.ErrNoSavedLog)
	log := entries(1, 9, 2, 100)
	log[3].Cmd, log[4].Cmd = nil, []byte{}
	log[5].Type = pb.ConfigChangeEntry
	other := entries(1, 3, 1, 3000)
	save(t, j, update(1, log), update(2, other))
	for range 2 {
		wantLog(t, j, 1, log)
		wantLog(t, j, 2, other)
		require.Equal(t, log[4:6], read(t, j, 1, 5, 6))
		s, err := j.ReadRaftState(1, 1, 4)
		require.NoError(t, err)
		require.Equal(t, raftio.RaftState{State: pb.State{Term: 2, Vote: 1, Commit: 8}, FirstIndex: 5, EntryCount: 5}, s)
		j = reopen(t, j, fs)
	}
}

func TestIterateStopsBehindMaxSize(t *testing.T) {
	j := open(t, newMem(t))
	for i := uint64(1); i <= 40; i += 2 {
		save(t, j, update(1, entries(i, i+1, 1, 1000)))
	}
	each := uint64(1000 + 128)
	for _, c := range []struct{ size, max, want uint64 }{
		{0, 1, 1}, {0, each, 2}, {0, each - 1, 1}, {0, 5*each + 1, 6}, {2 * each, 5*each + 1, 4}, {0, 0, 40},
	} {
		list, size, err := j.IterateEntries(nil, c.size, 1, 1, 1, 41, c.max)
		require.NoError(t, err)
		require.Len(t, list, int(c.want))
		require.Equal(t, c.size+c.want*each, size)
	}
	require.Empty(t, read(t, j, 1, 41, 50))
	require.Empty(t, read(t, j, 9, 1, 1))
	list, _, err := j.IterateEntries(entries(1, 2, 1, 1000), 2*each, 1, 1, 3, 5, 1<<30)
	require.NoError(t, err)
	require.Equal(t, entries(1, 4, 1, 1000), list, "they are appended")
}

func TestTruncation(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	save(t, j, update(1, entries(1, 10, 1, 50)))
	save(t, j, update(1, entries(11, 20, 1, 50)))
	save(t, j, update(1, entries(15, 16, 2, 50)))
	save(t, j, update(1, entries(8, 8, 3, 50)))
	save(t, j, update(1, entries(9, 12, 3, 50)))
	want := append(entries(1, 7, 1, 50), entries(8, 12, 3, 50)...)
	wantLog(t, j, 1, want)
	j = reopen(t, j, fs)
	wantLog(t, j, 1, want)
}

func TestCommitAlone(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	save(t, j, update(1, entries(1, 10, 1, 50)))
	state := func() pb.State {
		s, err := j.ReadRaftState(1, 1, 0)
		require.NoError(t, err)
		return s.State
	}
	save(t, j, pb.Update{ShardID: 1, ReplicaID: 1, State: pb.State{Term: 1, Vote: 1, Commit: 10}})
	save(t, j, pb.Update{ShardID: 1, ReplicaID: 1})
	require.Equal(t, pb.State{Term: 1, Vote: 1, Commit: 10}, state())
	crashed := fs.CrashClone(nil)
	k, err := Open(testDir, 1, small(crashed))
	require.NoError(t, err)
	s, err := k.ReadRaftState(1, 1, 0)
	require.NoError(t, err)
	require.Equal(t, uint64(9), s.State.Commit, "no I/O was done for it")
	require.NoError(t, k.Close())

	j = reopen(t, j, fs)
	require.Equal(t, pb.State{Term: 1, Vote: 1, Commit: 10}, state(), "closing writes it")
}

// TestSnapshotCarriesTheCommit: else Dragonboat finds a commit below the snapshot after a crash, and panics.
func TestSnapshotCarriesTheCommit(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	save(t, j, update(1, entries(1, 10, 1, 50)))
	save(t, j, pb.Update{ShardID: 1, ReplicaID: 1, State: pb.State{Term: 1, Vote: 1, Commit: 10}})
	require.NoError(t, j.SaveSnapshots([]pb.Update{{ShardID: 1, ReplicaID: 1, Snapshot: pb.Snapshot{Index: 10, Term: 1}}}))
	require.NoError(t, j.RemoveEntriesTo(1, 1, 5))
	require.Empty(t, read(t, j, 1, 5, 10))
	require.Len(t, read(t, j, 1, 6, 10), 5)

	k := open(t, fs.CrashClone(nil))
	s, err := k.ReadRaftState(1, 1, 10)
	require.NoError(t, err)
	require.Equal(t, raftio.RaftState{State: pb.State{Term: 1, Vote: 1, Commit: 10}}, s)
	snapshot, err := k.GetSnapshot(1, 1)
	require.NoError(t, err)
	require.Equal(t, uint64(10), snapshot.Index)

	save(t, j, update(1, entries(11, 11, 1, 50)))
	k = open(t, fs.CrashClone(nil))
	require.Empty(t, read(t, k, 1, 5, 11), "the round carried what was compacted")
	require.Len(t, read(t, k, 1, 6, 11), 6)
}

// TestSnapshotAheadOfTheCommit: Dragonboat applies what a step commits before it saves the step, so a snapshot may be
// saved whose commit is not known here yet, and a crash may come before it is. The replica starts again.
func TestSnapshotAheadOfTheCommit(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	save(t, j, update(1, entries(1, 10, 1, 50)))
	save(t, j, update(1, entries(11, 12, 1, 50))) // commits 11
	snapshot := pb.Update{ShardID: 1, ReplicaID: 1, Snapshot: pb.Snapshot{Index: 12, Term: 1}}
	require.NoError(t, j.SaveSnapshots([]pb.Update{snapshot}))
	want := raftio.RaftState{State: pb.State{Term: 1, Vote: 1, Commit: 12}}
	is := func(j *Journal) {
		t.Helper()
		s, err := j.ReadRaftState(1, 1, 12)
		require.NoError(t, err)
		require.Equal(t, want, s)
	}
	is(open(t, fs.CrashClone(nil)))

	older := pb.Update{ShardID: 1, ReplicaID: 1, State: pb.State{Term: 1, Vote: 1, Commit: 11}}
	save(t, j, older)
	is(j)
	older.State.Term = 2 // has a record of its own
	save(t, j, older)
	want.State.Term = 2
	is(j)
	is(open(t, fs.CrashClone(nil)))
	is(reopen(t, j, fs))
}

func TestInstalledSnapshotVoidsTheLog(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	install := func(index uint64, list []pb.Entry) {
		u := update(1, list)
		u.Snapshot = pb.Snapshot{Index: index, Term: 5, ShardID: 1}
		u.State = pb.State{Term: 5, Commit: index}
		save(t, j, u)
	}
	save(t, j, update(1, entries(1, 20, 1, 50)))
	install(10, nil)
	require.Len(t, read(t, j, 1, 1, 20), 10)
	install(50, nil)
	require.Empty(t, read(t, j, 1, 1, 20))
	install(60, entries(61, 62, 5, 50))
	wantLog(t, j, 1, entries(61, 62, 5, 50))
	older := pb.Update{ShardID: 1, ReplicaID: 1, Snapshot: pb.Snapshot{Index: 55, Term: 5}}
	save(t, j, older)
	require.NoError(t, j.SaveSnapshots([]pb.Update{older}))
	j = reopen(t, j, fs)
	wantLog(t, j, 1, entries(61, 62, 5, 50))
	s, err := j.GetSnapshot(1, 1)
	require.NoError(t, err)
	require.Equal(t, uint64(60), s.Index)
}

func TestBootstrapRemoveImport(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	_, err := j.GetBootstrapInfo(3, 1)
	require.ErrorIs(t, err, raftio.ErrNoBootstrapInfo)
	info := pb.Bootstrap{Addresses: map[uint64]string{1: "a", 2: "b"}, Type: pb.OnDiskStateMachine}
	require.NoError(t, j.SaveBootstrapInfo(3, 1, info))
	require.NoError(t, j.SaveBootstrapInfo(2, 4, pb.Bootstrap{Join: true}))
	save(t, j, update(3, entries(1, 5, 1, 50)))
	nodes := func(want ...raftio.NodeInfo) {
		t.Helper()
		j = reopen(t, j, fs)
		got, err := j.ListNodeInfo()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	nodes(raftio.NodeInfo{ShardID: 2, ReplicaID: 4}, raftio.NodeInfo{ShardID: 3, ReplicaID: 1})
	got, err := j.GetBootstrapInfo(3, 1)
	require.NoError(t, err)
	require.Equal(t, info, got)

	require.NoError(t, j.RemoveNodeData(3, 1))
	require.NoError(t, j.RemoveNodeData(8, 8))
	nodes(raftio.NodeInfo{ShardID: 2, ReplicaID: 4})
	require.Empty(t, read(t, j, 3, 1, 5))
	_, err = j.ReadRaftState(3, 1, 0)
	require.ErrorIs(t, err, raftio.ErrNoSavedLog)

	save(t, j, update(3, entries(1, 5, 1, 50)))
	require.NoError(t, j.ImportSnapshot(pb.Snapshot{ShardID: 3, Index: 100, Term: 9, Type: pb.OnDiskStateMachine}, 1))
	nodes(raftio.NodeInfo{ShardID: 2, ReplicaID: 4}, raftio.NodeInfo{ShardID: 3, ReplicaID: 1})
	s, err := j.ReadRaftState(3, 1, 100)
	require.NoError(t, err)
	require.Equal(t, raftio.RaftState{State: pb.State{Term: 9, Commit: 100}}, s)
	got, err = j.GetBootstrapInfo(3, 1)
	require.NoError(t, err)
	require.Equal(t, pb.Bootstrap{Join: true, Type: pb.OnDiskStateMachine}, got)
}

// TestSyncs: a round of many shards is one write and one sync; a commit alone is none.
func TestSyncs(t *testing.T) {
	var syncs, writes atomic.Int32
	fs := storefs.Faulty(newMem(t), func(op storefs.Op, _ string) error {
		switch op {
		case storefs.OpSync, storefs.OpDatasync:
			syncs.Add(1)
		case storefs.OpWrite:
			writes.Add(1)
		}
		return nil
	})
	j, err := Open(testDir, 1, Options{FS: fs}) // files so large that none is prepared meanwhile
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() })
	cost := func(want int32, updates ...pb.Update) {
		t.Helper()
		syncs.Store(0)
		writes.Store(0)
		save(t, j, updates...)
		require.Equal(t, want, syncs.Load())
		require.Equal(t, want, writes.Load())
	}
	var many []pb.Update
	for shard := range uint64(10) {
		many = append(many, update(shard, entries(1, 2, 1, 10)))
	}
	cost(1, many...)
	commit := pb.Update{ShardID: 1, ReplicaID: 1, State: pb.State{Term: 1, Vote: 1, Commit: 2}}
	cost(0, commit)
	cost(0, pb.Update{ShardID: 1, ReplicaID: 1}, pb.Update{ShardID: 2, ReplicaID: 1})
	cost(0)
	commit.State.Vote = 2
	cost(1, commit)
	commit.State.Term = 2
	cost(1, commit)
	cost(0, commit)
	cost(1, pb.Update{ShardID: 1, ReplicaID: 1, Snapshot: pb.Snapshot{Index: 2, Term: 1}})
	syncs.Store(0)
	require.NoError(t, j.RemoveEntriesTo(2, 1, 1))
	require.Zero(t, syncs.Load())
}

func TestWorkersAreFixed(t *testing.T) {
	fs := newMem(t)
	j, err := Open(testDir, 3, small(fs))
	require.NoError(t, err)
	for shard := range uint64(5) {
		save(t, j, update(shard, entries(1, 2, 1, 10)))
	}
	require.NoError(t, j.Close())
	_, err = Open(testDir, 2, small(fs))
	require.ErrorContains(t, err, "was written by 3 workers and cannot be read by 2")
	j, err = Open(testDir, 3, small(fs))
	require.NoError(t, err)
	for shard := range uint64(5) {
		wantLog(t, j, shard, entries(1, 2, 1, 10))
	}
	require.NoError(t, j.Close())
	require.NoError(t, j.Close())
	require.ErrorIs(t, j.SaveRaftState(nil, 1), ErrClosed)
	_, _, err = j.IterateEntries(nil, 0, 1, 1, 1, 2, 0)
	require.ErrorIs(t, err, ErrClosed)
}

func TestRealDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	opts := Options{FileBytes: 256 << 10}
	j, err := Open(dir, 2, opts)
	require.NoError(t, err)
	want := entries(1, 200, 1, 10_000)
	for i := range want {
		save(t, j, update(1, want[i:i+1]), update(2, want[i:i+1]))
	}
	require.NoError(t, j.Close())
	j, err = Open(dir, 2, opts)
	require.NoError(t, err)
	wantLog(t, j, 1, want)
	wantLog(t, j, 2, want)
	require.NoError(t, j.Close())
}

func TestLargeRounds(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	big := entries(1, 3, 1, 100_000) // above a file
	save(t, j, update(1, big), update(2, entries(1, 1, 1, 50_000)), update(3, entries(1, 1, 1, 50_000)))
	save(t, j, update(1, entries(4, 4, 1, 10)))
	for range 2 {
		wantLog(t, j, 1, append(big[:3:3], entries(4, 4, 1, 10)...))
		wantLog(t, j, 2, entries(1, 1, 1, 50_000))
		wantLog(t, j, 3, entries(1, 1, 1, 50_000))
		j = reopen(t, j, fs)
	}
}

// TestFailureIsFinal: after a failed write or sync nothing is written, nor asked for again.
func TestFailureIsFinal(t *testing.T) {
	for _, op := range []storefs.Op{storefs.OpWrite, storefs.OpDatasync} {
		var broken atomic.Bool
		var tries atomic.Int32
		fs := storefs.Faulty(newMem(t), func(o storefs.Op, _ string) error {
			if broken.Load() && o == op {
				tries.Add(1)
				return os.ErrDeadlineExceeded
			}
			return nil
		})
		j := open(t, fs)
		save(t, j, update(1, entries(1, 1, 1, 10)))
		broken.Store(true)
		bad := []pb.Update{update(1, entries(2, 2, 1, 10))}
		err := j.SaveRaftState(bad, 1)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		broken.Store(false)
		for _, again := range []error{
			j.SaveRaftState(bad, 1), j.SaveSnapshots([]pb.Update{{ShardID: 1, Snapshot: pb.Snapshot{Index: 1}}}),
			j.RemoveNodeData(1, 1), j.SaveBootstrapInfo(1, 1, pb.Bootstrap{}), j.RemoveEntriesTo(1, 1, 1),
			j.ImportSnapshot(pb.Snapshot{Index: 1}, 1),
		} {
			require.True(t, errors.Is(again, os.ErrDeadlineExceeded), "%v", again)
		}
		require.Equal(t, int32(1), tries.Load())
		wantLog(t, j, 1, entries(1, 1, 1, 10))
		require.NoError(t, j.Close())
	}
}
