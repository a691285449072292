package chaos

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestGaugeOfKnownTimes gives a gauge three seconds of messages: of the first second 2 % take long, of the second one all do, and one of the
// third never comes.
func TestGaugeOfKnownTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGauge(100)
		begin := g.begin
		took := func(k int) time.Duration {
			switch {
			case k == 50 || k == 60:
				return 30 * time.Millisecond
			case k >= 100 && k < 200:
				return 80 * time.Millisecond
			}
			return 5 * time.Millisecond
		}
		for k := range 299 {
			go func() {
				time.Sleep(time.Until(g.due(k)) + took(k))
				g.ackedNow(k)
				g.ackedNow(k) // what comes again changes nothing
				time.Sleep(time.Millisecond)
				g.deliveredNow(k)
			}()
		}
		time.Sleep(10 * time.Second)
		acks, deliveries := g.tails(window{begin, begin.Add(time.Second)})
		require.Equal(t, tail{30 * time.Millisecond, 30 * time.Millisecond}, acks)
		require.Equal(t, tail{31 * time.Millisecond, 31 * time.Millisecond}, deliveries)
		acks, _ = g.tails(window{begin.Add(time.Second), begin.Add(2 * time.Second)})
		require.Equal(t, tail{80 * time.Millisecond, 80 * time.Millisecond}, acks)
		acks, _ = g.tails(window{begin, begin.Add(3*time.Second + time.Millisecond)})
		require.Equal(t, 80*time.Millisecond, acks.P99, "the median of 30 ms, 80 ms and what is missing")
		require.Equal(t, 10*time.Second-2990*time.Millisecond, acks.Max, "the one that did not come, until now")
		acks, _ = g.tails(window{begin, begin.Add(999 * time.Millisecond)})
		require.Zero(t, acks, "no whole second")
		first, second := window{begin, begin.Add(time.Second)}, window{begin.Add(time.Second), begin.Add(2 * time.Second)}
		acks, _ = g.tails(first, window{begin, begin}, second)
		require.Equal(t, tail{80 * time.Millisecond, 80 * time.Millisecond}, acks, "both together")
	})
}
