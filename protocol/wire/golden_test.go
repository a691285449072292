package wire

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/internal/golden"
)

// TestGolden compares whole frames, header included, with the vectors, and reads the vectors back.
func TestGolden(t *testing.T) {
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			value, err := json.Marshal(s.value)
			require.NoError(t, err)
			meaning := fmt.Sprintf("%s in a frame of kind %d\n%s", s.name, s.kind, value)
			golden.Check(t, s.name, meaning, AppendFrame(nil, s.kind, s.value))

			vector := golden.Read(t, s.name)
			got := s.fresh()
			require.NoError(t, got.Decode(vector[frame.HeaderSize:]))
			require.Equal(t, s.value, got)
		})
	}
}

// TestAckWithoutCommit reads what is said by who does not know the field.
func TestAckWithoutCommit(t *testing.T) {
	var got Ack
	require.NoError(t, got.Decode([]byte{0x92, 7, 9}))
	require.Equal(t, Ack{Activation: 7, Offset: 9}, got)
}

func TestGoldenDeliver(t *testing.T) {
	h := DeliverHeader{Activation: 7, Next: 1 << 40}
	b := frame.Begin(nil, protocol.KindDeliver)
	b = frame.End(append(AppendDeliverHeader(b, h), "record batches"...), 0)
	golden.Check(t, "Deliver", "deliver frame: activation 7, next offset 1<<40, then text in place of batches", b)

	got, batches, err := ParseDeliverHeader(golden.Read(t, "Deliver")[frame.HeaderSize:])
	require.NoError(t, err)
	require.Equal(t, h, got)
	require.Equal(t, "record batches", string(batches))

	_, _, err = ParseDeliverHeader(make([]byte, protocol.DeliverHeaderSize-1))
	require.ErrorIs(t, err, protocol.ErrInvalidRequest)
}

// TestClusterStatusOfBefore reads what a broker says that knows the first ten fields only.
func TestClusterStatusOfBefore(t *testing.T) {
	var got ClusterStatus
	old := []byte{0x9a, 7, 0xa1, 'c', 0xa1, 'v', 9, 10, 2, 3, 1, 0xc3, 0x90}
	require.NoError(t, decode("ClusterStatus", old, got.decode))
	require.Equal(t, ClusterStatus{
		Broker: 7, Cluster: "c", Version: "v", UptimeMillis: 9, MetadataVersion: 10, MetadataLeader: 2, Replicas: 3, Leading: 1, Draining: true,
		Peers: got.Peers,
	}, got)
	require.Empty(t, got.Peers)
}
