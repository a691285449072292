package journal

import (
	"fmt"
	"path/filepath"
	"testing"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

// BenchmarkSave is one call as a step worker makes it, on a real directory. The logs are compacted as they grow.
func BenchmarkSave(b *testing.B) {
	for _, c := range []struct{ shards, bytes int }{{1, 256}, {8, 64 << 10}, {256, 1 << 10}} {
		b.Run(fmt.Sprintf("%dx%d", c.shards, c.bytes), func(b *testing.B) {
			j, err := Open(filepath.Join(b.TempDir(), "journal"), 1, Options{})
			require.NoError(b, err)
			updates := make([]pb.Update, c.shards)
			for s := range updates {
				updates[s] = update(uint64(s), entries(1, 1, 1, c.bytes))
			}
			b.SetBytes(int64(c.shards * c.bytes))
			b.ReportAllocs()
			index := uint64(0)
			for b.Loop() {
				index++
				for s := range updates {
					updates[s].EntriesToSave[0].Index = index
					updates[s].State.Commit = index - 1
				}
				if err := j.SaveRaftState(updates, 1); err != nil {
					b.Fatal(err)
				}
				if index%64 == 0 {
					for s := range updates {
						if err := j.RemoveEntriesTo(uint64(s), 1, index-32); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			require.NoError(b, j.Close())
		})
	}
}

// BenchmarkRead reads 16 entries of 4 KiB, saved two at a time.
func BenchmarkRead(b *testing.B) {
	for _, from := range []string{"arena", "file"} {
		b.Run(from, func(b *testing.B) {
			j, err := Open(filepath.Join(b.TempDir(), "journal"), 1, Options{})
			require.NoError(b, err)
			for i := uint64(1); i < 200; i += 2 {
				save(b, j, update(1, entries(i, i+1, 1, 4<<10)))
			}
			if from == "file" {
				j.wals[0].index.arena.tail = j.wals[0].index.arena.head
			}
			b.SetBytes(16 * 4 << 10)
			b.ReportAllocs()
			list := make([]pb.Entry, 0, 16)
			for b.Loop() {
				got, _, err := j.IterateEntries(list, 0, 1, 1, 101, 117, 0)
				if err != nil || len(got) != 16 {
					b.Fatal(len(got), err)
				}
			}
			require.NoError(b, j.Close())
		})
	}
}
