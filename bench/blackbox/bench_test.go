package blackbox

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/results"
)

// bench runs trunkbench and returns its results file, whatever its exit code.
func bench(t *testing.T, args ...string) (*results.File, string, error) {
	t.Helper()
	out := t.TempDir()
	cmd := exec.CommandContext(deadline(t, 2*time.Minute), filepath.Join(binaries, "trunkbench"), append(args, "--out", out)...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	failed := cmd.Run()
	file, err := results.Read(filepath.Join(out, "results.json"))
	require.NoError(t, err, text.String())
	for _, pattern := range []string{"report.html", "plots/*.png"} {
		found, _ := filepath.Glob(filepath.Join(out, pattern))
		require.NotEmpty(t, found, pattern)
	}
	return file, text.String(), failed
}

// TestBenchMeasuresTrunkline goes the whole way: a cluster, a workload, the table, the file, the report.
func TestBenchMeasuresTrunkline(t *testing.T) {
	file, text, err := bench(t, "run", "--workload", "smoke")
	require.NoError(t, err, text)
	require.Len(t, file.Runs, 1)
	run := file.Runs[0]
	require.NotEqual(t, results.Failed, run.Verdict, text)
	require.True(t, run.Checked.Done)
	require.Positive(t, run.Checked.Acked)
	require.Len(t, run.Cost, 3)
	for _, c := range run.Cost {
		require.Positive(t, c.CPUSeconds)
		require.Positive(t, c.BytesWritten, "an acknowledgement is on disk")
	}
	require.Contains(t, text, "== smoke ==", "the table names the workload, also if a busy machine made the run inconclusive")
}

// TestBenchReportsPlantedFaults: a system that breaks a promise fails the run, by name and by number.
func TestBenchReportsPlantedFaults(t *testing.T) {
	w := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(w, []byte(`name: planted
topics: 1
partitionsPerTopic: 2
messageSize: 64
subscriptionsPerTopic: 1
consumerPerSubscription: 1
producersPerTopic: 1
producerRate: 5000
warmup: 200ms
duration: 2s
`), 0o600))
	for profile, count := range map[string]func(results.Checked) int64{
		"loses":      func(c results.Checked) int64 { return c.Lost },
		"duplicates": func(c results.Checked) int64 { return c.Duplicated },
		"reorders":   func(c results.Checked) int64 { return c.Reordered },
		"refuses":    func(c results.Checked) int64 { return c.Phantom },
	} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			file, text, err := bench(t, "run", "--driver", "planted:"+profile, "--workload", w)
			require.Error(t, err, text)
			require.Equal(t, results.Failed, file.Runs[0].Verdict)
			require.Positive(t, count(file.Runs[0].Checked), text)
			require.NotEmpty(t, file.Runs[0].Checked.Examples)
		})
	}
}

// TestKilledBenchLeavesNoBroker: brokers of a bench die with it, even if it cannot end them.
func TestKilledBenchLeavesNoBroker(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(deadline(t, time.Minute), filepath.Join(binaries, "trunkbench"), "run", "--workload", "smoke", "--dir", dir, "--out", filepath.Join(dir, "out"))
	require.NoError(t, cmd.Start())
	eventually(t, 30*time.Second, func() error { return atLeast(len(brokersBelow(dir)), 3) })
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	eventually(t, 10*time.Second, func() error {
		if left := brokersBelow(dir); len(left) > 0 {
			return fmt.Errorf("still running: %v", left)
		}
		return nil
	})
}

// brokersBelow returns the processes whose command line names a directory below dir.
func brokersBelow(dir string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(line), "trunklined\x00") && strings.Contains(string(line), dir) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}
