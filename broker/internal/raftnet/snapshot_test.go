package raftnet

import (
	"context"
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"
)

func TestSnapshotChunksComeInOrderAndThrottled(t *testing.T) {
	c := newCluster(t, 2)
	cfg := c.config(1, 1)
	cfg.SnapshotBytesPerSecond = 8 << 20
	one, two := c.start(cfg), c.start(c.config(2, 1))
	conn, err := one.tr.GetSnapshotConnection(context.Background(), Target(2))
	require.NoError(t, err)
	defer conn.Close()
	began := time.Now()
	const chunks, size = 6, 512 << 10
	for i := range uint64(chunks) {
		data := make([]byte, size)
		data[0] = byte(i)
		require.NoError(t, conn.SendChunk(pb.Chunk{ShardID: 7, ChunkId: i, ChunkCount: chunks, Data: data}))
	}
	took := time.Since(began)
	for i := range uint64(chunks) {
		ch := recv(t, two.chunks)
		require.Equal(t, i, ch.ChunkId)
		require.Len(t, ch.Data, size)
		require.Equal(t, byte(i), ch.Data[0])
	}
	// 3 MiB at 8 MiB/s, less the burst.
	require.Greater(t, took, 280*time.Millisecond)
	require.Error(t, conn.SendChunk(pb.Chunk{Data: make([]byte, maxSnapshotFrame+1)}))
}

func TestARefusedChunkAndADeadReceiverEndTheStream(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	bs[1].mu.Lock()
	bs[1].onChunk = func(ch pb.Chunk) bool { return ch.ChunkId < 2 }
	bs[1].mu.Unlock()
	conn, err := bs[0].tr.GetSnapshotConnection(context.Background(), Target(2))
	require.NoError(t, err)
	for i := range uint64(2) {
		require.NoError(t, conn.SendChunk(pb.Chunk{ChunkId: i}))
	}
	require.ErrorContains(t, conn.SendChunk(pb.Chunk{ChunkId: 2}), "refused")
	conn.Close()

	conn, err = bs[0].tr.GetSnapshotConnection(context.Background(), Target(2))
	require.NoError(t, err)
	require.NoError(t, bs[1].Close())
	require.Error(t, conn.SendChunk(pb.Chunk{ChunkId: 0}))
	conn.Close()
	_, err = bs[0].tr.GetSnapshotConnection(context.Background(), Target(2))
	require.Error(t, err)
}

func TestASnapshotStreamEndsWithItsContext(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	stuck, release := make(chan struct{}), make(chan struct{})
	bs[1].mu.Lock()
	bs[1].onChunk = func(pb.Chunk) bool { close(stuck); <-release; return true }
	bs[1].mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := bs[0].tr.GetSnapshotConnection(ctx, Target(2))
	require.NoError(t, err)
	go func() { <-stuck; cancel() }()
	require.Error(t, conn.SendChunk(pb.Chunk{}))
	conn.Close()
	close(release)
}

func TestSnapshotStreamsOfOnePeerAreBounded(t *testing.T) {
	c := newCluster(t, 2)
	bs := c.startAll()
	p := bs[1].peer(1)
	p.mu.Lock()
	p.snapshots = maxSnapshotsPerPeer
	p.mu.Unlock()
	_, err := bs[0].tr.GetSnapshotConnection(context.Background(), Target(2))
	require.ErrorContains(t, err, "too many")
}
