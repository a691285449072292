package main

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// fakeLevels is a cluster whose brokers say what they understand.
type fakeLevels struct {
	brokers []client.BrokerStatus
	asked   []protocol.Level
	err     error
}

func (f *fakeLevels) ClusterStatus(context.Context) ([]client.BrokerStatus, error) {
	return f.brokers, nil
}

func (f *fakeLevels) RaiseLevel(_ context.Context, level protocol.Level) (protocol.Level, error) {
	f.asked = append(f.asked, level)
	return level, f.err
}

// levelsOf is a cluster at a level; a highest of 0 is a broker that does not answer.
func levelsOf(level protocol.Level, highest ...protocol.Level) *fakeLevels {
	f := &fakeLevels{}
	for i, h := range highest {
		b := client.BrokerStatus{Broker: client.Broker{ID: protocol.BrokerID(i + 1)}, Version: map[protocol.Level]string{1: "v1", 2: "v2", 3: "v3"}[h],
			Level: level, Levels: protocol.Levels{Lowest: 1, Highest: h}}
		if h == 0 {
			b = client.BrokerStatus{Broker: b.Broker, Err: errors.New("no connection")}
		}
		f.brokers = append(f.brokers, b)
	}
	return f
}

func TestFinalize(t *testing.T) {
	for name, tc := range map[string]struct {
		cluster *fakeLevels
		dryRun  bool
		asked   []protocol.Level
		says    string
	}{
		"due":       {cluster: levelsOf(1, 2, 2, 2), asked: []protocol.Level{2}, says: "Raised from level 1 to level 2"},
		"dry":       {cluster: levelsOf(1, 2, 2, 2), dryRun: true, says: "The cluster is at level 1; all brokers understand level 2."},
		"done":      {cluster: levelsOf(2, 2, 2, 2), says: "The cluster is at level 2, the highest that its brokers understand."},
		"held back": {cluster: levelsOf(1, 2, 1, 2), says: "The cluster stays at level 1. Level 2 is held back: broker 2 runs release v1, which understands level 1."},
		"silent":    {cluster: levelsOf(1, 2, 0, 2), says: "Level 2 is held back: broker 2 does not answer."},
		"half way": {cluster: levelsOf(1, 3, 2, 3), asked: []protocol.Level{2},
			says: "Level 3 is held back: broker 2 runs release v2, which understands levels 1 to 2."},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := finalize(t.Context(), tc.cluster, tc.dryRun)
			require.NoError(t, err)
			require.Equal(t, tc.asked, tc.cluster.asked)
			var out bytes.Buffer
			require.NoError(t, r.print(&out))
			require.Contains(t, out.String(), tc.says)
		})
	}
	f := levelsOf(1, 2, 2)
	f.err = errors.New("refused")
	_, err := finalize(t.Context(), f, false)
	require.ErrorIs(t, err, f.err)
}
