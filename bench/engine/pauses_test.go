package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
)

const ms = time.Millisecond

func TestPauseNeedsSomethingThatWaits(t *testing.T) {
	p := newPauses(0, 1)
	p.sent(0, 10*ms)
	p.answered(0, 12*ms, true)
	p.sent(0, 500*ms) // idle until here: no pause
	p.sent(0, 510*ms)
	p.answered(0, 600*ms, true)
	p.answered(0, 640*ms, true)
	all := gap{0, time.Second}
	require.Equal(t, 100*ms, p.publishing([]int{0}, all, time.Second))
	require.Equal(t, 40*ms, p.publishing([]int{0}, gap{610 * ms, time.Second}, time.Second))
	require.Equal(t, 50*ms, p.within(gap{0, 550 * ms}, time.Second), "only the part inside")
}

func TestPauseThatNeverEnds(t *testing.T) {
	p := newPauses(0, 2)
	p.sent(1, 10*ms)
	require.Equal(t, 990*ms, p.publishing([]int{0, 1}, gap{20 * ms, 30 * ms}, time.Second))
	require.Zero(t, p.publishing([]int{0}, gap{20 * ms, 30 * ms}, time.Second), "another partition")
	p.answered(1, 20*ms, false)
	require.Zero(t, p.publishing([]int{1}, gap{20 * ms, 30 * ms}, time.Second), "refused: nothing waits any more")
}

func TestDeliveryPause(t *testing.T) {
	p := newPauses(1, 1)
	deliver := func(offset int64, at time.Duration) { p.delivered(0, 0, &driver.Delivery{Offset: offset}, at) }
	p.sent(0, 0)
	deliver(0, 10*ms) // before its acknowledgement
	p.answered(0, 11*ms, true)
	p.sent(0, 20*ms)
	p.answered(0, 21*ms, true)
	deliver(0, 60*ms) // again: not what is waited for
	deliver(1, 121*ms)
	require.Equal(t, 100*ms, p.delivering([]int{0}, gap{0, time.Second}, time.Second))
}
