package raftnet

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

func TestTargets(t *testing.T) {
	for _, id := range []protocol.BrokerID{1, 7, 256, math.MaxUint64} {
		got, ok := ParseTarget(Target(id))
		require.True(t, ok && factory{}.Validate(Target(id)))
		require.Equal(t, id, got)
	}
	require.Equal(t, "broker-7", Target(7))
	for _, bad := range []string{
		"", "broker", "broker-", "broker-0", "broker-07", "broker-+7", "broker--7", "broker-7 ", " broker-7", "Broker-7", "host-7",
		"broker-7:1", "broker-18446744073709551616", "7", "10.0.0.1:7401",
	} {
		require.False(t, factory{}.Validate(bad), "%q", bad)
	}
}
