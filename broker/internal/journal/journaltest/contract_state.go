package journaltest

import (
	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/lni/dragonboat/v4/raftio"
)

var bootstrapCases = []contractCase{
	{"IdentifiesItself", func(r *rig) {
		name := r.db.Name()
		require.NotEmpty(r, name)
		require.EqualValues(r, raftio.PlainLogDBBinVersion, r.db.BinaryFormat())
		r.reopen()
		require.Equal(r, name, r.db.Name(), "it is pinned in the NodeHost's directory")
	}},
	{"EmptyIsEmpty", func(r *rig) {
		r.twice(func() {
			r.nothing(one)
			r.infos()
		})
	}},
	{"BootstrapInfo", func(r *rig) {
		first := pb.Bootstrap{Addresses: map[uint64]string{1: "a:1", 2: "b:2"}, Type: pb.OnDiskStateMachine}
		joined := pb.Bootstrap{Join: true, Type: pb.RegularStateMachine}
		require.NoError(r, r.db.SaveBootstrapInfo(one.ShardID, one.ReplicaID, first))
		require.NoError(r, r.db.SaveBootstrapInfo(other.ShardID, other.ReplicaID, joined))
		r.twice(func() {
			r.is(one, Replica{Bootstrap: &first})
			r.is(other, Replica{Bootstrap: &joined})
			r.is(two, Replica{})
			r.infos(one, other)
		})
		require.NoError(r, r.db.SaveBootstrapInfo(one.ShardID, one.ReplicaID, joined))
		r.twice(func() {
			r.is(one, Replica{Bootstrap: &joined})
			r.infos(one, other)
		})
	}},
	{"OnlyABootstrappedReplicaIsListed", func(r *rig) {
		r.save(with(two, pb.State{Term: 1, Commit: 1}, pb.Snapshot{}, entries(1, 1, 1)...))
		r.twice(func() { r.infos() })
	}},
}

var stateCases = []contractCase{
	{"NoSavedLogWithoutAState", func(r *rig) {
		require.NoError(r, r.db.SaveBootstrapInfo(one.ShardID, one.ReplicaID, pb.Bootstrap{Join: true}))
		r.save(with(two, pb.State{}, pb.Snapshot{Index: 100, Term: 2}))
		r.save(with(three, pb.State{}, pb.Snapshot{}, entries(1, 3, 1)...))
		r.twice(func() {
			for _, info := range []raftio.NodeInfo{one, two, three, other} {
				for _, lastIndex := range []uint64{0, 1, 100} {
					rs, err := r.db.ReadRaftState(info.ShardID, info.ReplicaID, lastIndex)
					require.ErrorIs(r, err, raftio.ErrNoSavedLog)
					require.Zero(r, rs)
				}
			}
		})
	}},
	{"StateIsUpdated", func(r *rig) {
		r.save(with(one, pb.State{Term: 1}, pb.Snapshot{}, entries(1, 9, 1)...))
		for _, st := range []pb.State{
			{Term: 2}, {Term: 2, Vote: 3}, {Term: 2, Vote: 3, Commit: 7}, {Term: 3, Vote: 0, Commit: 7}, {Term: 3, Vote: 9, Commit: 8},
		} {
			r.save(with(one, st, pb.Snapshot{}))
			r.twice(func() {
				rs := r.state(one, 0)
				require.Equal(r, st, rs.State)
				require.EqualValues(r, 9, rs.EntryCount)
			})
		}
	}},
	{"AnEmptyStateChangesNothing", func(r *rig) {
		st := pb.State{Term: 5, Vote: 1, Commit: 2}
		r.save(with(one, st, pb.Snapshot{}, entries(1, 3, 5)...))
		r.save(with(one, pb.State{}, pb.Snapshot{}))
		r.save(with(one, pb.State{}, pb.Snapshot{}, entries(4, 5, 5)...))
		require.NoError(r, r.db.SaveSnapshots([]pb.Update{with(one, pb.State{}, pb.Snapshot{Index: 2, Term: 5})}))
		r.twice(func() {
			require.Equal(r, st, r.state(one, 0).State)
			r.has(one, entries(1, 5, 5))
		})
	}},
	{"CommitAloneSurvivesClose", func(r *rig) {
		r.save(with(one, pb.State{Term: 5, Vote: 1}, pb.Snapshot{}, entries(1, 9, 5)...))
		for commit := uint64(1); commit <= 9; commit++ {
			r.save(with(one, pb.State{Term: 5, Vote: 1, Commit: commit}, pb.Snapshot{}))
		}
		r.twice(func() { require.Equal(r, pb.State{Term: 5, Vote: 1, Commit: 9}, r.state(one, 0).State) })
	}},
	{"StatesOfReplicasAreTheirOwn", func(r *rig) {
		st := func(n uint64) pb.State { return pb.State{Term: n, Vote: n + 1, Commit: n + 2} }
		log := entries(1, 6, 1)
		r.save(with(one, st(1), pb.Snapshot{}, log...), with(two, st(2), pb.Snapshot{}, log...))
		r.save(with(three, st(3), pb.Snapshot{}, log...))
		r.save(with(other, st(4), pb.Snapshot{}, log...))
		r.twice(func() {
			for i, info := range []raftio.NodeInfo{one, two, three, other} {
				require.Equal(r, st(uint64(i+1)), r.state(info, 0).State)
			}
		})
	}},
	{"NothingToSave", func(r *rig) {
		for w := uint64(1); w <= Workers; w++ {
			require.NoError(r, r.db.SaveRaftState(nil, w))
			require.NoError(r, r.db.SaveRaftState([]pb.Update{}, w))
		}
		r.save(with(one, pb.State{}, pb.Snapshot{}), with(two, pb.State{}, pb.Snapshot{}))
		require.NoError(r, r.db.SaveSnapshots(nil))
		require.NoError(r, r.db.SaveSnapshots([]pb.Update{with(one, pb.State{}, pb.Snapshot{})}))
		r.twice(func() {
			r.nothing(one)
			r.nothing(two)
		})
	}},
	{"OpenedOften", func(r *rig) {
		log := entries(1, 1, 1)
		r.saveEntries(one, log...)
		for i := uint64(2); i < 12; i++ {
			r.reopen()
			r.has(one, log)
			r.saveEntries(one, entries(i, i, i)...)
			log = append(log, entries(i, i, i)...)
		}
		r.has(one, log)
	}},
}
