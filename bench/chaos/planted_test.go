//go:build faults

package chaos

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// plantedLimit is how long the harness may take to find a planted bug.
const plantedLimit = 2 * time.Minute

// TestPlanted runs the harness against brokers that break one promise each. A harness that does not find it is broken.
func TestPlanted(t *testing.T) {
	dir := t.TempDir()
	daemon := filepath.Join(dir, "trunklined")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "faults", "-o", daemon, "../../cmd/trunklined").CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, bug := range []struct {
		name  string
		rows  []string
		count int // faults; what a run finds it says at its end, so they are few
	}{
		{"", []string{"sigkill"}, 2}, // the same without a bug: what is found below is found because of it
		{"ack-before-fsync", []string{"powercut-all"}, 1},
		{"skip-dedupe", []string{"leader"}, 10},
		{"ack-before-apply", []string{"leader"}, 3},
		{"reuse-offset", []string{"leader"}, 3},
		// A thawed leader handles the news of its successor before the proposals that waited for the disk, and Raft forwards
		// them. A leader that was only stopped proposes them first, and they are cut off its log.
		{"old-epoch-writes", []string{"diskfreeze"}, 1},
		{"zombie-writes", []string{"named-producer"}, 1},
	} {
		t.Run("bug."+bug.name, func(t *testing.T) {
			for _, row := range bug.rows {
				if !slices.Contains(rowNames(), row) {
					t.Skipf("there is no row %s", row)
				}
			}
			plan := "bug." + bug.name + "=on"
			if bug.name == "" {
				plan = ""
			}
			ctx, cancel := context.WithTimeout(t.Context(), plantedLimit)
			defer cancel()
			begun := time.Now()
			res, err := Run(ctx, Options{
				Binary: withPlan(t, daemon, plan), Rows: bug.rows, Count: bug.count, Seed: plantedSeed(t), Slack: 1000, Dir: t.TempDir(), Progress: t.Output(),
			})
			if bug.name == "" {
				require.NoError(t, err)
				require.Empty(t, res.Violations)
				return
			}
			require.NotNil(t, res, "%v", err)
			require.NotEmpty(t, res.Violations, "not found within %v: %v", plantedLimit, err)
			t.Logf("found after %v: %s", time.Since(begun).Round(time.Second), res.Violations[0])
		})
	}
}

// plantedSeed is that of the schedules: SEED of the environment, 1 without.
func plantedSeed(t *testing.T) uint64 {
	t.Helper()
	text := cmp.Or(os.Getenv("SEED"), "1")
	seed, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "SEED")
	return seed
}

// withPlan returns a program that becomes the daemon with a plan from its start on.
func withPlan(t *testing.T, daemon, plan string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trunklined")
	text := fmt.Sprintf("#!/bin/sh\nTRUNKLINE_FAILPOINTS='%s' exec '%s' \"$@\"\n", plan, daemon)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o700))
	return path
}
