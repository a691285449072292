package seglog

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// countReads wraps a file system so that reads of segment files can be counted.
func countReads(t *testing.T, reads *int) storefs.FS {
	return storefs.Faulty(newDir(t), func(op storefs.Op, _ string) error {
		if op == storefs.OpRead {
			*reads++
		}
		return nil
	})
}

func TestTailIsReadWithoutTheDisk(t *testing.T) {
	var reads int
	l := create(t, countReads(t, &reads), 0, Options{TailCacheBytes: 100_000})
	defer l.Close()
	var last []byte
	for i := range 500 {
		last = add(t, l, 1, 1000, 1)
		b, err := l.Read(l.Next()-1, 1, nil)
		require.NoError(t, err)
		require.Equal(t, last, b)
		b, err = l.Read(l.Next()-min(l.Next(), 30), 1<<20, nil)
		require.NoError(t, err)
		require.Equal(t, min(i+1, 30)*len(last), len(b))
	}
	require.Zero(t, reads)
	require.LessOrEqual(t, l.opts.Cache.Used(), int64(100_000))
	_, err := l.Read(0, 1, nil)
	require.NoError(t, err)
	require.NotZero(t, reads, "what is old comes from disk")
}

func TestLargeBatchesPassTheTailBy(t *testing.T) {
	var reads int
	l := create(t, countReads(t, &reads), 0, Options{TailCacheBytes: 10_000})
	defer l.Close()
	want := add(t, l, 1, 1000, 1)
	want = append(want, add(t, l, 1, 6000, 1)...)
	require.Zero(t, l.opts.Cache.Used(), "a tail with a hole is none")
	want = append(want, add(t, l, 1, 4500, 1)...)
	b, err := l.Read(2, 1, nil)
	require.NoError(t, err)
	require.Equal(t, want[len(want)-len(b):], b)
	require.Zero(t, reads)
	require.Equal(t, want, readAll(t, l, 0, 1))
	require.NotZero(t, reads)
}

// TestIdleLogsGiveTheirMemoryUp checks the shared budget: a busy log gets it, and the idle ones lose nothing but
// speed.
func TestIdleLogsGiveTheirMemoryUp(t *testing.T) {
	m := newDir(t)
	cache := NewCache(200_000)
	var logs []*Log
	for i := range 50 {
		l, err := Create(m, fmt.Sprintf("/data/%d", i), 0, Options{Cache: cache})
		require.NoError(t, err)
		defer l.Close()
		add(t, l, 1, 1000, 1)
		logs = append(logs, l)
	}
	require.Equal(t, int64(48*firstChunkBytes), cache.Used(), "small chunks at first, as many as fit")
	busy := logs[0]
	for range 1000 {
		add(t, busy, 1, 1000, 1)
	}
	require.LessOrEqual(t, cache.Used(), int64(200_000))
	require.Greater(t, busy.tail.bytes, 100_000)
	for _, l := range logs[1:] {
		require.False(t, l.tail.chunks[0].acquire(), "the memory of an idle log is gone")
		require.Len(t, readAll(t, l, 0, 100), int(l.Bytes()))
		add(t, l, 1, 1000, 1)
		require.Len(t, readAll(t, l, 0, 100), int(l.Bytes()))
	}
	require.Len(t, readAll(t, busy, 0, 3000), int(busy.Bytes()))
	for _, l := range logs {
		require.NoError(t, l.Close())
	}
	require.Zero(t, cache.Used())
}

// TestTakenChunkStaysWithItsReader plays one race step by step: the reader has collected, the cache takes the chunk.
func TestTakenChunkStaysWithItsReader(t *testing.T) {
	cache := NewCache(2 * firstChunkBytes)
	l := create(t, newDir(t), 0, Options{Cache: cache})
	defer l.Close()
	want := add(t, l, 1, 1000, 1)
	var pieces [maxPieces]piece
	n := l.tail.collect(0, 1, &pieces)
	require.Equal(t, 1, n)
	require.NotNil(t, cache.alloc(firstChunkBytes))
	other := cache.alloc(firstChunkBytes)
	require.NotNil(t, other, "the budget counts the taken chunk no more")
	copy(other.buf, make([]byte, firstChunkBytes))
	require.Zero(t, l.tail.collect(1, 1, &[maxPieces]piece{}))
	got, err := copyPieces(pieces[:n], 0, 1, 1000, nil)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Zero(t, l.tail.collect(0, 1, &pieces), "now it is gone")
}

func TestDamagedTailIsNotDelivered(t *testing.T) {
	l := create(t, newDir(t), 0, Options{})
	defer l.Close()
	add(t, l, 1, 1000, 1)
	l.tail.chunks[0].buf[9] ^= 1
	b, err := l.Read(0, 100, []byte("x"))
	require.ErrorIs(t, err, protocol.ErrCorruptBatch)
	require.Equal(t, []byte("x"), b)
}
