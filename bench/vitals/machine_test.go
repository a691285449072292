package vitals

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMachine(t *testing.T) {
	before, err := parseMachine("cpu  100 0 50 800 50 0 0 0 0 0")
	require.NoError(t, err)
	require.Equal(t, Machine{Total: 10 * time.Second, Idle: 8500 * time.Millisecond}, before)
	after, err := parseMachine("cpu  140 0 60 820 60 0 0 20 7 0")
	require.NoError(t, err)
	busy, stolen := after.Since(before)
	require.InDelta(t, 0.7, busy, 1e-9, "100 ticks went by, 30 of them idle")
	require.InDelta(t, 0.2, stolen, 1e-9)

	busy, stolen = after.Since(after)
	require.Zero(t, busy+stolen)

	for _, wrong := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3 4 5 6 7", "cpu 1 2 x 4 5 6 7 8"} {
		_, err := parseMachine(wrong)
		require.Error(t, err, wrong)
	}
}

// TestReadMachine burns some time, which this machine must have noticed.
func TestReadMachine(t *testing.T) {
	before, err := ReadMachine()
	require.NoError(t, err)
	for begin := time.Now(); time.Since(begin) < 100*time.Millisecond; {
	}
	after, err := ReadMachine()
	require.NoError(t, err)
	busy, stolen := after.Since(before)
	require.Positive(t, busy)
	require.LessOrEqual(t, busy, 1.0)
	require.GreaterOrEqual(t, stolen, 0.0)
}
