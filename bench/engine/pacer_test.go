package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPlanDealsOutTheRate(t *testing.T) {
	pl := plan{begin: time.Second, until: 3 * time.Second, rate: 10, producers: 3}
	var due []time.Duration
	for i := range 2 {
		for p := range 3 {
			due = append(due, pl.due(p, i))
		}
	}
	for i, d := range due {
		require.Equal(t, time.Second+time.Duration(i)*100*time.Millisecond, d)
	}
	left := int64(0)
	for p := range 3 {
		left += pl.rest(p, 0)
	}
	require.EqualValues(t, 20, left)
	require.EqualValues(t, 0, pl.rest(0, 1000))
	require.EqualValues(t, 6, pl.rest(1, 1))
}

func TestPacerIsPreciseAndCanBeInterrupted(t *testing.T) {
	p, err := newPacer()
	require.NoError(t, err)
	defer p.close()
	best := time.Hour
	for range 100 {
		begin := time.Now()
		require.NoError(t, p.sleep(200*time.Microsecond))
		took := time.Since(begin)
		require.GreaterOrEqual(t, took, 200*time.Microsecond)
		best = min(best, took)
	}
	require.Less(t, best, 600*time.Microsecond, "the timers of Go need a millisecond")
	begin := time.Now()
	time.AfterFunc(10*time.Millisecond, p.interrupt)
	require.Error(t, p.sleep(time.Hour))
	require.Less(t, time.Since(begin), 5*time.Second)
	require.Error(t, p.sleep(time.Hour))
}

func BenchmarkPacer(b *testing.B) {
	p, err := newPacer()
	require.NoError(b, err)
	defer p.close()
	d := newDistribution(fineDigits)
	for b.Loop() {
		begin := time.Now()
		_ = p.sleep(300 * time.Microsecond)
		d.record(time.Since(begin) - 300*time.Microsecond)
	}
	b.ReportMetric(float64(d.at(50)), "late-p50-us")
	b.ReportMetric(float64(d.at(99)), "late-p99-us")
}
