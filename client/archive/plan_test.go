package archive

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// TestSalvageTakesWhatIsReady: a replica that is starting may have more than those that answer, so nothing is planned without it;
// a broker that does not answer is done without.
func TestSalvageTakesWhatIsReady(t *testing.T) {
	ready := client.ReplicaState{Broker: 1, Start: 5, Next: 90, Applied: 70, Epoch: 3}
	ahead := client.ReplicaState{Broker: 2, Start: 7, Next: 100, Applied: 80, Epoch: 3}
	starting := client.ReplicaState{Broker: 2, Err: client.ErrReplicaNotReady}
	silent := client.ReplicaState{Broker: 3, Err: errors.New("no answer")}
	salvage := func(states ...client.ReplicaState) (Partition, error) {
		return extent(&client.PartitionDescription{States: states}, true)
	}
	for _, states := range [][]client.ReplicaState{{silent}, {starting, silent}, {ready, starting, silent}, {starting, ready}} {
		_, err := salvage(states...)
		require.ErrorIs(t, err, &protocol.Error{Code: protocol.CodeUnavailable})
		require.False(t, lasting(err), "it is asked for again")
	}
	p, err := salvage(ready, ahead, silent)
	require.NoError(t, err)
	require.Equal(t, Partition{File: fileName(0), Start: 7, End: 100, Salvaged: &Salvage{Broker: 2, Epoch: 3, Applied: 80}}, p)
	leading := ready
	leading.Leading = true
	p, err = salvage(leading, starting, silent)
	require.NoError(t, err, "a leader has all of it")
	require.Equal(t, Partition{File: fileName(0), Start: 5, End: 90}, p)
}
