package broker

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHunger: a pause or a full machine is no starving, and who starved must have been well for a while.
func TestHunger(t *testing.T) {
	judged := func(lost ...float64) bool {
		var h hunger
		for _, l := range lost {
			h.judge(l)
		}
		return h.starved
	}
	require.False(t, judged(0.3, 0.5, 0.69, 0.6))
	require.False(t, judged(0.99, 0.1, 0.99, 0.1, 0.99), "pauses")
	require.True(t, judged(0.8, 0.85))
	well := slices.Repeat([]float64{0.1}, wellWindows)
	require.True(t, judged(append([]float64{0.8, 0.8}, well[1:]...)...))
	require.False(t, judged(append([]float64{0.8, 0.8}, well...)...))
	again := append([]float64{0.8, 0.8}, well[1:]...)
	require.True(t, judged(append(append(again, 0.5), well[1:]...)...), "it must be well without a break")
}
