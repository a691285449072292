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
		row   string
		count int
	}{{"sigkill", 2}, {"powercut", 2}, {"powercut-all", 1}} {
		t.Run(c.row, func(t *testing.T) {
			res, err := chaos.Run(deadline(t, 3*time.Minute), chaos.Options{
				Binary: filepath.Join(binaries, "trunklined"), Rows: []string{c.row}, Count: c.count, Seed: 5,
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
			require.Equal(t, 8, res.Compared.Partitions)
		})
	}
}

// TestInterruptedChaosLeavesNoMount: a run that is interrupted in the middle of its faults unmounts its disks and says where the
// data are; one that is killed leaves mounts, and the next run takes them away.
func TestInterruptedChaosLeavesNoMount(t *testing.T) {
	for name, sig := range map[string]os.Signal{"interrupted": syscall.SIGINT, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			row := []string{"chaos", "--row", "powercut", "--dir", dir}
			cmd := exec.CommandContext(deadline(t, time.Minute), filepath.Join(binaries, "trunkbench"), append(row, "--count", "100")...)
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
			require.NoError(t, cmd.Process.Signal(sig))
			require.Error(t, <-exited)
			if sig == syscall.SIGINT {
				require.Contains(t, out.String(), "mount -o ro,loop")
			} else {
				require.Positive(t, mountsBelow(t, dir))
				next := exec.CommandContext(deadline(t, time.Minute), filepath.Join(binaries, "trunkbench"), append(row, "--count", "1")...)
				out, err := next.CombinedOutput()
				require.NoError(t, err, "%s", out)
				require.Contains(t, string(out), "unmounted")
			}
			require.Zero(t, mountsBelow(t, dir))
		})
	}
}

func mountsBelow(t *testing.T, dir string) int {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	require.NoError(t, err)
	return strings.Count(string(mounts), " "+dir+"/")
}
