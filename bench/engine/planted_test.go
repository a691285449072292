package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/planted"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/workload"
)

// onPlanted runs a workload on a system that misbehaves as its profile says.
func onPlanted(t *testing.T, profile string, w *workload.Workload) *results.Run {
	t.Helper()
	sys, err := planted.Driver{}.Open(t.Context(), driver.Options{Profile: profile, Nodes: 3, Dir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, sys.Close(context.Background())) }()
	r, err := newRun(t.Context(), sys, w, Options{Log: t.Logf})
	require.NoError(t, err)
	r.drainIn = patience{5 * time.Second, 200 * ms}
	got, err := r.do(t.Context())
	require.NoError(t, err)
	return got
}

func TestEveryBrokenPromiseFailsTheRun(t *testing.T) {
	for profile, broken := range map[string]func(results.Checked) int64{
		"sound":      nil,
		"loses":      func(c results.Checked) int64 { return c.Lost },
		"duplicates": func(c results.Checked) int64 { return c.Duplicated },
		"reorders":   func(c results.Checked) int64 { return c.Reordered },
		"damages":    func(c results.Checked) int64 { return c.Phantom },
	} {
		t.Run(profile, func(t *testing.T) {
			got := onPlanted(t, profile, small(func(w *workload.Workload) { w.ProducerRate, w.Loop = 0, workload.Closed }))
			if broken == nil {
				requireSound(t, got)
				return
			}
			require.Equal(t, results.Failed, got.Verdict)
			require.Positive(t, broken(got.Checked))
		})
	}
}

func BenchmarkPlanted(b *testing.B) {
	sys, err := planted.Driver{}.Open(b.Context(), driver.Options{Profile: "sound", Nodes: 3, Dir: b.TempDir()})
	require.NoError(b, err)
	defer func() { require.NoError(b, sys.Close(context.Background())) }()
	w := small(func(w *workload.Workload) {
		w.ProducerRate, w.Loop, w.MessageSize, w.Duration = 0, workload.Closed, 256, time.Second
	})
	for b.Loop() {
		r, err := Run(b.Context(), sys, w, Options{})
		require.NoError(b, err)
		b.ReportMetric(r.PublishRate, "messages/s")
	}
}
