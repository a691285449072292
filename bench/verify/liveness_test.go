package verify

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const second = time.Second

var oneAnswerASecond = LivenessBounds{Settle: 2 * second, Window: second, Least: 1, Oldest: 3 * second}

// answers are one in each second, 100 ms after it was asked for.
func answers(l *Liveness, partition int32, from, to time.Duration) {
	for at := from; at < to; at += second {
		l.Answered(partition, at+400*time.Millisecond, at+500*time.Millisecond)
	}
}

func TestLivenessFindsWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		run     func(l *Liveness)
		broken  int64
		because string
	}{
		"all is well":                     {func(l *Liveness) { l.Healthy(0); answers(l, 0, 0, 20*second); l.End(20 * second) }, 0, ""},
		"never healthy, nothing demanded": {func(l *Liveness) { l.Answered(0, 0, 15*second); l.End(20 * second) }, 0, ""},
		"silence while harmed": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 5*second)
			l.Harmed(5 * second)
			l.Healthy(10 * second)
			l.Answered(0, 5*second, 11*second)
			answers(l, 0, 12*second, 20*second)
			l.End(20 * second)
		}, 0, ""},
		"silence of two seconds while healthy": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 5*second)
			answers(l, 0, 7*second, 20*second)
			l.End(20 * second)
		}, 2, "0 answers from 5s to 6s"},
		"the load held back for two seconds": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 5*second)
			l.Held(0, 5*second, 7*second-1)
			answers(l, 0, 7*second, 20*second)
			l.End(20 * second)
		}, 0, ""},
		"it held back in one of three seconds of silence": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 5*second)
			l.Held(0, 6*second, 7*second-1)
			answers(l, 0, 8*second, 20*second)
			l.End(20 * second)
		}, 2, "0 answers from 5s to 6s"},
		"silence at the end":         {func(l *Liveness) { l.Healthy(0); answers(l, 0, 0, 18*second); l.End(20 * second) }, 2, "from 18s"},
		"silence from the beginning": {func(l *Liveness) { l.Healthy(0); l.End(4 * second) }, 2, "from 2s to 3s"},
		"it does not settle in time": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 5*second)
			l.Harmed(5 * second)
			l.Healthy(6 * second)
			answers(l, 0, 9*second, 20*second)
			l.End(20 * second)
		}, 1, "from 8s to 9s"},
		"a request waits while healthy": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 8*second)
			l.Answered(0, 4*second, 8*second)
			answers(l, 0, 8*second, 20*second)
			l.End(20 * second)
		}, 1, "waited until 8s, 4s of it in healthy times"},
		"a request waits since before it was healthy": {func(l *Liveness) {
			l.Healthy(10 * second)
			l.Answered(0, 0, 15*second)
		}, 0, ""},
		"for too long": {func(l *Liveness) {
			l.Healthy(10 * second)
			l.Answered(0, 0, 15100*time.Millisecond)
		}, 1, "3.1s of it in healthy times"},
		"a request waits on through two faults": {func(l *Liveness) {
			l.Healthy(0)
			l.Harmed(8 * second)
			l.Healthy(9 * second)
			l.Harmed(12 * second)
			l.Answered(0, 2*second, 13*second)
		}, 1, "6s of it"},
		"a request is never answered": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 20*second)
			l.Waiting(0, 10*second, 20*second)
			l.End(20 * second)
		}, 1, "is not answered, and has waited until 20s"},
		"a fault that comes before it has settled": {func(l *Liveness) {
			l.Healthy(0)
			l.Harmed(second)
			l.End(20 * second)
		}, 0, ""},
		"a long run": {func(l *Liveness) {
			l.Healthy(0)
			answers(l, 0, 0, 3*maxWindows*second)
			answers(l, 0, (3*maxWindows+1)*second, 6*maxWindows*second)
			l.End(6 * maxWindows * second)
		}, 1, "from 3m12s to 3m13s"},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLiveness(1, oneAnswerASecond)
			c.run(l)
			f := l.Findings()
			require.Equal(t, c.broken, f.Broken, "%v", f.Examples)
			if c.broken > 0 {
				require.Contains(t, f.Examples[0], c.because)
			}
		})
	}
}

func TestLivenessOfEachPartition(t *testing.T) {
	l := NewLiveness(2, oneAnswerASecond)
	l.Healthy(0)
	answers(l, 0, 0, 5*second)
	l.End(5 * second)
	f := l.Findings()
	require.Equal(t, int64(3), f.Broken)
	require.Contains(t, f.Examples[0], "partition 1: 0 answers")
	require.Equal(t, int64(5+2*3), f.Checked, "answers, and windows of both partitions")
}

// TestLivenessOfRandomRuns draws faults, has every second without one answered, and then takes the answers of one second away.
func TestLivenessOfRandomRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		run := rapid.IntRange(20, 300).Draw(t, "seconds")
		harmed := make([]bool, run) // in this second, or it has not settled in it
		fault := make([]bool, run)
		for range rapid.IntRange(0, 10).Draw(t, "faults") {
			from := rapid.IntRange(0, run-1).Draw(t, "from")
			for s := from; s < min(run, from+rapid.IntRange(1, 10).Draw(t, "for")); s++ {
				fault[s] = true
			}
		}
		for s := range harmed {
			harmed[s] = s < 2 || fault[s] || fault[s-1] || fault[s-2]
		}
		silent := rapid.IntRange(0, run-1).Draw(t, "silent")
		judge := func(silent int) int64 {
			l := NewLiveness(1, oneAnswerASecond)
			for s := range run {
				at := time.Duration(s) * second
				if fault[s] {
					l.Harmed(at)
				} else {
					l.Healthy(at)
				}
				if !harmed[s] && s != silent {
					l.Answered(0, at, at+second/2)
				}
			}
			l.End(time.Duration(run) * second)
			return l.Findings().Broken
		}
		require.Zero(t, judge(-1))
		want := int64(1)
		if harmed[silent] {
			want = 0
		}
		require.Equal(t, want, judge(silent))
	})
}
