package client_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// unreadable is a batch with right checksums that claims more records than are in it. Brokers do not look inside.
func unreadable(t *testing.T) []byte {
	bd := batch.NewBuilder(batch.None)
	require.NoError(t, bd.Add(batch.Record{Value: []byte("the only one")}))
	b, err := bd.Build(nil, 77, 0, 0)
	require.NoError(t, err)
	const posBodyCRC, posProducer, posCount = 36, 40, 52
	binary.BigEndian.PutUint32(b[posCount:], 5)
	binary.BigEndian.PutUint32(b[posBodyCRC:], crc32.Checksum(b[posProducer:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// TestUnreadableBatch: records that cannot be read are told, not passed over.
func TestUnreadableBatch(t *testing.T) {
	fc, c, p := filled(t, 1, 3)
	require.NoError(t, fc.Append("t", 0, unreadable(t)))
	publish(t, p, 0, 3, 3)
	r, err := c.Reader(within(t), "t", client.StopAtEnd())
	require.NoError(t, err)
	for i := range 4 {
		m, err := r.Receive(within(t))
		require.NoError(t, err)
		require.Equal(t, protocol.Offset(i), m.Offset)
	}
	for range 2 {
		_, err = r.Receive(within(t))
		require.ErrorIs(t, err, protocol.ErrCorruptBatch)
	}
	require.NoError(t, r.Close(within(t)))
}
