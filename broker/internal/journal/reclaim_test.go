package journal

import (
	"path/filepath"
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// diskUse returns the sizes of everything in WAL 0.
func diskUse(t testing.TB, fs storefs.FS) (sum int64) {
	t.Helper()
	list, err := fs.ReadDir(filepath.Join(testDir, "wal-0"))
	require.NoError(t, err)
	for _, e := range list {
		info, err := e.Info()
		require.NoError(t, err)
		sum += info.Size()
	}
	return sum
}

// settled waits until there is nothing to be reclaimed.
func settled(t testing.TB, j *Journal) {
	t.Helper()
	require.Eventually(t, func() bool { return !j.wals[0].untidy() }, 10*time.Second, time.Millisecond)
}

// TestIdleReplicasDoNotPinTheLog: replicas whose newest records are old, with entries, state, snapshot and bootstrap,
// and one that writes, and compacts, for ever.
func TestIdleReplicasDoNotPinTheLog(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	idle := map[uint64][]pb.Entry{}
	for shard := uint64(2); shard <= 5; shard++ {
		require.NoError(t, j.SaveBootstrapInfo(shard, 1, pb.Bootstrap{Join: true}))
		idle[shard] = entries(1, 9, 1, 700)
		save(t, j, update(shard, idle[shard][:5]))
		save(t, j, update(shard, idle[shard][5:]))
		require.NoError(t, j.SaveSnapshots([]pb.Update{{ShardID: shard, ReplicaID: 1, Snapshot: pb.Snapshot{Index: 3, Term: 1}}}))
		require.NoError(t, j.RemoveEntriesTo(shard, 1, 3))
	}
	most := int64(0)
	for i := uint64(1); i <= 600; i++ {
		save(t, j, update(1, entries(i, i, 1, 9000)))
		if i > 10 {
			require.NoError(t, j.RemoveEntriesTo(1, 1, i-10))
		}
		if i%50 == 0 {
			settled(t, j)
			most = max(most, diskUse(t, fs))
		}
		if i%200 == 0 {
			j = reopen(t, j, fs)
		}
	}
	require.Less(t, most, int64(12*minFileBytes), "7 MB were written")
	for range 2 {
		for shard, want := range idle {
			require.Equal(t, want[3:], read(t, j, shard, 4, 20))
			s, err := j.ReadRaftState(shard, 1, 3)
			require.NoError(t, err)
			require.Equal(t, uint64(6), s.EntryCount)
			snapshot, err := j.GetSnapshot(shard, 1)
			require.NoError(t, err)
			require.Equal(t, uint64(3), snapshot.Index)
			_, err = j.GetBootstrapInfo(shard, 1)
			require.NoError(t, err)
		}
		require.Equal(t, entries(591, 600, 1, 9000), read(t, j, 1, 591, 700))
		j = reopen(t, j, fs)
	}
}

// TestLiveBytesAreExact compares the counters with what the index says, after everything that moves them.
func TestLiveBytesAreExact(t *testing.T) {
	fs := newMem(t)
	j := open(t, fs)
	check := func() {
		t.Helper()
		settled(t, j)
		w := j.wals[0]
		w.index.mu.Lock()
		defer w.index.mu.Unlock()
		want := map[*file]int64{}
		for _, r := range w.index.replicas {
			for _, e := range r.log.all() {
				want[e.file] += e.cost()
			}
			for _, p := range r.newest {
				if p.file != nil {
					want[p.file] += p.length
				}
			}
		}
		for _, f := range w.files {
			require.Equal(t, want[f], f.live, f.path)
			delete(want, f)
		}
		require.Empty(t, want)
	}
	for i := uint64(1); i < 200; i++ {
		shard := i % 5
		switch i % 7 {
		case 0:
			require.NoError(t, j.RemoveEntriesTo(shard, 1, i-50+min(i, 50)-i%50))
		case 1:
			require.NoError(t, j.SaveSnapshots([]pb.Update{{ShardID: shard, ReplicaID: 1, Snapshot: pb.Snapshot{Index: i, Term: 1}}}))
		case 2:
			require.NoError(t, j.SaveBootstrapInfo(shard, 1, pb.Bootstrap{}))
		case 3:
			if i%3 == 0 {
				require.NoError(t, j.RemoveNodeData(shard, 1))
			}
		default:
			save(t, j, update(shard, entries(i+i%3, i+3, i, 2000)))
		}
		if i%20 == 0 {
			check()
		}
		if i%60 == 0 {
			j = reopen(t, j, fs)
			check()
		}
	}
}

// TestRestartsDoNotPileUpFiles: each begins a file, whether anything is written or not.
func TestRestartsDoNotPileUpFiles(t *testing.T) {
	fs := newMem(t)
	opts := Options{FS: fs, FileBytes: 4 << 20, CacheBytes: minCacheBytes}
	j := openWith(t, opts)
	for i := range uint64(20) {
		save(t, j, update(1, entries(i+1, i+1, 1, 10)))
		require.NoError(t, j.Close())
		j = openWith(t, opts)
		settled(t, j)
		require.NoError(t, j.Close())
		j = openWith(t, opts)
	}
	settled(t, j)
	require.LessOrEqual(t, len(walFiles(t, fs)), manyFiles+1)
	wantLog(t, j, 1, entries(1, 20, 1, 10))
}

// TestReadersSurviveReclaiming reads old entries while their file is given up and written again.
func TestReadersSurviveReclaiming(t *testing.T) {
	dir := t.TempDir()
	reg := prometheus.NewRegistry()
	j, err := Open(filepath.Join(dir, "journal"), 1, Options{FileBytes: minFileBytes, CacheBytes: minCacheBytes, Registerer: reg})
	require.NoError(t, err)
	keep := entries(1, 20, 1, 3000)
	for i := range keep {
		save(t, j, update(2, keep[i:i+1]))
	}
	stop, done, passed := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			case passed <- struct{}{}: // who waits for it goes on
			default:
			}
			list, _, err := j.IterateEntries(nil, 0, 2, 1, 1, 21, 0)
			if err == nil && len(list) != len(keep) {
				err = ErrClosed
			}
			for i := range list {
				if string(list[i].Cmd) != string(keep[i].Cmd) {
					err = ErrClosed
				}
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	pass := func() { // one processor alone might never run the reader
		for range 2 { // it has begun, and begun anew
			select {
			case <-passed:
			case err := <-done:
				require.NoError(t, err)
			}
		}
	}
	pass() // from the cache
	for i := uint64(1); i < 500; i++ {
		save(t, j, update(1, entries(i, i, 1, 9000)))
		require.NoError(t, j.RemoveEntriesTo(1, 1, i-1))
		if i%20 == 0 {
			pass()
		}
	}
	close(stop)
	require.NoError(t, <-done)
	got, err := reg.Gather()
	require.NoError(t, err)
	figures := map[string]float64{}
	for _, m := range got {
		figures[m.GetName()] = m.GetMetric()[0].GetCounter().GetValue() + m.GetMetric()[0].GetGauge().GetValue()
	}
	require.Positive(t, figures["trunkline_journal_relocated_bytes_total"])
	require.Positive(t, figures["trunkline_journal_cache_reads_total"])
	require.Positive(t, figures["trunkline_journal_file_reads_total"])
	require.Greater(t, figures["trunkline_journal_live_bytes"], 60_000.0)
	require.Equal(t, 519.0, figures["trunkline_journal_saves_total"])
	require.NoError(t, j.Close())
}
