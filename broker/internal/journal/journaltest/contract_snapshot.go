package journaltest

import (
	"math"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

// fullSnapshot has something in every field.
func fullSnapshot(index uint64) pb.Snapshot {
	return pb.Snapshot{
		Filepath: "/data/snapshot", FileSize: 1 << 40, Index: index, Term: 3, Checksum: []byte{1, 2, 3}, Dummy: true, ShardID: 3,
		Type: pb.OnDiskStateMachine, Imported: true, OnDiskIndex: index - 1, Witness: true,
		Membership: pb.Membership{
			ConfigChangeId: 9, Addresses: map[uint64]string{1: "a", 2: "b"}, Removed: map[uint64]bool{7: true},
			NonVotings: map[uint64]string{3: "c"}, Witnesses: map[uint64]string{4: "d"},
		},
		Files: []*pb.SnapshotFile{{Filepath: "f", FileSize: 5, FileId: 6, Metadata: []byte("m")}, {FileId: 7}},
	}
}

func (r *rig) saveSnapshots(updates ...pb.Update) {
	r.Helper()
	require.NoError(r, r.db.SaveSnapshots(updates))
}

var snapshotCases = []contractCase{
	{"EveryFieldOfASnapshot", func(r *rig) {
		r.saveSnapshots(with(one, pb.State{}, fullSnapshot(5)))
		r.save(with(two, pb.State{Term: 3, Commit: 8}, fullSnapshot(8)))
		r.twice(func() {
			require.NoError(r, differSnapshot(fullSnapshot(5), r.snapshot(one)))
			require.NoError(r, differSnapshot(fullSnapshot(8), r.snapshot(two)))
			require.Zero(r, r.snapshot(three))
		})
	}},
	{"NewestSnapshotStays", func(r *rig) {
		indexes := []uint64{5, 20, 10, 19, 21, 1}
		for i, newest := range []uint64{5, 20, 20, 20, 21, 21} {
			r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: indexes[i], Term: indexes[i]}))
			r.save(with(two, pb.State{}, pb.Snapshot{Index: indexes[i], Term: indexes[i]}))
			r.twice(func() {
				require.Equal(r, newest, r.snapshot(one).Index)
				require.Equal(r, newest, r.snapshot(one).Term)
				require.Equal(r, newest, r.snapshot(two).Index)
				require.Equal(r, newest, r.snapshot(two).Term)
			})
		}
	}},
	{"OlderOwnSnapshotAfterAnInstalledOne", func(r *rig) {
		r.save(with(one, pb.State{Term: 1, Commit: 5}, pb.Snapshot{}, entries(1, 5, 1)...))
		r.save(with(one, pb.State{Term: 2, Commit: 50}, pb.Snapshot{Index: 50, Term: 2}))
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 4, Term: 1}))
		want := Replica{State: pb.State{Term: 2, Commit: 50}, Snapshot: pb.Snapshot{Index: 50, Term: 2}}
		r.twice(func() { r.is(one, want) })
	}},
	{"SeveralSnapshotsInOneCall", func(r *rig) {
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 1, Term: 1}), with(two, pb.State{}, pb.Snapshot{}),
			with(three, pb.State{}, pb.Snapshot{Index: 3, Term: 1}), with(one, pb.State{}, pb.Snapshot{Index: 2, Term: 1}))
		r.twice(func() {
			require.EqualValues(r, 2, r.snapshot(one).Index)
			require.Zero(r, r.snapshot(two))
			require.EqualValues(r, 3, r.snapshot(three).Index)
		})
	}},
	{"OwnSnapshotLeavesTheLog", func(r *rig) {
		st := pb.State{Term: 1, Vote: 2, Commit: 8}
		r.save(with(one, st, pb.Snapshot{}, entries(1, 10, 1)...))
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 6, Term: 1}))
		r.has(one, entries(1, 10, 1))
		r.twice(func() {
			r.is(one, Replica{State: st, Snapshot: pb.Snapshot{Index: 6, Term: 1}, Entries: entries(7, 10, 1)})
		})
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(9, 9, 2)...))
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 8, Term: 1}))
		r.twice(func() {
			got, err := look(r.db, one)
			require.NoError(r, err)
			require.NoError(r, differEntries(entries(9, 9, 2), got.Entries))
		})
	}},
	{"CommitIsNotBehindTheSnapshot", func(r *rig) {
		r.save(with(one, pb.State{Term: 1, Vote: 2}, pb.Snapshot{}, entries(1, 10, 1)...))
		r.save(with(one, pb.State{Term: 1, Vote: 2, Commit: 10}, pb.Snapshot{}))
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 10, Term: 1}))
		r.twice(func() {
			got, err := look(r.db, one)
			require.NoError(r, err)
			require.NoError(r, got.startable())
		})
	}},
	{"InstalledAboveTheLog", func(r *rig) {
		r.save(with(one, pb.State{Term: 1, Commit: 5}, pb.Snapshot{}, entries(1, 10, 1)...))
		st := pb.State{Term: 3, Vote: 1, Commit: 20}
		ss := pb.Snapshot{Index: 20, Term: 2}
		r.save(with(one, st, ss))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss}) })
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(21, 23, 3)...))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: entries(21, 23, 3)}) })
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(22, 22, 4)...))
		log := append(entries(21, 21, 3), entries(22, 22, 4)...)
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: log}) })
	}},
	{"InstalledTogetherWithEntries", func(r *rig) {
		r.save(with(one, pb.State{Term: 1, Commit: 5}, pb.Snapshot{}, entries(1, 10, 1)...))
		st, ss := pb.State{Term: 3, Commit: 21}, pb.Snapshot{Index: 20, Term: 2}
		r.save(with(one, st, ss, entries(21, 24, 3)...))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: entries(21, 24, 3)}) })
	}},
	{"InstalledInAnEmptyReplica", func(r *rig) {
		st, ss := pb.State{Term: 3, Commit: 20}, pb.Snapshot{Index: 20, Term: 2}
		r.save(with(one, st, ss), with(two, st, ss, entries(21, 21, 3)...))
		r.twice(func() {
			r.is(one, Replica{State: st, Snapshot: ss})
			r.is(two, Replica{State: st, Snapshot: ss, Entries: entries(21, 21, 3)})
		})
	}},
	{"InstalledBelowTheEndDropsTheLog", func(r *rig) {
		if r.subject.KeepsTail {
			r.Logf("not kept by this LogDB")
			return
		}
		r.save(with(one, pb.State{Term: 5, Commit: 5}, pb.Snapshot{}, entries(1, 30, 5)...))
		st, ss := pb.State{Term: 7, Commit: 20}, pb.Snapshot{Index: 20, Term: 6}
		r.save(with(one, st, ss))
		require.Empty(r, r.iterate(one, 21, math.MaxUint64, math.MaxUint64))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss}) })
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(21, 22, 7)...))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: entries(21, 22, 7)}) })
		st, ss = pb.State{Term: 9, Commit: 22}, pb.Snapshot{Index: 21, Term: 8}
		r.save(with(one, st, ss, entries(22, 22, 8)...))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: entries(22, 22, 8)}) })
	}},
}
