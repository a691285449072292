package broker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
)

func TestBrokerDoesNotStartOnAFullDisk(t *testing.T) {
	b := &Broker{cfg: Config{DataDir: t.TempDir(), Broker: protocol.BrokerID(1)}.WithDefaults()}
	require.NoError(t, b.roomToRun(128<<20))
	err := b.roomToRun(128<<20 - 1)
	var full *DiskFullError
	require.ErrorAs(t, err, &full)
	require.ErrorContains(t, err, "disk full")
	require.ErrorContains(t, err, "free or add disk")
	b.cfg.Limits.DiskReserve = 1 << 50 // more than any disk: publishes are refused, and it runs
	require.NoError(t, b.checkDisk(t.Context()))
	b.cfg.DataDir = "/does/not/exist"
	require.ErrorContains(t, b.checkDisk(t.Context()), "free disk of /does/not/exist")
}
