package partition

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCompactionPoint(t *testing.T) {
	for _, c := range []struct {
		name                                    string
		base, index, bytes, maxEntries, maxByte uint64
		keepFrom                                uint64
		due                                     bool
	}{
		{"idle", 100, 100, 0, 1000, 1 << 20, 0, false},
		{"little", 100, 200, 1000, 1000, 1 << 20, 0, false},
		{"by entries", 0, 1000, 1000, 1000, 1 << 20, 500, true},
		{"by bytes", 0, 100, 1 << 20, 1000, 1 << 20, 50, true},
		{"far beyond", 1000, 1100, 4 << 20, 1000, 1 << 20, 1088, true},
		{"one giant entry", 7, 8, 1 << 20, 1000, 1 << 20, 8, true},
		{"nothing to drop", 0, 10, 1 << 30, 20, 1 << 32, 0, false},
	} {
		keepFrom, due := compactionPoint(c.base, c.index, c.bytes, c.maxEntries, c.maxByte)
		require.Equal(t, c.due, due, c.name)
		require.Equal(t, c.keepFrom, keepFrom, c.name)
	}
	rapid.Check(t, func(rt *rapid.T) {
		base := rapid.Uint64Range(0, 1<<40).Draw(rt, "base")
		index := base + rapid.Uint64Range(0, 1<<30).Draw(rt, "entries")
		keepFrom, due := compactionPoint(base, index, rapid.Uint64Range(0, 1<<40).Draw(rt, "bytes"), 20_000, 64<<20)
		if due && (keepFrom == 0 || keepFrom > index || index-keepFrom > 10_000) {
			rt.Fatalf("keep from %d of %d", keepFrom, index)
		}
	})
}

func TestCompaction(t *testing.T) {
	change := func(c *Config) { c.UpkeepEvery, c.CompactBytes = time.Second, 10_000 }
	within(t, nil, change, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(2 * time.Second)
		compacted, _, _ := r.raft.seen()
		require.Empty(t, compacted)
		for n := range 30 { // about 200 bytes each; half of the bound is taken for there already
			r.send(t, a, 5, n)
			time.Sleep(2 * roundTrip)
		}
		time.Sleep(2 * time.Second)
		compacted, _, _ = r.raft.seen()
		require.Len(t, compacted, 1)
		require.Less(t, compacted[0], r.m.Applied())
		time.Sleep(time.Minute)
		compacted, _, _ = r.raft.seen()
		require.Len(t, compacted, 1, "nothing was applied since")
	})
}

// While a replica is brought up with a snapshot, the log behind the snapshot stays: or it would never catch up under
// load.
func TestCompactionWaitsForSnapshotStreams(t *testing.T) {
	change := func(c *Config) { c.UpkeepEvery, c.CompactBytes = time.Second, 10_000 }
	within(t, nil, change, func(t *testing.T, r *rig, a *acks) {
		write := func(from, to int) {
			for n := from; n < to; n++ {
				r.send(t, a, 5, n)
				time.Sleep(2 * roundTrip)
			}
			time.Sleep(2 * time.Second)
		}
		r.raft.elect()
		write(0, 5)
		frozen, err := r.m.PrepareSnapshot()
		require.NoError(t, err)
		streamed := r.m.Applied()
		write(5, 60)
		compacted, _, _ := r.raft.seen()
		require.Empty(t, compacted, "in progress")
		require.NoError(t, r.m.SaveSnapshot(frozen, io.Discard, nil))
		time.Sleep(streamGrace / 2)
		compacted, _, _ = r.raft.seen()
		require.Empty(t, compacted, "the replica writes it to its disk")
		time.Sleep(streamGrace)
		compacted, _, _ = r.raft.seen()
		require.Len(t, compacted, 1)
		require.Greater(t, compacted[0], streamed)

		_, err = r.m.PrepareSnapshot() // of a stream that never ends
		require.NoError(t, err)
		write(60, 60+maxHeld*60)
		compacted, _, _ = r.raft.seen()
		require.Len(t, compacted, 1, "the log is not longer than the partition")
		_, next := r.m.Bounds()
		_, err = r.SetStart(t.Context(), next)
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		compacted, _, _ = r.raft.seen()
		require.Len(t, compacted, 2, "the bound")
	})
}

// An idle partition does not keep what retention dropped: Dragonboat may not sync it for a long time.
func TestDroppedSegmentsAreDeleted(t *testing.T) {
	change := func(c *Config) { c.UpkeepEvery = time.Second }
	within(t, nil, change, func(t *testing.T, r *rig, a *acks) {
		files := func() int {
			entries, err := r.fs.ReadDir("p/log.00000001")
			require.NoError(t, err)
			return len(entries)
		}
		r.raft.elect()
		for n := range 40 {
			r.send(t, a, 5, n)
			time.Sleep(2 * roundTrip)
		}
		before := files()
		_, next := r.m.Bounds()
		_, err := r.SetStart(t.Context(), next)
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		require.Less(t, files(), before)
	})
}

func TestRetention(t *testing.T) {
	change := func(c *Config) { c.UpkeepEvery, c.RetentionEvery = time.Second, time.Minute }
	within(t, nil, change, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		raw, h := makeBatch(t, 5, 0, 1, 1)
		require.NoError(t, r.Append(t.Context(), raw, h, func(Ack) {}))
		time.Sleep(2 * time.Minute)
		n := r.raft.proposals()
		r.SetRetention(0, 0)
		time.Sleep(2 * time.Minute)
		require.Equal(t, n, r.raft.proposals(), "no limit")
		// One segment that is not sealed is all there is, and stays: nothing is proposed for it.
		r.SetRetention(1000, 1)
		time.Sleep(2 * time.Minute)
		start, _ := r.m.Bounds()
		require.Equal(t, r.m.RetentionPoint(time.Now().UnixMilli(), 1000, 1), start)
	})
}
