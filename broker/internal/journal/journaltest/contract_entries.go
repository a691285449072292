package journaltest

import (
	"fmt"
	"math"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/lni/dragonboat/v4/raftio"
)

var entryCases = []contractCase{
	{"EveryFieldOfAnEntry", func(r *rig) {
		ents := []pb.Entry{
			{Index: 1, Term: 1},
			{Index: 2, Term: 1, Type: pb.ConfigChangeEntry, Key: math.MaxUint64, Cmd: []byte{0}},
			{Index: 3, Term: 1 << 40, Type: pb.EncodedEntry, Key: 1, ClientID: 1 << 63, SeriesID: math.MaxUint64 - 1,
				RespondedTo: math.MaxUint64 - 7, Cmd: []byte("command")},
			{Index: 4, Term: math.MaxUint64 - 3, Type: pb.MetadataEntry, Key: 127, ClientID: 128, SeriesID: 16383, RespondedTo: 16384},
		}
		r.saveEntries(one, ents...)
		r.twice(func() { r.has(one, ents) })
	}},
	{"CommandsOfAnySize", func(r *rig) {
		var log []pb.Entry
		for i, size := range []int{0, 1, 511, 4095, 4096, 4097, 32 << 10, 96<<10 + 1, 1 << 20, 3<<20 + 17, 1, 0} {
			e := pb.Entry{Index: uint64(i + 1), Term: 7, Cmd: command(uint64(i), 7, size)}
			r.saveEntries(one, e)
			log = append(log, e)
		}
		r.twice(func() { r.has(one, log) })
	}},
	{"ManyInOneSave", func(r *rig) {
		r.saveEntries(one, entries(1, 1024, 2)...)
		r.twice(func() { r.has(one, entries(1, 1024, 2)) })
	}},
	{"OneInEachOfManySaves", func(r *rig) {
		for i := uint64(1); i <= 400; i++ {
			r.saveEntries(one, entries(i, i, 2)...)
			if i%3 == 0 {
				r.saveEntries(three, entries(i/3, i/3, 2)...)
			}
		}
		r.twice(func() {
			r.has(one, entries(1, 400, 2))
			r.has(three, entries(1, 133, 2))
			require.NoError(r, differEntries(entries(177, 302, 2), r.iterate(one, 177, 303, math.MaxUint64)))
		})
	}},
	{"EntriesOfReplicasAreTheirOwn", func(r *rig) {
		st := pb.State{Term: 9, Vote: 1}
		r.save(with(one, st, pb.Snapshot{}, entries(1, 5, 1)...), with(two, st, pb.Snapshot{}, entries(3, 9, 2)...),
			with(three, st, pb.Snapshot{}), with(raftio.GetNodeInfo(three.ShardID, 9), st, pb.Snapshot{}, entries(1, 1, 3)...))
		r.save(with(other, st, pb.Snapshot{}, entries(1, 5, 4)...))
		r.twice(func() {
			r.has(one, entries(1, 5, 1))
			r.has(two, entries(3, 9, 2))
			r.has(other, entries(1, 5, 4))
			require.Empty(r, r.iterate(three, 1, 10, math.MaxUint64))
		})
	}},
	{"LaterEntriesReplaceTheSuffix", func(r *rig) { replaceSuffixes(r) }},
	{"SavedAgainCutsWhatFollows", func(r *rig) {
		r.saveEntries(one, entries(10, 12, 1)...)
		r.saveEntries(one, entries(11, 11, 1)...)
		r.twice(func() { r.has(one, entries(10, 11, 1)) })
	}},
	{"CutAndGrown", func(r *rig) {
		log := entries(1, 8, 1)
		r.saveEntries(one, log...)
		for term := uint64(2); term < 30; term++ {
			cut := 1 + term*5%uint64(len(log))
			log = append(log[:cut:cut], entries(cut+1, cut+1+term%4, term)...)
			r.saveEntries(one, log[cut:]...)
		}
		r.twice(func() { r.has(one, log) })
	}},
	{"CutInOneSaveWithOthers", func(r *rig) {
		st := pb.State{Term: 4}
		r.saveEntries(one, entries(1, 9, 1)...)
		r.saveEntries(two, entries(1, 9, 1)...)
		r.save(with(one, st, pb.Snapshot{}, entries(4, 4, 4)...), with(two, st, pb.Snapshot{}, entries(10, 10, 4)...))
		r.twice(func() {
			r.has(one, append(entries(1, 3, 1), entries(4, 4, 4)...))
			r.has(two, append(entries(1, 9, 1), entries(10, 10, 4)...))
		})
	}},
	{"SavedMemoryIsTheCallers", func(r *rig) {
		ents := entries(1, 4, 1)
		r.saveEntries(one, ents...)
		for i := range ents {
			clear(ents[i].Cmd)
			ents[i] = pb.Entry{}
		}
		r.twice(func() { r.has(one, entries(1, 4, 1)) })
	}},
	{"ReturnedMemoryIsTheCallers", func(r *rig) {
		r.saveEntries(one, entries(1, 4, 1)...)
		held := r.iterate(one, 1, 5, math.MaxUint64)
		for i := range 64 { // so much that a cache has to let go of the first entries
			r.saveEntries(two, pb.Entry{Index: uint64(i + 1), Term: 1, Cmd: command(uint64(i), 1, 128<<10)})
		}
		require.NoError(r, differEntries(entries(1, 4, 1), held))
		for i := range held {
			clear(held[i].Cmd)
		}
		r.twice(func() { r.has(one, entries(1, 4, 1)) })
	}},
}

// replaceSuffixes saves ranges one over the other; the log has to be what a plain array would hold.
func replaceSuffixes(r *rig) {
	type span struct{ first, last, term uint64 }
	for i, c := range []struct {
		saves []span
		want  []span
	}{
		{[]span{{101, 105, 5}, {102, 104, 10}}, []span{{101, 101, 5}, {102, 104, 10}}},
		{[]span{{101, 105, 5}, {102, 104, 10}, {103, 105, 15}}, []span{{101, 101, 5}, {102, 102, 10}, {103, 105, 15}}},
		{[]span{{101, 105, 5}, {105, 105, 6}}, []span{{101, 104, 5}, {105, 105, 6}}},
		{[]span{{101, 105, 5}, {101, 101, 6}}, []span{{101, 101, 6}}},
		{[]span{{101, 105, 5}, {101, 109, 6}}, []span{{101, 109, 6}}},
		{[]span{{101, 101, 5}, {102, 102, 5}, {103, 103, 5}, {102, 102, 6}}, []span{{101, 101, 5}, {102, 102, 6}}},
		{[]span{{101, 101, 5}, {102, 109, 5}, {110, 111, 5}, {104, 105, 6}, {106, 107, 6}, {105, 108, 7}},
			[]span{{101, 103, 5}, {104, 104, 6}, {105, 108, 7}}},
	} {
		info := raftio.GetNodeInfo(one.ShardID, uint64(i+10))
		for _, s := range c.saves {
			r.saveEntries(info, entries(s.first, s.last, s.term)...)
		}
		var want []pb.Entry
		for _, s := range c.want {
			want = append(want, entries(s.first, s.last, s.term)...)
		}
		r.twice(func() {
			r.has(info, want)
			for low := range want { // every range of it
				for high := low; high <= len(want); high++ {
					from := want[0].Index
					got := r.iterate(info, from+uint64(low), from+uint64(high), math.MaxUint64)
					require.NoError(r, differEntries(want[low:high], got))
				}
			}
		})
	}
}

var limitCases = []contractCase{
	{"RangesEndWhereTheLogDoes", func(r *rig) {
		r.saveEntries(one, entries(10, 12, 1)...)
		r.twice(func() {
			for _, c := range []struct{ low, high, first, last uint64 }{
				{10, 11, 10, 10}, {10, 13, 10, 12}, {11, 13, 11, 12}, {12, 13, 12, 12}, {12, 99, 12, 12}, {10, math.MaxUint64, 10, 12},
				{10, 10, 1, 0}, {12, 12, 1, 0}, {13, 13, 1, 0}, {13, 14, 1, 0}, {500, 501, 1, 0},
			} {
				got := r.iterate(one, c.low, c.high, math.MaxUint64)
				require.NoError(r, differEntries(entries(c.first, c.last, 1), got), "[%d, %d)", c.low, c.high)
			}
			require.Empty(r, r.iterate(two, 10, 13, math.MaxUint64))
		})
	}},
	{"SizeLimit", func(r *rig) {
		var log []pb.Entry
		for i, size := range []int{10, 0, 5000, 1, 300} {
			log = append(log, pb.Entry{Index: uint64(i + 1), Term: 1, Cmd: make([]byte, size)})
		}
		r.saveEntries(one, log[:2]...)
		r.saveEntries(one, log[2:]...)
		r.twice(func() {
			for low := range log {
				for n := 1; low+n <= len(log); n++ {
					size := sizeOf(log[low : low+n])
					// The limit is exceeded by at most the last entry, which shows the caller that there is more.
					r.limited(log, low, size, min(low+n+1, len(log)))
					r.limited(log, low, size-1, low+n)
				}
			}
		})
	}},
	{"SizeLimitZeroGivesSomething", func(r *rig) {
		r.saveEntries(one, entries(1, 5, 1)...)
		r.twice(func() {
			for low := uint64(1); low <= 5; low++ {
				got := r.iterate(one, low, 6, 0) // tan gives all, pebble one: the LogReader cuts
				require.NotEmpty(r, got)
				require.NoError(r, differEntries(entries(low, low+uint64(len(got))-1, 1), got))
			}
		})
	}},
	{"AppendsToWhatIsGiven", func(r *rig) {
		r.saveEntries(one, entries(1, 5, 1)...)
		given := entries(1, 2, 1)
		got, size, err := r.db.IterateEntries(given, 1000, one.ShardID, one.ReplicaID, 3, 6, math.MaxUint64)
		require.NoError(r, err)
		require.NoError(r, differEntries(entries(1, 5, 1), got))
		require.Equal(r, 1000+sizeOf(entries(3, 5, 1)), size)
		got, size, err = r.db.IterateEntries(given, 1000, one.ShardID, one.ReplicaID, 3, 6, 1001)
		require.NoError(r, err)
		require.NoError(r, differEntries(entries(1, 3, 1), got))
		require.Equal(r, 1000+sizeOf(entries(3, 3, 1)), size)
		got, size, err = r.db.IterateEntries(given, 1000, two.ShardID, two.ReplicaID, 3, 6, math.MaxUint64)
		require.NoError(r, err)
		require.NoError(r, differEntries(given, got))
		require.EqualValues(r, 1000, size)
	}},
	{"CountOfAReplayedLog", func(r *rig) {
		for i, c := range []struct{ first, last, snapshot, count uint64 }{
			{1, 100, 0, 100}, {1, 100, 16, 84}, {1, 100, 99, 1}, {1, 100, 100, 0}, {7, 9, 6, 3}, {7, 9, 8, 1}, {7, 9, 9, 0},
		} {
			info := raftio.GetNodeInfo(one.ShardID, uint64(i+10))
			r.save(with(info, pb.State{Term: 1, Commit: c.last}, pb.Snapshot{}, entries(c.first, c.last, 1)...))
			r.twice(func() {
				rs := r.state(info, c.snapshot)
				if c.count == 0 {
					require.True(r, rs.EntryCount == 0 || rs.FirstIndex+rs.EntryCount-1 == c.last, fmt.Sprintf("%+v", rs))
					return
				}
				require.Equal(r, c.last, rs.FirstIndex+rs.EntryCount-1)
				require.GreaterOrEqual(r, rs.EntryCount, c.count)
			})
		}
	}},
}

// limited reads from the low-th entry on with a limit, and wants what is before the high-th.
func (r *rig) limited(log []pb.Entry, low int, maxSize uint64, high int) {
	r.Helper()
	got := r.iterate(one, log[low].Index, log[len(log)-1].Index+1, maxSize)
	require.NoError(r, differEntries(log[low:high], got), "from %d, limit %d", log[low].Index, maxSize)
}
