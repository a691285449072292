package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// TestMeasuredFindsSlowdown compares tails of a second with those before: what is allowed passes, what is more is told in words and counted.
func TestMeasuredFindsSlowdown(t *testing.T) {
	m := newMeasured("test", 1)
	m.calm, m.calmAck = tail{P99: 100 * time.Millisecond}, tail{P99: 40 * time.Millisecond}
	m.compare(tail{P99: 50 * time.Millisecond}, tail{P99: 120 * time.Millisecond, Max: time.Second}, 1.25)
	require.Empty(t, m.Violations(), "a single slow message is no slowdown that lasts")
	m.compare(tail{P99: 50 * time.Millisecond}, tail{P99: 130 * time.Millisecond}, 1.25)
	require.Len(t, m.Violations(), 1)
	require.Contains(t, m.Violations()[0], "delivery p99 130ms, it was 100ms without harm: 1.30 times")
	m.compare(tail{P99: 60 * time.Millisecond}, tail{P99: 100 * time.Millisecond}, 1.25)
	require.Contains(t, m.Violations()[1], "acknowledgement")
	require.Equal(t, int64(2), m.Counts()["test_broken"])

	m.calm, m.calmAck = tail{P99: 4 * time.Millisecond}, tail{P99: 4 * time.Millisecond}
	m.compare(tail{P99: 4*time.Millisecond + grain}, tail{P99: 4*time.Millisecond + grain}, 1.25)
	require.Len(t, m.Violations(), 2, "short times differ more than that without any harm")
}

// TestPaceOfRows: the slowest row counts, and most go as fast as they can.
func TestPaceOfRows(t *testing.T) {
	require.Equal(t, rate.Inf, paceOf([]string{"none", "leader"}))
	require.Equal(t, rate.Limit(fivePace), paceOf([]string{"none", "ring"}))
}
