package controller

import (
	"context"
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

// TestAReplicaIsAskedUntilItShowsTheRecord: it is asked for the very record, again while it does not have it, and no longer than ctx.
func TestAReplicaIsAskedUntilItShowsTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := protocol.TopicPartition{Topic: 7, Partition: 3}
		lacks := append(binary.BigEndian.AppendUint16(nil, uint16(protocol.CodeUnavailable)), "ends at offset 40"...)
		asked, from := 0, 3
		ask := func(_ context.Context, to protocol.BrokerID, request []byte) ([]byte, error) {
			require.Equal(t, protocol.BrokerID(5), to)
			require.Equal(t, appendFetch(nil, tp, 41, 1), request)
			if asked++; asked < from {
				return lacks, nil
			}
			return make([]byte, 2, 64), nil
		}
		begun := time.Now()
		require.NoError(t, awaitShown(t.Context(), ask, 5, tp, 41))
		require.Equal(t, 3, asked)
		require.Equal(t, 2*showEvery, time.Since(begun))

		from = 1 << 30
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := awaitShown(ctx, ask, 5, tp, 41)
		require.ErrorIs(t, err, &protocol.Error{Code: protocol.CodeUnavailable})
		require.ErrorContains(t, err, "broker 5 does not show record 41")
	})
}
