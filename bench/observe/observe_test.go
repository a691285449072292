package observe

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fake is a broker's admin server that says what it is told to.
type fake struct {
	*httptest.Server
	text  atomic.Value // string; empty: it does not answer
	asked atomic.Value // string: the query
}

func newFake(t *testing.T) *fake {
	f := &fake{}
	f.text.Store("")
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked.Store(r.URL.RawQuery)
		if text := f.text.Load().(string); text != "" {
			_, _ = w.Write([]byte(text))
			return
		}
		<-r.Context().Done() // as one that is stopped
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) addr() string { return strings.TrimPrefix(f.URL, "http://") }

func says(started, losses, notLeader, rss int) string {
	return fmt.Sprintf(`# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.76427%04de+09
process_resident_memory_bytes %d
process_open_fds 17
go_goroutines 99
trunkline_partition_leading 4
trunkline_raft_leader_losses_total %d
trunkline_session_errors_total{code="not_leader"} %d
trunkline_session_errors_total{code="unavailable"} 1
`, started, rss, losses, notLeader)
}

// only returns brokers that never change.
func only(admin ...string) func() map[int]string {
	all := map[int]string{}
	for i, addr := range admin {
		all[i+1] = addr
	}
	return func() map[int]string { return all }
}

// still is an Observer that polls only when it is told to.
func still(f *fake, acked, delivered *int64) *Observer {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := Start(ctx, Config{Brokers: only(f.addr()), Acked: func() int64 { return *acked }, Delivered: func() int64 { return *delivered }})
	o.wg.Wait()
	o.line.samples, o.line.open = nil, Sample{}
	return o
}

func TestTotalsGoOnOverRestarts(t *testing.T) {
	f, n := newFake(t), int64(0)
	o := still(f, &n, &n)
	defer o.Close()
	poll := func(text string) {
		f.text.Store(text)
		o.poll(t.Context(), 1, f.addr())
	}
	poll(says(1, 5, 10, 100))
	before := o.Totals()
	require.EqualValues(t, 1, before["broker_starts"])
	require.EqualValues(t, 5, before["leader_losses"])
	poll(says(1, 7, 10, 300))
	poll(says(2, 1, 2, 50))  // a new process counts from 0
	poll(says(3, 9, 4, 200)) // and one that has more than the last had
	require.Equal(t, map[string]int64{
		"broker_starts": 2, "leader_losses": 12, "refused": 8, "refused_not_leader": 6, "refused_unavailable": 2,
	}, Since(o.Totals(), before))
	require.Equal(t, Footprint{1, Vitals{100, 17, 99}, Vitals{300, 17, 99}, Vitals{200, 17, 99}}, o.Report(o.begun, nil).Footprint[0])
	require.Equal(t, []Vitals{{200, 17, 99}}, o.Vitals())

	query, all := f.asked.Load().(string), o.Totals()
	require.Contains(t, query, "trunkline_fsm_snapshots_installed_total", "it asks for what it wants only")
	require.NotContains(t, all, "snapshots_installed", "what no broker shows is no zero")
	for _, damaged := range []string{"no metric at all\n", "trunkline_raft_leader_losses_total 99\n", " \n"} {
		poll(damaged)
		require.Equal(t, all, o.Totals(), "%q", damaged)
	}
}

func TestTimeline(t *testing.T) {
	f, acked, delivered := newFake(t), int64(100), int64(200)
	o := still(f, &acked, &delivered)
	defer o.Close()
	o.sample()
	f.text.Store(says(1, 0, 0, 1000))
	o.poll(t.Context(), 1, f.addr())
	acked, delivered = 150, 290
	o.sample()
	o.brokers[0].at = time.Now().Add(-time.Minute)
	o.sample()
	line := o.Report(o.begun.Add(time.Hour), nil).Timeline
	require.Len(t, line, 3)
	require.Less(t, line[0].At, -3590.0, "before the origin")
	require.Equal(t, []int64{100, 50, 0}, []int64{line[0].Acked, line[1].Acked, line[2].Acked})
	require.EqualValues(t, 90, line[1].Delivered)
	require.Equal(t, []State{{}}, line[0].Brokers)
	require.Equal(t, []State{{Answers: true, RSS: 1000, Leads: 4}}, line[1].Brokers)
	require.Equal(t, []State{{}}, line[2].Brokers, "what a broker said a minute ago says nothing of now")
}

// TestTimelineOfHours holds few samples, and of all that was counted and of the peaks nothing is missing.
func TestTimelineOfHours(t *testing.T) {
	line := timeline{stride: 1}
	const calls, peak = 4 * 3 * 3600, 12345
	for i := range int64(calls) {
		s := Sample{At: float64(i) / 4, acked: 10 * (i + 1), Brokers: []State{{Answers: true, RSS: 1}}}
		if i == peak {
			s.Brokers[0].RSS = 1000
		}
		line.add(s)
		require.Less(t, len(line.samples), maxSamples)
	}
	all := line.since(0)
	sum, top := int64(0), int64(0)
	for i, s := range all {
		sum, top = sum+s.Acked, max(top, s.Brokers[0].RSS)
		if i > 0 {
			require.InDelta(t, 4, s.At-all[i-1].At, 1e-9, "all are equally long")
		}
	}
	require.Greater(t, len(all), maxSamples/2)
	require.EqualValues(t, 10*line.stride*len(all), sum)
	require.EqualValues(t, 1000, top)
}

// TestBrokerThatHangsHoldsNobodyUp watches one that answers, one that does not and one that is not there.
func TestBrokerThatHangsHoldsNobodyUp(t *testing.T) {
	good, stopped, gone := newFake(t), newFake(t), newFake(t)
	gone.Close()
	good.text.Store(says(1, 3, 0, 1000))
	o := Start(t.Context(), Config{
		Brokers: only(stopped.addr(), good.addr(), gone.addr()), Acked: func() int64 { return 1 }, Delivered: func() int64 { return 1 },
	})
	require.Eventually(t, func() bool { return len(o.Report(o.begun, nil).Timeline) >= 3 }, 10*time.Second, 10*time.Millisecond)
	begun := time.Now()
	o.Close()
	o.Close()
	require.Less(t, time.Since(begun), patience, "it does not wait for the one that hangs")
	last := o.Report(o.begun, nil).Timeline[2].Brokers
	require.Equal(t, []State{{}, {Answers: true, RSS: 1000, Leads: 4}, {}}, last)
	require.EqualValues(t, 3, o.Totals()["leader_losses"])
}

func TestSeriesAreOfOneLabel(t *testing.T) {
	f := newFake(t)
	f.text.Store(`sent_total{peer="4",lane="bulk"} 3
sent_total{peer="4",lane="snapshot"} 5
sent_total{peer="14",lane="bulk"} 100
other_total{peer="4",lane="bulk"} 100
`)
	values, err := Series(t.Context(), f.addr(), "sent_total", `peer="4"`, "lane")
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"bulk": 3, "snapshot": 5}, values)
	f.Close()
	_, err = Series(t.Context(), f.addr(), "sent_total", `peer="4"`, "lane")
	require.Error(t, err)
}

func TestScrapeSumsOverLabelsAndCountsObservations(t *testing.T) {
	f := newFake(t)
	f.text.Store(says(1, 5, 10, 100) + `trunkline_partition_commit_seconds_bucket{topic="a",le="1"} 7
trunkline_partition_commit_seconds_sum{topic="a"} 3.5
trunkline_partition_commit_seconds_count{topic="a"} 7
trunkline_partition_commit_seconds_count{topic="b"} 4
`)
	values, err := Scrape(t.Context(), f.addr(), "trunkline_session_errors_total", "trunkline_partition_commit_seconds", "trunkline_not_there")
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"trunkline_session_errors_total": 11, "trunkline_partition_commit_seconds": 11}, values)
	require.Contains(t, f.asked.Load(), "name%5B%5D=trunkline_not_there")

	f.text.Store("nonsense\n")
	_, err = Scrape(t.Context(), f.addr(), "x")
	require.ErrorContains(t, err, `"nonsense" is no metric`)
	f.Close()
	_, err = Scrape(t.Context(), f.addr(), "x")
	require.Error(t, err)
}

// TestBrokersComeAndGo: a broker that joined is watched, and one that left holds nothing any more, but has counted.
func TestBrokersComeAndGo(t *testing.T) {
	first, second := newFake(t), newFake(t)
	first.text.Store(says(1, 3, 0, 1000))
	second.text.Store(says(2, 4, 0, 500))
	var there atomic.Value
	there.Store(map[int]string{1: first.addr()})
	none := func() int64 { return 0 }
	o := Start(t.Context(), Config{Brokers: func() map[int]string { return there.Load().(map[int]string) }, Acked: none, Delivered: none})
	defer o.Close()
	vitals := func(want ...Vitals) {
		require.Eventually(t, func() bool { return slices.Equal(want, o.Vitals()) }, 10*time.Second, 10*time.Millisecond, "%v", want)
	}
	vitals(Vitals{1000, 17, 99})
	there.Store(map[int]string{1: first.addr(), 2: second.addr()})
	vitals(Vitals{1000, 17, 99}, Vitals{500, 17, 99})
	there.Store(map[int]string{2: second.addr()})
	vitals(Vitals{}, Vitals{500, 17, 99})
	o.Close()
	r := o.Report(o.begun, nil)
	require.EqualValues(t, 7, r.Totals["leader_losses"])
	require.Equal(t, Footprint{1, Vitals{1000, 17, 99}, Vitals{1000, 17, 99}, Vitals{1000, 17, 99}}, r.Footprint[0])
}
