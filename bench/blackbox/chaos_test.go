package blackbox

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/chaos"
)

// TestChaos is the short form of `make chaos`.
func TestChaos(t *testing.T) {
	for _, c := range []struct {
		rows  []string
		count int
	}{{[]string{"sigkill"}, 2}, {[]string{"powercut", "powercut-all"}, 3}} {
		t.Run(c.rows[0], func(t *testing.T) {
			res, err := chaos.Run(deadline(t, 3*time.Minute), chaos.Options{
				Binary: filepath.Join(binaries, "trunklined"), Rows: c.rows, Count: c.count, Seed: 2,
				Dir: t.TempDir(), Progress: t.Output(),
			})
			var unavailable *chaos.UnavailableError
			if errors.As(err, &unavailable) {
				t.Skip(err)
			}
			require.NoError(t, err)
			require.Empty(t, res.Violations)
			require.Len(t, res.Faults, c.count)
			require.Positive(t, res.Acked)
			require.Positive(t, res.Compared.Bytes)
			seen := map[string]bool{}
			for _, f := range res.Faults {
				seen[f.Row] = true
			}
			require.Len(t, seen, len(c.rows), "the seed draws every row")
			require.Equal(t, 8, res.Compared.Partitions)
		})
	}
}

// TestInterruptedChaosLeavesNoMount: a run that is interrupted in the middle of its faults unmounts its disks and says where the
// data are.
func TestInterruptedChaosLeavesNoMount(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(deadline(t, 2*time.Minute), filepath.Join(binaries, "trunkbench"), "chaos", "--row", "powercut", "--count", "100", "--dir", dir)
	var out bytes.Buffer
	cmd.Stderr = &out
	require.NoError(t, cmd.Start())
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	eventually(t, 30*time.Second, func() error {
		if len(exited) > 0 {
			return nil
		}
		return atLeast(mountsBelow(t, dir), 3)
	})
	time.Sleep(3 * time.Second) // into the faults, wherever that is
	if len(exited) > 0 {
		require.Contains(t, out.String(), "is not available here")
		t.Skip(out.String())
	}
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	require.Error(t, <-exited)
	require.Contains(t, out.String(), "mount -o ro,loop")
	require.Zero(t, mountsBelow(t, dir))
}

func mountsBelow(t *testing.T, dir string) int {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	return strings.Count(string(mounts), " "+dir+"/")
}
