package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/chaos"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
)

// sample is a run of n faults, 4 s apart.
func sample(n int) *Run {
	r := &Run{
		Seed: 77, Replay: "trunkbench chaos --row leader --seed 77", Seconds: 4 * float64(n), Sent: 1_000_000, Acked: 1_000_000,
		Got: 2_000_000, ReadBack: 3_000_000, RealTime: verify.Findings{Checked: 1_000_000}, Compared: Compared{Partitions: 8, Bytes: 123_456_789}, Hit: n,
		Counts:  map[string]int64{"takeovers": int64(3 * n), "stopped": 1},
		Pause:   pause.Stats{P50: 71, P99: 312, Max: 333},
		Restart: pause.Stats{P50: 1111, P99: 2222, Max: 2223},
		Log:     []LogLine{{"WARN", "peer N is down", 17}},
		Rows: []Row{{
			Name: "leader", Matrix: "1", Doc: "SIGKILL the leader", Faults: n, Pause: pause.Stats{P50: 71, P99: 312, Max: 333},
			Limit: pause.Stats{P50: 150, P99: 400, Max: 700}, Must: []Evidence{{"takeovers", 1, -1}},
		}},
	}
	for i := range n {
		r.Faults = append(r.Faults, Fault{
			Row: "leader", Fault: "kill", Target: "leader", Victims: []int{1 + i%3}, Wait: time.Second, Hold: 500 * time.Millisecond,
			At: 4 * float64(i), Lasted: 510, Acked: 33_333, Pause: 70 + float64(i), Restart: 1100, CatchUp: 300,
		})
		r.Observed.Pauses = append(r.Observed.Pauses, observe.Pause{At: 4*float64(i) + 2, Took: 44, Partition: 3})
	}
	for i := range 16 * n {
		s := observe.Sample{At: float64(i) / 4, Acked: 2500, Delivered: 5000}
		for b := range 3 {
			s.Brokers = append(s.Brokers, observe.State{Answers: i%16 > 5 || b != (i/16)%3, RSS: int64(100+b) << 20, Leads: b + 2})
		}
		r.Observed.Timeline = append(r.Observed.Timeline, s)
	}
	r.Observed.Totals = map[string]int64{"leader_losses": 4242, "refused_not_leader": 99}
	for b := range 3 {
		v := observe.Vitals{RSS: 111 << 20, Files: 222, Goroutines: 333}
		r.Observed.Footprint = append(r.Observed.Footprint, observe.Footprint{Broker: b + 1, First: v, Most: v, Last: v})
	}
	return r
}

func html(t *testing.T, r *Run) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, HTML(&out, r))
	return out.String()
}

func TestPageShowsAllOfARun(t *testing.T) {
	page := html(t, sample(5))
	for _, want := range []string{
		"seed 77", "trunkbench chaos --row leader --seed 77", "every promise held", "1 000 000 acknowledged", "123 456 789 bytes of 8 partitions",
		"I1<", "I16<", "312 ms", "limit 400 ms", "at least 5", "takeovers: 15", "leader_losses", "4 242", "refused, by code", "peer N is down", "SIGKILL the leader",
		"33 333", "111, 111, 111", "222, 222, 222", "messages a second", "resident memory", "partitions led", ">broker 3<", ">faults<", "publish pauses",
	} {
		require.Contains(t, page, want)
	}
	require.NotContains(t, page, "FAILED")
	require.NotContains(t, page, "not checked")
	require.NotRegexp(t, `NaN|Inf\b`, page)
}

func TestPageShowsWhatCheckersFound(t *testing.T) {
	r := sample(2)
	r.Checks = map[string]verify.Findings{"liveness": {Checked: 7_777}, "hygiene": {Checked: 3, Broken: 2}, "turns": {}}
	r.Rows[0].Seen = map[string]int64{"takeovers": 1}
	page := html(t, r)
	for _, want := range []string{"7 777 requests and windows", "3 looks and lines", "not checked", "takeovers: 1 "} {
		require.Contains(t, page, want)
	}
	broken := map[string]int64{}
	for _, p := range r.promises() {
		broken[p.Number] += p.Broken
	}
	require.EqualValues(t, 2, broken["I14"])
	require.EqualValues(t, 1, broken["I16"], "two faults, one takeover")
}

func TestBrokenPromisesAreSeen(t *testing.T) {
	r := sample(2)
	r.Lost, r.Counts["takeovers"] = 7, 1
	r.Rows[0].Pause.Max, r.Rows[0].Slow = 900, []string{"publish pause max 900 ms, allowed are 700"}
	r.Violations = []string{"producer 3 message 12 is lost"}
	r.Faults[1].Restart, r.Faults[1].CatchUp = 0, 0
	page := html(t, r)
	require.Contains(t, page, "FAILED")
	require.Contains(t, page, "producer 3 message 12 is lost")
	require.Equal(t, 3, strings.Count(page, `<span class="badge no">broken`), "lost, did not come back, evidence")
	require.Regexp(t, `class="worse">900 ms`, page)
	require.Regexp(t, `class="worse">takeovers: 1 `, page)
	require.Contains(t, page, "next fault came before")
}

// TestRunThatBrokeOff shows nothing as kept that was not looked at.
func TestRunThatBrokeOff(t *testing.T) {
	r := sample(1)
	r.Compared, r.ReadBack, r.Violations = Compared{}, 0, []string{"broker 2 ended by itself"}
	require.Equal(t, 4, strings.Count(html(t, r), "not checked"), "I1, I3, I10, I13")

	for _, p := range (&Run{}).promises() {
		if p.Number != "I7" {
			require.Equal(t, "open", p.State(), p.Number)
		}
	}
	empty := html(t, &Run{})
	require.Contains(t, empty, "No fault was made")
	require.NotContains(t, empty, "<figure")

	r = sample(3)
	r.Observed = observe.Report{}
	require.Contains(t, html(t, r), ">faults<", "faults have times without any observer")
	r = sample(3)
	r.Faults, r.Rows = nil, nil
	require.Contains(t, html(t, r), "messages a second", "and the load without any fault")
	r.Observed.Timeline = r.Observed.Timeline[:1]
	require.NotRegexp(t, `NaN|Inf\b`, html(t, r))
	r = sample(2)
	r.Faults[0].Victims = nil
	require.Contains(t, html(t, r), "none of them")
}

func TestTextOfOthersIsEscaped(t *testing.T) {
	evil := `<script>alert("x")</script><img src=x>`
	r := sample(1)
	r.Replay, r.Rows[0].Name, r.Faults[0].Row, r.Rows[0].Doc, r.Violations = evil, evil, evil, evil, []string{evil}
	r.Log[0].Message, r.Observed.Totals[evil], r.Rows[0].Must[0].Counter, r.Rows[0].Broken = evil, 1, evil, []string{evil}
	var matrix bytes.Buffer
	require.NoError(t, Matrix(&matrix, []Entry{{r, "javascript:alert(1)"}}))
	for _, page := range []string{html(t, r), matrix.String()} {
		require.NotContains(t, page, "<script>alert")
		require.NotContains(t, page, "<img")
		require.NotContains(t, page, `"javascript:`)
		for _, m := range regexp.MustCompile(`https?://[^"' )]+`).FindAllString(page, -1) {
			require.Contains(t, []string{"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, m, "no network")
		}
		require.NotRegexp(t, `<(link|iframe)\b|src="|@import|url\(`, page)
	}
}

func TestPagesOfAMatrix(t *testing.T) {
	good, bad, empty := sample(3), sample(2), &Run{Seed: 5}
	bad.Violations, bad.Rows[0].Name = []string{"7 messages are lost"}, "powercut"
	dir := filepath.Join(t.TempDir(), "new", "dir")
	index, err := Leave(dir, []*Run{good, bad, empty})
	require.NoError(t, err)
	text, err := os.ReadFile(index)
	require.NoError(t, err)
	overview := string(text)
	for _, want := range []string{"7 messages are lost", "SIGKILL the leader", "limit 400 ms", "takeovers: 9", "no fault", "seed 77"} {
		require.Contains(t, overview, want)
	}
	links := regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(overview, -1)
	require.Len(t, links, 3)
	for _, l := range links {
		require.FileExists(t, filepath.Join(dir, l[1]))
	}
	var none bytes.Buffer
	require.NoError(t, Matrix(&none, nil))
	require.Contains(t, none.String(), "There are no runs")
}

func TestLongRunIsASmallPage(t *testing.T) {
	page := html(t, sample(1000))
	require.Less(t, len(page), 2<<20)
	require.NotContains(t, page, "<details open", "a long table is folded")
}

// TestReportKnowsAllOfAResult finds what was added to a result and is in no page.
func TestReportKnowsAllOfAResult(t *testing.T) {
	text, err := json.Marshal(chaos.Result{Faults: []chaos.Injected{{}}, Rows: []chaos.RowResult{{Must: []chaos.Evidence{{}}}}, Log: []chaos.LogLine{{}}})
	require.NoError(t, err)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&Run{}))

	path := filepath.Join(t.TempDir(), "result.json")
	require.NoError(t, os.WriteFile(path, text, 0o600))
	r, err := Read(path)
	require.NoError(t, err)
	require.Len(t, r.Faults, 1)
	_, err = Read(path + "x")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte(`{"seed":"x"}`), 0o600))
	_, err = Read(path)
	require.ErrorContains(t, err, "result.json: chaos report: this is no result")
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1 000", -1_234_567: "-1 234 567"} {
		require.Equal(t, want, count(n), fmt.Sprint(n))
	}
}
