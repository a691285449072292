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
)

// stored measures an in-process system at a rate and returns the path of the results file.
func stored(t *testing.T, rate int, duration time.Duration) string {
	t.Helper()
	dir := t.TempDir()
	w := filepath.Join(dir, "w.yaml")
	require.NoError(t, os.WriteFile(w, fmt.Appendf(nil, `name: small
topics: 1
partitionsPerTopic: 2
messageSize: 64
subscriptionsPerTopic: 1
consumerPerSubscription: 1
producersPerTopic: 1
producerRate: %d
warmup: 200ms
duration: %s
`, rate, duration), 0o600))
	out, err := trunkbench(t, "run", "--driver", "planted:sound", "--workload", w, "--out", dir)
	require.NoError(t, err, out)
	return filepath.Join(dir, "results.json")
}

// trunkbench runs the command and returns all that it says.
func trunkbench(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(deadline(t, time.Minute), filepath.Join(binaries, "trunkbench"), args...)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	return text.String(), err
}

// TestReportComparesStoredFiles: two files side by side, with what a reader has to know of their difference.
func TestReportComparesStoredFiles(t *testing.T) {
	before, after := stored(t, 200, time.Second), stored(t, 400, time.Second)
	dir := t.TempDir()
	page, plots := filepath.Join(dir, "report.html"), filepath.Join(dir, "plots")
	out, err := trunkbench(t, "report", before, after, "--html", page, "--plots", plots)
	require.NoError(t, err, out)
	for _, want := range []string{
		"[A] 20", "[B] 20", "--driver planted:sound", "trunkbench ", "cores", // when, how, and where each was taken
		"== small ==", "producerRate 200 or 400", "different times", "report:  " + page, "in " + plots,
	} {
		require.Contains(t, out, want)
	}
	require.Regexp(t, `(?m)^ +planted:sound \[A\] +planted:sound \[B\]$`, out)
	// A busy machine can make a run inconclusive: it then has no figures, and the reason stands there.
	if !strings.Contains(out, "inconclusive") {
		require.Regexp(t, `(?m)^publish rate +\d+ /s +\d+ /s +~0\.\d+x$`, out)
	}
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, want := range []string{"planted:sound [A]", "planted:sound [B]", "different times", "producerRate 200 or 400"} {
		require.Contains(t, string(text), want)
	}
	found, err := filepath.Glob(filepath.Join(plots, "*.png"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
}

// TestReportRefuses: what cannot be compared is named, and nothing is written.
func TestReportRefuses(t *testing.T) {
	good := stored(t, 200, 500*time.Millisecond)
	foreign := filepath.Join(t.TempDir(), "foreign.json")
	require.NoError(t, os.WriteFile(foreign, []byte(`{"name": "x"}`), 0o600))
	page := filepath.Join(t.TempDir(), "report.html")
	for _, bad := range []string{foreign, foreign + ".none"} {
		out, err := trunkbench(t, "report", good, bad, "--html", page)
		require.Error(t, err)
		require.Contains(t, out, bad)
		require.NoFileExists(t, page)
	}
	out, err := trunkbench(t, "report", good, good, "--readme", page)
	require.Error(t, err)
	require.Contains(t, out, "of one results file")
}
