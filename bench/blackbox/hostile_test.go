package blackbox

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/hostile"
)

// TestHostileFrames is the short form of `trunkbench hostile`.
func TestHostileFrames(t *testing.T) {
	res, err := hostile.Run(deadline(t, 2*time.Minute), hostile.Options{
		Binary: filepath.Join(binaries, "trunklined"), Frames: 50_000, Seed: 7, Progress: t.Output(),
	})
	require.NoError(t, err)
	require.Empty(t, res.Violations)
	require.GreaterOrEqual(t, res.Frames, int64(50_000))
	require.NotZero(t, res.Handshakes)
	require.NotZero(t, res.Datagrams)
	require.NotZero(t, res.TCP)
	for _, answer := range []string{"produce-ack", "unexpected_frame", "frame_too_large", "corrupt_batch", "invalid_request"} {
		require.NotZero(t, res.Answers[answer], "%s is among what the attack must draw: %v", answer, res.Answers)
	}
}
