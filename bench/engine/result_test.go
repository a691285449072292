package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/workload"
)

// good is a run that nothing is wrong with.
func good() results.Run {
	return results.Run{
		Offered: 1000, PublishRate: 995, Publish: results.Latency{Count: 1000}, Loader: results.Loader{LagP99: 9999},
		About: driver.About{NoDuplicates: true, Ordered: true}, Checked: results.Checked{Acked: 1000, Redelivered: 5},
	}
}

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*results.Run)
		want   results.Verdict
	}{
		"good":             {func(*results.Run) {}, results.OK},
		"late loader":      {func(r *results.Run) { r.Loader.LagP99 = 10_001 }, results.Inconclusive},
		"rate not reached": {func(r *results.Run) { r.PublishRate = 989 }, results.Inconclusive},
		"nothing":          {func(r *results.Run) { r.Publish.Count, r.Checked.Acked = 0, 0 }, results.Failed},
		"all sent before":  {func(r *results.Run) { r.Publish.Count = 0 }, results.Inconclusive},
		"nothing in time":  {func(r *results.Run) { r.Offered, r.PublishRate = 0, 0 }, results.Inconclusive},
		"only a backlog":   {func(r *results.Run) { r.Offered, r.PublishRate, r.DrainRate = 0, 0, 1 }, results.OK},
		"lost":             {func(r *results.Run) { r.Checked.Lost = 1 }, results.Failed},
		"phantom":          {func(r *results.Run) { r.Checked.Phantom = 1 }, results.Failed},
		"duplicated":       {func(r *results.Run) { r.Checked.Duplicated = 1 }, results.Failed},
		"not promised":     {func(r *results.Run) { r.Checked.Duplicated, r.About.NoDuplicates = 1, false }, results.OK},
		"reordered":        {func(r *results.Run) { r.Checked.Reordered = 1 }, results.Failed},
		"no order":         {func(r *results.Run) { r.Checked.Reordered, r.About.Ordered = 1, false }, results.OK},
		"failures":         {func(r *results.Run) { r.Failures = 1 }, results.Failed},
		"both":             {func(r *results.Run) { r.Failures, r.PublishRate = 1, 1 }, results.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := newRun(t.Context(), newFake(), small(func(*workload.Workload) {}), Options{})
			require.NoError(t, err)
			defer r.cancel()
			out := good()
			c.change(&out)
			r.judge(&out)
			got, reasons := r.notes.verdict()
			require.Equal(t, c.want, got, reasons)
			require.Equal(t, c.want == results.OK, len(reasons) == 0)
		})
	}
}

func TestRatesOfFaultyRunsMayDip(t *testing.T) {
	w := small(func(w *workload.Workload) {
		w.Faults = []workload.Fault{{Kind: workload.Kill, Hold: 100 * ms, Repeat: 1}}
	})
	r, err := newRun(t.Context(), newFake(), w, Options{})
	require.NoError(t, err)
	defer r.cancel()
	out := good()
	out.PublishRate, out.Failures = 500, 3
	r.judge(&out)
	got, reasons := r.notes.verdict()
	require.Equal(t, results.OK, got, reasons)

	p := r.newProducer(nil, 0)
	r.producers = append(r.producers, p)
	p.sent.Add(1)
	r.judge(&out)
	got, reasons = r.notes.verdict()
	require.Equal(t, results.Failed, got)
	require.Equal(t, []string{"1 of 1 messages were never acknowledged, although their producers tried until the end"}, reasons)
}

func TestFaultsNeedOwnNodes(t *testing.T) {
	f := newFake()
	f.nodes = 0
	w := small(func(w *workload.Workload) {
		w.Faults = []workload.Fault{{Kind: workload.Kill, Hold: 100 * ms, Repeat: 1}}
	})
	_, err := Run(t.Context(), f, w, Options{})
	require.ErrorIs(t, err, driver.ErrNotOurs)
}

func TestReasonsAreBounded(t *testing.T) {
	var n notes
	for i := range 100 {
		n.fail("reason %d", i)
	}
	n.firstError(errors.New("first"))
	n.firstError(errors.New("second"))
	_, reasons := n.verdict()
	require.Len(t, reasons, reasonsMax)
	require.EqualError(t, n.first, "first")
}

func TestLatencyIsNotClipped(t *testing.T) {
	d := newDistribution(fineDigits)
	d.record(0)
	d.record(7 * 24 * time.Hour)
	for range 98 {
		d.record(1500 * time.Microsecond)
	}
	l := d.latency()
	require.EqualValues(t, 100, l.Count)
	require.Zero(t, l.Min)
	require.Equal(t, (7 * 24 * time.Hour).Microseconds(), l.Max)
	require.InDelta(t, 1500, l.P50, 2)
	require.InDelta(t, 1500, l.P99, 2)
	require.Equal(t, l.Max, l.P999)
	require.Equal(t, 100.0, l.Curve[len(l.Curve)-1][0])
	require.Zero(t, newDistribution(fineDigits).latency())
}

func TestEnvironment(t *testing.T) {
	e := Environment(t.TempDir())
	require.NotEmpty(t, e.CPU)
	require.NotEmpty(t, e.Filesystem)
	require.Contains(t, e.OS, "Linux")
	require.Positive(t, e.MemoryMiB)
	require.Positive(t, e.FsyncP50us)
	require.GreaterOrEqual(t, e.FsyncP99us, e.FsyncP50us)
	t.Log(e)
}
