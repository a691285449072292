package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testGroup(t *testing.T, controller string) *Group {
	t.Helper()
	g, err := Make(controller, fmt.Sprintf("trunkline-test-%d", os.Getpid()))
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		require.NoError(t, g.Remove())
		require.NoDirExists(t, g.dir)
		require.NoError(t, g.Remove(), "twice")
	})
	return g
}

// used runs a busy process in a group, or in none, and returns the share of a processor that it got.
func used(t *testing.T, g *Group) float64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
	require.NoError(t, cmd.Start())
	if g != nil {
		require.NoError(t, g.Add(cmd.Process.Pid))
	}
	begin := time.Now()
	time.Sleep(600 * time.Millisecond)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	return cmd.ProcessState.UserTime().Seconds() / time.Since(begin).Seconds()
}

// TestAQuotaThrottles shows the effect: a busy process gets a tenth of a processor, and more without the group.
func TestAQuotaThrottles(t *testing.T) {
	g := testGroup(t, CPU)
	require.NoError(t, g.Limit("cpu.cfs_period_us", 100_000))
	require.NoError(t, g.Limit("cpu.cfs_quota_us", 10_000))
	limited, free := used(t, g), used(t, nil)
	t.Logf("with a quota of 0.1 it used %.2f, without %.2f", limited, free)
	require.Less(t, limited, 0.2)
	require.Greater(t, free, 1.5*limited)
	n, err := g.Number("cpu.stat", "nr_throttled")
	require.NoError(t, err)
	require.Positive(t, n)
}

// TestTooMuchMemoryIsKilledAndCounted: the kernel ends the process, and says so.
func TestTooMuchMemoryIsKilledAndCounted(t *testing.T) {
	g := testGroup(t, Memory)
	require.NoError(t, g.Limit("memory.limit_in_bytes", 16<<20))
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sleep 0.2; exec tail /dev/zero") // which keeps all that it reads
	require.NoError(t, cmd.Start())
	require.NoError(t, g.Add(cmd.Process.Pid))
	require.ErrorContains(t, cmd.Wait(), "killed")
	n, err := g.Number("memory.oom_control", "oom_kill")
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}

func TestProcessesAreGivenBack(t *testing.T) {
	g, err := Make(CPU, fmt.Sprintf("trunkline-test-%d", os.Getpid()))
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	require.NoError(t, cmd.Start())
	require.NoError(t, g.Add(cmd.Process.Pid))
	require.NoError(t, g.Remove())
	own, err := ownGroup(CPU)
	require.NoError(t, err)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid))
	require.NoError(t, err)
	require.Contains(t, string(text), ":"+CPU+":"+own+"\n", "it runs on, where we are")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
}

func TestWhatIsNotThere(t *testing.T) {
	_, err := Make("colour", "x")
	require.ErrorContains(t, err, `"colour"`)
	g := testGroup(t, CPU)
	_, err = g.Number("cpu.stat", "nothing")
	require.ErrorContains(t, err, "nothing")
	require.Error(t, g.Limit("cpu.cfs_quota_us", 1), "less than the kernel allows")
}
