package results

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// run is a run whose every figure follows from a rate and a latency that a reader can compute with.
func run(system, workload string, round int, rate float64, p99 int64) Run {
	return Run{
		System: system, Workload: workload, Round: round, Verdict: OK, Seconds: 10,
		PublishRate: rate, PublishMBps: rate / 1000, ConsumeRate: rate,
		Publish:  Latency{Count: 100, P50: p99 / 10, P99: p99, P999: 2 * p99, Max: 3 * p99},
		EndToEnd: Latency{Count: 100, P50: p99 / 5, P99: 2 * p99},
		Cost:     []Cost{{Node: 1, CPUSeconds: 2, RSSMaxMiB: 100, BytesWritten: 1e6}, {Node: 2, CPUSeconds: 3, RSSMaxMiB: 140, BytesWritten: 2e6}},
	}
}

func threeRounds() *File {
	return &File{
		Schema: Schema, Created: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Command: "trunkbench compare",
		Runs: []Run{
			run("peer:safe", "w", 1, 100_000, 8000), run("trunkline:default", "w", 1, 400_000, 2000),
			run("peer:safe", "w", 2, 120_000, 6000), run("trunkline:default", "w", 2, 420_000, 2000),
			run("peer:safe", "w", 3, 80_000, 9000), run("trunkline:default", "w", 3, 400_000, 1000),
		},
	}
}

func TestRatiosArePairedByRound(t *testing.T) {
	c := Compare(threeRounds())
	require.Len(t, c.Blocks, 1)
	ours, peer := c.Blocks[0].Columns[0], c.Blocks[0].Columns[1]
	require.Equal(t, "trunkline:default", ours.System, "ours is first, whatever ran first")
	require.Equal(t, Cell{Median: 400_000, Min: 400_000, Max: 420_000, Rounds: 3}, ours.Cells["publish_rate"])
	// 400/100, 420/120, 400/80: 4, 3.5, 5.
	require.Equal(t, &Ratio{Median: 4, Min: 3.5, Max: 5, Rounds: 3, Paired: true}, peer.Cells["publish_rate"].Ratio)
	// Lower is better: 8/2, 6/2, 9/1: 4, 3, 9.
	require.Equal(t, &Ratio{Median: 4, Min: 3, Max: 9, Rounds: 3, Paired: true}, peer.Cells["publish_p99"].Ratio)
	require.Equal(t, 8000.0, peer.Cells["publish_p99"].Median)
	// 5 s of CPU over 100 000 messages a second for 10 s; 3 MB written over 100 MB/s for 10 s.
	cpu, ok := figure(t, "cpu").Of(&threeRounds().Runs[0])
	require.True(t, ok)
	require.InDelta(t, 5, cpu, 1e-9)
	written, _ := figure(t, "written").Of(&threeRounds().Runs[0])
	require.InDelta(t, 0.003, written, 1e-9)
	require.Equal(t, 140.0, peer.Cells["rss"].Median)
	require.Nil(t, peer.Cells["loader_lag"].Ratio, "the loader is nobody's merit")
	require.NotContains(t, peer.Cells, "drain_rate")
	require.NotContains(t, peer.Cells, "publish_pause_max")
}

func TestRoundsThatAreNotOKCountNowhere(t *testing.T) {
	f := threeRounds()
	f.Runs[1].Verdict, f.Runs[1].Reasons = Inconclusive, []string{"the loader was late"} // ours in round 1
	f.Runs[4].Verdict, f.Runs[4].Reasons = Failed, []string{"7 lost"}                    // the peer in round 3
	c := Compare(f)
	ours, peer := c.Blocks[0].Columns[0], c.Blocks[0].Columns[1]
	require.Equal(t, &Ratio{Median: 3.5, Min: 3.5, Max: 3.5, Rounds: 1, Paired: true}, peer.Cells["publish_rate"].Ratio)
	require.Equal(t, Cell{Median: 410_000, Min: 400_000, Max: 420_000, Rounds: 2}, ours.Cells["publish_rate"])
	require.Equal(t, 110_000.0, peer.Cells["publish_rate"].Median)
	require.Equal(t, []string{"round 3 failed: 7 lost"}, peer.Reasons)
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	require.Contains(t, out.String(), "2 of 3")
	require.Contains(t, out.String(), "trunkline:default, round 1 inconclusive: the loader was late")
}

func TestPausesOfAllRoundsAreOneDistribution(t *testing.T) {
	f := threeRounds()
	for i := range f.Runs {
		for k := range 5 {
			ms := float64(10 * (f.Runs[i].Round*5 + k)) // 50 ms to 190 ms over three rounds
			f.Runs[i].Faults = append(f.Runs[i].Faults, Fault{Kind: "kill", Led: 3, PublishPause: ms, DeliveryPause: 2 * ms})
		}
		f.Runs[i].Faults = append(f.Runs[i].Faults, Fault{Kind: "kill", Led: 0, PublishPause: 9999})
	}
	cells := Compare(f).Blocks[0].Columns[1].Cells
	require.Equal(t, 120_000.0, cells["publish_pause_p50"].Median, "the 8th of 15")
	require.Equal(t, 70_000.0, cells["publish_pause_p50"].Min)
	require.Equal(t, 190_000.0, cells["publish_pause_max"].Median, "a node that led nothing interrupts nobody")
	require.Equal(t, 380_000.0, cells["delivery_pause_p99"].Median)
	require.Equal(t, 1.0, cells["publish_pause_p50"].Ratio.Median)
}

func TestFilesOfDifferentTimesHaveNoPairedRatio(t *testing.T) {
	a, b := threeRounds(), threeRounds()
	for i := range b.Runs {
		b.Runs[i].PublishRate *= 2
		b.Runs[i].Spec = map[string]any{"Doc": "another", "messageSize": 7}
	}
	b.NotMeasured = []NotMeasured{{System: "kafka:default", Why: "no java"}}
	c := Compare(a, b)
	require.Equal(t, "A", c.Files[0].Letter)
	columns := c.Blocks[0].Columns
	require.Len(t, columns, 5)
	require.Equal(t, "trunkline:default [B]", columns[2].Label)
	require.Equal(t, &Ratio{Median: 0.5, Min: 0.5, Max: 0.5, Rounds: 1}, columns[2].Cells["publish_rate"].Ratio)
	require.True(t, columns[3].Cells["publish_rate"].Ratio.Paired, "within B the rounds are B's own")
	require.Equal(t, "no java", columns[4].NotMeasured)
	require.NotEmpty(t, c.Blocks[0].Note)
	var out bytes.Buffer
	require.NoError(t, c.Print(&out))
	for _, want := range []string{"different times", "~0.50x", "kafka:default [B]: not measured, no java", "[B] 2026-11-22 12:00"} {
		require.Contains(t, out.String(), want)
	}
}

func TestPrintFitsATerminal(t *testing.T) {
	f := threeRounds()
	for _, peer := range []string{"jetstream:fsync-always", "kafka:flush-every-message", "rabbitmq:default", "kafka:default"} {
		for round := 1; round <= 3; round++ {
			f.Runs = append(f.Runs, run(peer, "w", round, 12_345.678*float64(round), 123_456))
		}
	}
	var out bytes.Buffer
	require.NoError(t, Compare(f).Print(&out))
	for _, line := range strings.Split(out.String(), "\n") {
		require.LessOrEqual(t, utf8.RuneCountInString(line), Width, line)
	}
	require.Contains(t, out.String(), "4.0x (3.5..5.0)")
	require.Equal(t, 3, strings.Count(out.String(), "rounds that count"), "five peers are three bands of two")
}

func TestPrintOfNothing(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, Compare(&File{NotMeasured: []NotMeasured{{System: "kafka:default", Why: "no java"}}}).Print(&out))
	require.Equal(t, "no runs\nkafka:default: not measured, no java\n", out.String())
}

func TestFormat(t *testing.T) {
	require.Equal(t, "142 k/s", PerSecond.Format(141_532))
	require.Equal(t, "9876 /s", PerSecond.Format(9876.4))
	require.Equal(t, "1.24 ms (1.20..1.31)", Microseconds.FormatSpread(1240, 1201, 1309))
	require.Equal(t, "845 us", Microseconds.FormatSpread(845, 845, 845))
	require.Equal(t, "0 us", Microseconds.Format(0))
	require.Equal(t, "0.003", BytesPerByte.Format(0.003))
	require.Equal(t, "12.0 MB/s", MBPerSecond.Format(11.996))
	require.Equal(t, "0.24x", Ratio{Median: 0.238, Min: 0.238, Max: 0.238, Paired: true}.String())
	require.Equal(t, "4.2x (3.9..4.6)", Ratio{Median: 4.21, Min: 3.88, Max: 4.58, Paired: true}.String())
}

func TestMedianAndQuantile(t *testing.T) {
	values := []float64{9, 1, 5, 3}
	require.Equal(t, 4.0, Median(values))
	require.Equal(t, []float64{9, 1, 5, 3}, values)
	require.Equal(t, 3.0, Quantile(values, 0.5))
	require.Equal(t, 9.0, Quantile(values, 0.76))
	require.Equal(t, 1.0, Quantile(values, 0))
	require.Zero(t, Quantile(nil, 0.5))
}

func TestWriteIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	f := threeRounds()
	require.NoError(t, f.Write(path))
	got, err := Read(path)
	require.NoError(t, err)
	require.Equal(t, f, got)
	// What cannot be written leaves the old file and nothing beside it.
	f.Runs[0].PublishRate = math.NaN()
	require.Error(t, f.Write(path))
	got, err = Read(path)
	require.NoError(t, err)
	require.Equal(t, 100_000.0, got.Runs[0].PublishRate)
	require.Error(t, f.Write(filepath.Join(path, "no such folder")))
	all, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestReadRefuses(t *testing.T) {
	good, err := json.Marshal(threeRounds())
	require.NoError(t, err)
	change := func(from, to string) string { return strings.Replace(string(good), from, to, 1) }
	for name, c := range map[string]struct {
		data string
		want error
		says string
	}{
		"empty":       {"", ErrForeign, "name the JSON file"},
		"a list":      {"[1,2]", ErrForeign, "name the JSON file"},
		"other JSON":  {`{"name":"x"}`, ErrForeign, "no schema"},
		"newer":       {change(`"schema":1`, `"schema":99`), ErrNewer, "schema 99"},
		"cut":         {string(good[:len(good)/2]), ErrDamaged, "another copy"},
		"wrong type":  {change(`"round":1`, `"round":"one"`), ErrDamaged, "another copy"},
		"no round":    {change(`"round":1`, `"round":0`), ErrDamaged, "run 1"},
		"no verdict":  {change(`"verdict":"ok"`, `"verdict":"fine"`), ErrDamaged, `"fine"`},
		"twice":       {change(`"round":2`, `"round":1`), ErrDamaged, "second one"},
		"after it":    {string(good) + "{}", ErrDamaged, "another copy"},
		"no schema 0": {change(`"schema":1`, `"schema":0`), ErrForeign, "no schema"},
	} {
		path := filepath.Join(t.TempDir(), "x.json")
		require.NoError(t, os.WriteFile(path, []byte(c.data), 0o600))
		_, err := Read(path)
		require.ErrorIs(t, err, c.want, name)
		require.ErrorContains(t, err, c.says, name)
		require.ErrorContains(t, err, path, name)
	}
	_, err = Read(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// FuzzRead: whatever is read can be compared, printed and written again.
func FuzzRead(f *testing.F) {
	good, err := json.Marshal(threeRounds())
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"schema":1,"runs":[{"system":"a","workload":"b","round":1,"verdict":"ok","publish_per_second":-1e300}]}`))
	f.Add([]byte(`{"schema":1,"runs":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parse(data)
		if err != nil {
			return
		}
		require.NoError(t, Compare(file, file).Print(&bytes.Buffer{}))
		again, err := json.Marshal(file)
		require.NoError(t, err)
		_, err = parse(again)
		require.NoError(t, err)
	})
}

func figure(t *testing.T, key string) Figure {
	t.Helper()
	f, ok := FigureOf(key)
	require.True(t, ok)
	return f
}
