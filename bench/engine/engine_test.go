package engine

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scheduled is how many messages a run of small sends: 2000 a second for half a second, and one to prime each partition.
const scheduled = 1003

// small is a workload that is over in half a second.
func small(change func(*workload.Workload)) *workload.Workload {
	w, err := workload.Parse([]byte("topics: 1\npartitionsPerTopic: 3\nmessageSize: 100\nsubscriptionsPerTopic: 1\n"+
		"consumerPerSubscription: 1\nproducersPerTopic: 2\nproducerRate: 2000\nduration: 400ms\nwarmup: 100ms\n"), "small")
	if err != nil {
		panic(err)
	}
	change(w)
	return w
}

func mustRun(t *testing.T, f *fake, w *workload.Workload) *results.Run {
	t.Helper()
	require.NoError(t, w.Validate())
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := Run(ctx, f, w, Options{System: "fake:memory", Round: 1, Seed: 7, Log: t.Logf})
	require.NoError(t, err)
	require.Empty(t, f.topics, "topics are deleted")
	return r
}

// requireSound allows for a busy machine: that a loader was late is told, and tested elsewhere.
func requireSound(t *testing.T, r *results.Run) {
	t.Helper()
	require.NotEqual(t, results.Failed, r.Verdict, r.Reasons)
}

func TestRunMeasuresAndChecks(t *testing.T) {
	r := mustRun(t, newFake(), small(func(*workload.Workload) {}))
	requireSound(t, r)
	require.InDelta(t, 2000, r.PublishRate, 400)
	require.InDelta(t, 2000, r.ConsumeRate, 400)
	require.InDelta(t, r.PublishRate/10_000, r.PublishMBps, 1e-9)
	require.EqualValues(t, 800, r.Publish.Count, "exactly the messages that were meant to be sent in the window")
	require.EqualValues(t, 800, r.EndToEnd.Count)
	require.EqualValues(t, scheduled, r.Checked.Sent)
	require.EqualValues(t, scheduled, r.Checked.Delivered)
	require.GreaterOrEqual(t, r.Publish.P50, r.Sent.P50)
	require.NotEmpty(t, r.Timeline)
	require.Len(t, r.Cost, 3)
	require.Positive(t, r.Loader.CPUSeconds)
	require.LessOrEqual(t, len(r.Publish.Curve), curvePointsMax)
	require.EqualValues(t, r.Publish.Max, r.Publish.Curve[len(r.Publish.Curve)-1][1])
}

// A stall shows in the latency from the intended time for all messages that should have left in it. From the actual send time only
// the few show that were under way: here the one for which there was room.
func TestStallOfTheSystemCountsFromTheIntendedTime(t *testing.T) {
	f := newFake()
	w := small(func(w *workload.Workload) {
		w.MaxInFlight, w.ProducerRate, w.ProducersPerTopic, w.Duration = 1, 5000, 1, time.Second
		w.Loop = workload.Open
	})
	time.AfterFunc(500*time.Millisecond, func() { f.stall(200 * time.Millisecond) })
	r := mustRun(t, f, w)
	require.Greater(t, r.Publish.P999, int64(150_000), "us")
	require.Greater(t, r.Publish.P95, int64(50_000), "a fifth of all messages waited")
	require.Less(t, r.Sent.P95, r.Publish.P95/2)
	require.Less(t, r.Loader.LagP99, int64(50_000), "the loader is not to blame")
}

// A topic that needs a while until it takes messages is no slow system.
func TestPrimingIsNotMeasured(t *testing.T) {
	f := newFake()
	f.stall(time.Second)
	began := time.Now()
	r := mustRun(t, f, small(func(*workload.Workload) {}))
	require.Greater(t, time.Since(began), 1400*time.Millisecond)
	requireSound(t, r)
	require.EqualValues(t, 800, r.Publish.Count)
	require.Less(t, r.Publish.Max, int64(400_000), "us")
}

// With few messages in flight all are under way before the time that counts; with many some are sent in it, too.
func TestNothingMeasuredIsInconclusive(t *testing.T) {
	for _, inFlight := range []int{10, 200_000} {
		f := newFake()
		f.halt = 100 // while it warms up, however slow the machine is
		r := mustRun(t, f, small(func(w *workload.Workload) { w.ProducerRate, w.Loop, w.MaxInFlight = 0, workload.Closed, inFlight }))
		require.Equal(t, results.Inconclusive, r.Verdict, r.Reasons)
		require.Contains(t, r.Reasons[0], "nothing was acknowledged within the ")
	}
}

func TestFailures(t *testing.T) {
	f := newFake()
	f.refuse = errors.New("no")
	r := mustRun(t, f, small(func(*workload.Workload) {}))
	require.Equal(t, results.Failed, r.Verdict)
	require.EqualValues(t, scheduled, r.Failures)
	require.Equal(t, "no", r.FirstError)
}

func TestTooSlowIsInconclusive(t *testing.T) {
	f := newFake()
	f.gap = time.Millisecond
	r := mustRun(t, f, small(func(*workload.Workload) {}))
	require.Equal(t, results.Inconclusive, r.Verdict)
	require.Contains(t, r.Reasons[0], "offered 2000 messages a second, but only")
	require.EqualValues(t, 800, r.Publish.Count, "what was late is measured, too")
}

func TestOneInFlightClosedLoop(t *testing.T) {
	f := newFake()
	f.gap = 5 * time.Millisecond
	r := mustRun(t, f, small(func(w *workload.Workload) {
		w.ProducerRate, w.MaxInFlight, w.Loop, w.ProducersPerTopic = 0, 1, workload.Closed, 1
	}))
	requireSound(t, r)
	require.Zero(t, r.Offered)
	require.LessOrEqual(t, r.PublishRate, 220.0)
	require.InDelta(t, 1, r.Publish.Mean/1e6*r.PublishRate, 0.3, "by Little's law: one is under way, none waits for the one before")
}

func TestReadBack(t *testing.T) {
	r := mustRun(t, newFake(), small(func(w *workload.Workload) { w.SubscriptionsPerTopic = 0 }))
	requireSound(t, r)
	require.True(t, r.Checked.Done)
	require.EqualValues(t, scheduled, r.Checked.Delivered)
	require.Zero(t, r.EndToEnd.Count)
	require.Zero(t, r.ConsumeRate)
}

func TestSearchFindsTheLimit(t *testing.T) {
	f := newFake()
	f.gap = 100 * time.Microsecond
	w := small(func(w *workload.Workload) { w.ProducerRate = 0 })
	r, err := newRun(t.Context(), f, w, Options{Log: t.Logf})
	require.NoError(t, err)
	r.tempo = tempo{saturate: 400 * ms, step: 400 * ms, settle: 100 * ms}
	got, err := r.do(t.Context())
	require.NoError(t, err)
	require.LessOrEqual(t, got.Maximum, 11_000.0, "the limit is about 10 000; a busy machine may find less")
	require.Positive(t, got.Maximum)
	require.InDelta(t, got.Maximum*0.95, got.Offered, 1)
	requireSound(t, got)
}

// A ceiling above what lasts: the steps go down to it.
func TestSearchGoesDownUntilARateLasts(t *testing.T) {
	f := newFake()
	f.gap = 60 * time.Microsecond
	w := small(func(w *workload.Workload) { w.ProducerRate = 0 })
	r, err := newRun(t.Context(), f, w, Options{Log: t.Logf})
	require.NoError(t, err)
	r.tempo = tempo{saturate: 400 * ms, step: 400 * ms, settle: 100 * ms}
	time.AfterFunc(400*ms, func() { f.slow(100 * time.Microsecond) }) // after most of the saturation
	got, err := r.do(t.Context())
	require.NoError(t, err)
	require.LessOrEqual(t, got.Maximum, 11_000.0)
	require.Positive(t, got.Maximum)
}

func TestBacklog(t *testing.T) {
	r := mustRun(t, newFake(), small(func(w *workload.Workload) {
		w.ProducerRate, w.Loop, w.MessageSize = 0, workload.Closed, 1000
		w.ConsumerBacklogSizeGB, w.BacklogDrainRatio, w.StopProducers = 0.05, 1, true
	}))
	requireSound(t, r)
	require.GreaterOrEqual(t, r.Checked.Acked, int64(50_000))
	require.Equal(t, r.Checked.Acked, r.Checked.Delivered)
	require.Positive(t, r.DrainRate)
	require.InDelta(t, r.DrainRate/1000, r.DrainMBps, 0.01)
}

func TestBacklogWhileProducersGoOn(t *testing.T) {
	r := mustRun(t, newFake(), small(func(w *workload.Workload) {
		w.ProducerRate, w.MessageSize, w.ConsumerBacklogSizeGB, w.BacklogDrainRatio = 20_000, 1000, 0.01, 1
	}))
	requireSound(t, r)
	require.Positive(t, r.DrainRate)
}

func TestFaultPauses(t *testing.T) {
	r := mustRun(t, newFake(), small(func(w *workload.Workload) {
		w.ProducersPerTopic, w.Duration = 6, 2*time.Second
		w.Faults = []workload.Fault{{
			At: 200 * time.Millisecond, Kind: workload.Kill, Hold: 300 * time.Millisecond, Repeat: 2, Every: 300 * time.Millisecond,
		}}
	}))
	requireSound(t, r)
	require.Len(t, r.Faults, 2)
	for _, f := range r.Faults {
		require.Equal(t, 1, f.Node)
		require.Equal(t, 1, f.Led)
		away := (f.Back - f.At) * 1000
		require.GreaterOrEqual(t, away, 300.0)
		require.InDelta(t, away, f.PublishPause, 100, "as long as the node was away")
		require.Less(t, f.ReturnPause, 200.0)
	}
}

func TestUndeliveredFails(t *testing.T) {
	f := newFake()
	f.deaf = true
	r, err := newRun(t.Context(), f, small(func(*workload.Workload) {}), Options{Log: t.Logf})
	require.NoError(t, err)
	r.drainIn = patience{5 * time.Second, 100 * ms}
	got, err := r.do(t.Context())
	require.NoError(t, err)
	require.Equal(t, results.Failed, got.Verdict)
	require.Contains(t, got.Reasons[0], "0 had no answer and 1003 deliveries were missing")
	require.Contains(t, got.Reasons[1], "1003 acknowledged messages were lost")
	require.EqualValues(t, scheduled, got.Checked.Lost)
}

func TestProgressIsToldOnceASecond(t *testing.T) {
	var told []Progress
	w := small(func(w *workload.Workload) { w.Duration = 1500 * ms })
	r, err := Run(t.Context(), newFake(), w, Options{Progress: func(p Progress) { told = append(told, p) }})
	require.NoError(t, err)
	require.Len(t, r.Timeline, 2)
	var measured []results.Point
	for _, p := range told {
		if p.Phase == "measure" {
			require.Equal(t, w.Duration, p.Of)
			measured = append(measured, p.Point)
		}
	}
	require.Equal(t, r.Timeline, measured)
	require.InDelta(t, 1, r.Timeline[0].At, 0.3)
	require.InDelta(t, 2000, r.Timeline[0].Published, 800)
	require.Positive(t, r.Timeline[0].PublishP99)
}

func TestEndsWithItsContext(t *testing.T) {
	f := newFake()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := Run(ctx, f, small(func(w *workload.Workload) { w.Duration = time.Minute }), Options{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 5*time.Second)
	require.Empty(t, f.topics)
}
