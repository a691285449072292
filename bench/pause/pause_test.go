package pause

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPauseIsTheLongestTimeWithoutAnAnswerWhileRecordsWait(t *testing.T) {
	p := New()
	t0 := time.Unix(1000, 0)
	at := func(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }
	p.Sent(0, at(0))
	p.Answered(0, at(2))
	p.Sent(0, at(500)) // nothing waited for half a second: no pause
	p.Sent(0, at(510))
	p.Answered(0, at(620))
	p.Answered(0, at(621))
	p.Sent(1, at(500))
	p.Answered(1, at(900))
	require.Equal(t, 120*time.Millisecond, p.Longest([]int32{0}, at(600), at(700)))
	require.Equal(t, 400*time.Millisecond, p.Longest([]int32{0, 1}, at(600), at(700)))
	require.Zero(t, p.Longest([]int32{0, 1}, at(0), at(400)))
	require.Zero(t, p.Longest([]int32{0, 1}, at(950), at(2000)))
}

func TestLongestGapsByTheirBeginning(t *testing.T) {
	p := New()
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	for i, long := range []int{10, 300, 50, 200} {
		p.Sent(int32(i%2), at(1000*i))
		p.Answered(int32(i%2), at(1000*i+long))
	}
	p.Sent(0, at(9000)) // goes on
	require.Equal(t, []Gap{{1, at(1000), at(1300)}, {0, at(2000), at(2050)}, {1, at(3000), at(3200)}}, p.Longer(50*time.Millisecond, 10))
	require.Equal(t, []Gap{{1, at(1000), at(1300)}, {1, at(3000), at(3200)}}, p.Longer(0, 2))
	require.Empty(t, p.Longer(time.Second, 10))
}

func TestStats(t *testing.T) {
	require.Equal(t, Stats{}, Of(nil))
	values := []time.Duration{3 * time.Millisecond, time.Millisecond, 2 * time.Millisecond}
	require.Equal(t, Stats{P50: 2, P99: 3, Max: 3}, Of(values))
	require.Equal(t, 3*time.Millisecond, values[0], "the caller's order stays")
}
