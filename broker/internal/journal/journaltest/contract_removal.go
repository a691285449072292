package journaltest

import (
	"math"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/lni/dragonboat/v4/raftio"
)

// soon is how long something in the background may take.
const soon = 10 * time.Second

func (r *rig) removeTo(info raftio.NodeInfo, index uint64) {
	r.Helper()
	require.NoError(r, r.db.RemoveEntriesTo(info.ShardID, info.ReplicaID, index))
}

// compact waits for a compaction.
func (r *rig) compact(info raftio.NodeInfo, index uint64) {
	r.Helper()
	done, err := r.db.CompactEntriesTo(info.ShardID, info.ReplicaID, index)
	require.NoError(r, err)
	select {
	case <-done:
	case <-time.After(soon):
		require.Fail(r, "the compaction does not end")
	}
}

var removalCases = []contractCase{
	{"RemovedEntriesAreGone", func(r *rig) {
		st, ss := pb.State{Term: 1, Commit: 20}, pb.Snapshot{Index: 15, Term: 1}
		r.save(with(one, st, pb.Snapshot{}, entries(1, 10, 1)...))
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(11, 20, 1)...), with(two, st, pb.Snapshot{}, entries(1, 20, 1)...))
		r.saveSnapshots(with(one, pb.State{}, ss))
		gone := uint64(0)
		for _, to := range []uint64{4, 5, 3, 10, 11, 15} { // Dragonboat may also ask for less than before
			r.removeTo(one, to)
			r.compact(one, to)
			gone = max(gone, to)
			require.Empty(r, r.iterate(one, gone, 21, math.MaxUint64))
			require.Empty(r, r.iterate(one, 1, 21, math.MaxUint64))
			require.NoError(r, differEntries(entries(gone+1, 20, 1), r.iterate(one, gone+1, 21, math.MaxUint64)))
		}
		r.twice(func() {
			r.is(one, Replica{State: st, Snapshot: ss, Entries: entries(16, 20, 1)})
			r.has(two, entries(1, 20, 1))
		})
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(18, 25, 2)...))
		log := append(entries(16, 17, 1), entries(18, 25, 2)...)
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: log}) })
	}},
	{"EveryEntryIsRemoved", func(r *rig) {
		st, ss := pb.State{Term: 1, Commit: 10}, pb.Snapshot{Index: 10, Term: 1}
		r.save(with(one, st, pb.Snapshot{}, entries(1, 10, 1)...))
		r.saveSnapshots(with(one, pb.State{}, ss))
		r.removeTo(one, 10)
		r.compact(one, 10)
		require.Empty(r, r.iterate(one, 1, 11, math.MaxUint64))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss}) })
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(11, 12, 2)...))
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: entries(11, 12, 2)}) })
	}},
	{"RemovedAgainAndAgain", func(r *rig) {
		var st pb.State
		var ss pb.Snapshot
		for i := uint64(0); i < 30; i++ {
			st = pb.State{Term: 1, Commit: 10*i + 10}
			r.save(with(one, st, pb.Snapshot{}, entries(10*i+1, 10*i+10, 1)...))
			ss = pb.Snapshot{Index: 10*i + 7, Term: 1}
			r.saveSnapshots(with(one, pb.State{}, ss))
			r.removeTo(one, 10*i+5)
			require.Empty(r, r.iterate(one, 10*i+5, 10*i+6, math.MaxUint64))
			require.NoError(r, differEntries(entries(10*i+6, 10*i+10, 1), r.iterate(one, 10*i+6, 10*i+11, math.MaxUint64)))
		}
		r.twice(func() { r.is(one, Replica{State: st, Snapshot: ss, Entries: entries(298, 300, 1)}) })
	}},
	{"RemovedBelowAnInstalledSnapshot", func(r *rig) {
		r.save(with(one, pb.State{Term: 1, Commit: 10}, pb.Snapshot{}, entries(1, 10, 1)...))
		st, ss := pb.State{Term: 2, Commit: 50}, pb.Snapshot{Index: 50, Term: 2}
		r.save(with(one, st, ss, entries(51, 52, 2)...))
		r.removeTo(one, 8) // of a snapshot of its own that came too late
		want := Replica{State: st, Snapshot: ss, Entries: entries(51, 52, 2)}
		r.twice(func() { r.is(one, want) })
	}},
	{"CompactionOfTheUnknown", func(r *rig) {
		r.compact(one, math.MaxUint64) // NodeHost.RequestCompaction of a replica that is gone
		r.twice(func() { r.nothing(one) })
	}},
	{"NodeDataIsRemoved", func(r *rig) {
		st := pb.State{Term: 1, Commit: 8}
		b := pb.Bootstrap{Join: true, Type: pb.OnDiskStateMachine}
		all := []raftio.NodeInfo{one, two, three, other}
		for _, info := range all {
			require.NoError(r, r.db.SaveBootstrapInfo(info.ShardID, info.ReplicaID, b))
			r.save(with(info, st, pb.Snapshot{}, entries(1, 10, 1)...))
			r.saveSnapshots(with(info, pb.State{}, pb.Snapshot{Index: 6, Term: 1}))
		}
		require.NoError(r, r.db.RemoveNodeData(one.ShardID, one.ReplicaID))
		r.twice(func() {
			r.nothing(one)
			_, err := r.db.ReadRaftState(one.ShardID, one.ReplicaID, 1)
			require.ErrorIs(r, err, raftio.ErrNoSavedLog)
			_, err = r.db.GetBootstrapInfo(one.ShardID, one.ReplicaID)
			require.ErrorIs(r, err, raftio.ErrNoBootstrapInfo)
			for _, info := range all[1:] {
				r.is(info, Replica{Bootstrap: &b, State: st, Snapshot: pb.Snapshot{Index: 6, Term: 1}, Entries: entries(7, 10, 1)})
			}
			r.infos(all[1:]...)
		})
		require.NoError(r, r.db.RemoveNodeData(one.ShardID, one.ReplicaID), "again")
		require.NoError(r, r.db.RemoveNodeData(99, 99), "never there")
		r.infos(all[1:]...)
	}},
	{"RemovedAndBegunAnew", func(r *rig) {
		r.save(with(one, pb.State{Term: 5, Commit: 20}, pb.Snapshot{}, entries(1, 20, 5)...))
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 15, Term: 5}))
		r.removeTo(one, 12)
		require.NoError(r, r.db.RemoveNodeData(one.ShardID, one.ReplicaID))
		st := pb.State{Term: 1, Vote: 3, Commit: 2}
		r.save(with(one, st, pb.Snapshot{}, entries(1, 4, 1)...))
		r.twice(func() { r.is(one, Replica{State: st, Entries: entries(1, 4, 1)}) })
		require.NoError(r, r.db.RemoveNodeData(one.ShardID, one.ReplicaID))
		r.twice(func() { r.nothing(one) })
	}},
	{"ImportedSnapshot", func(r *rig) {
		ss := fullSnapshot(110)
		ss.Term, ss.ShardID = 9, one.ShardID
		b := pb.Bootstrap{Join: true, Type: pb.OnDiskStateMachine}
		want := Replica{Bootstrap: &b, State: pb.State{Term: 9, Commit: 110}, Snapshot: ss}
		old := pb.Bootstrap{Addresses: map[uint64]string{1: "a"}, Type: pb.OnDiskStateMachine}
		require.NoError(r, r.db.SaveBootstrapInfo(one.ShardID, one.ReplicaID, old))
		r.save(with(one, pb.State{Term: 2, Vote: 3, Commit: 130}, pb.Snapshot{}, entries(1, 150, 1)...))
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 120, Term: 1}))
		require.NoError(r, r.db.ImportSnapshot(ss, one.ReplicaID)) // older than the newest: it counts nevertheless
		require.NoError(r, r.db.ImportSnapshot(ss, two.ReplicaID)) // into nothing
		r.twice(func() {
			r.is(one, want)
			r.is(two, want)
			r.infos(one, two)
			require.Empty(r, r.iterate(one, 111, math.MaxUint64, math.MaxUint64))
		})
		r.save(with(one, pb.State{Term: 10, Vote: 1, Commit: 111}, pb.Snapshot{}, entries(111, 112, 10)...))
		want.State, want.Entries = pb.State{Term: 10, Vote: 1, Commit: 111}, entries(111, 112, 10)
		r.twice(func() { r.is(one, want) })
		r.saveSnapshots(with(one, pb.State{}, pb.Snapshot{Index: 111, Term: 10}))
		want.Snapshot, want.Entries = pb.Snapshot{Index: 111, Term: 10}, entries(112, 112, 10)
		r.twice(func() { r.is(one, want) })
	}},
}
