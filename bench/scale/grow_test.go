package scale

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFlowIsTheFastestSender: of each sender by itself, and heartbeats and votes do not count.
func TestFlowIsTheFastestSender(t *testing.T) {
	f := newFlow(4)
	at := time.Unix(1000, 0)
	f.add("a", look{at, map[string]float64{"snapshot": 100, "urgent": 7}})
	f.add("b", look{at, map[string]float64{}})
	require.Zero(t, f.most, "one look is no speed")
	f.add("a", look{at.Add(2 * time.Second), map[string]float64{"snapshot": 500, "urgent": 9000}})
	f.add("b", look{at.Add(2 * time.Second), map[string]float64{"snapshot": 500, "bulk": 100}})
	require.InDelta(t, 300, f.most, 0.001)
	f.add("a", look{at.Add(3 * time.Second), map[string]float64{"snapshot": 600, "urgent": 9000}})
	require.InDelta(t, 300, f.most, 0.001)
	require.Equal(t, map[string]float64{"snapshot": 1100, "bulk": 100, "urgent": 9000}, f.sent)
}
