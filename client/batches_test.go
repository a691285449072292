package client_test

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// TestBatchReader: the batches of every partition come once each, dense, as they are stored, and through a broken stream.
func TestBatchReader(t *testing.T) {
	const partitions, records = 3, 60
	fc, c, _ := filled(t, partitions, records)
	r, err := c.BatchReader(within(t), "t", client.StopAtEnd(), client.WithCredit(300))
	require.NoError(t, err)
	next := map[protocol.Partition]protocol.Offset{}
	for n := 0; ; n++ {
		b, err := r.Receive(within(t))
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		if n == 5 {
			fc.DropConns(fc.Leader("t", b.Partition))
		}
		h, err := batch.Check(b.Bytes, protocol.MaxBatchBytesLimit)
		require.NoError(t, err)
		require.Equal(t, h, b.Header)
		require.Equal(t, next[b.Partition], h.BaseOffset)
		next[b.Partition] = h.Next()
	}
	require.NoError(t, r.Close(within(t)))
	for p := range partitions {
		require.Equal(t, protocol.Offset(records), next[protocol.Partition(p)])
	}
}

// TestBatchReaderBeginsWithinBatch: the batch that holds the offset comes whole.
func TestBatchReaderBeginsWithinBatch(t *testing.T) {
	fc, c, p := filled(t, 1, 0)
	publish(t, p, 0, 0, 40)
	r, err := c.BatchReader(within(t), "t", client.StartAt(client.AtOffset(17)), client.StopAtEnd())
	require.NoError(t, err)
	b, err := r.Receive(within(t))
	require.NoError(t, err)
	require.LessOrEqual(t, b.Header.BaseOffset, protocol.Offset(17))
	require.Greater(t, b.Header.Next(), protocol.Offset(17))
	require.Len(t, fc.Log("t", 0), 40)
	require.NoError(t, r.Close(within(t)))
}

// TestAtOffsets: each partition of a new subscription begins at its own offset, and the cursors are there when Subscribe returns.
func TestAtOffsets(t *testing.T) {
	fc, c, _ := filled(t, 3, 20)
	s, err := c.Subscribe(within(t), "t", "sub", client.StartAt(client.AtOffsets(map[protocol.Partition]protocol.Offset{0: 7, 2: 20})))
	require.NoError(t, err)
	for p, want := range []protocol.Offset{7, 0, 20} {
		got, _ := fc.Cursor("t", protocol.Partition(p), "sub")
		require.Equal(t, want, got, "partition %d", p)
	}
	require.NoError(t, s.Close(within(t)))
}
