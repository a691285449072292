package vitals

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// shell runs a script, in a process group that ends with the test.
func shell(t *testing.T, script string) int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// TestProcessCountsDescendants has work done by a grandchild that lives on and by a child that ends.
func TestProcessCountsDescendants(t *testing.T) {
	dir := t.TempDir()
	write := "dd if=/dev/zero of=%s bs=64k count=32 conv=fsync 2>/dev/null"
	burn := "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"
	ended := fmt.Sprintf(write, filepath.Join(dir, "a"))
	lives := fmt.Sprintf("(%s; (sleep 60; true) & wait) & wait", burn)
	pid := shell(t, fmt.Sprintf("%s; touch %s/done; %s", ended, dir, lives))

	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "done"))
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	var whole Usage
	require.Eventually(t, func() bool {
		var err error
		whole, err = Process(pid)
		require.NoError(t, err)
		children, err := childrenOf(pid)
		require.NoError(t, err)
		return len(children) == 3 && whole.CPU >= 50*time.Millisecond // two subshells and sleep
	}, 10*time.Second, 20*time.Millisecond)
	alone, err := one(pid)
	require.NoError(t, err)
	require.Greater(t, whole.CPU, alone.CPU)
	require.Greater(t, whole.RSS, alone.RSS)
	if onDisk(t, dir) {
		require.GreaterOrEqual(t, whole.Written, int64(32*64<<10), "what a child wrote that has ended counts with its parent")
	}
}

// onDisk reports whether what is written to a directory goes to the block layer at all.
func onDisk(t *testing.T, dir string) bool {
	t.Helper()
	var fs unix.Statfs_t
	require.NoError(t, unix.Statfs(dir, &fs))
	return fs.Type != unix.TMPFS_MAGIC
}

func TestProcessThatEnded(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "true")
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { // a zombie until it is waited for
		_, err := Process(cmd.Process.Pid)
		return err != nil && ended(err)
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, cmd.Wait())
	_, err := Process(cmd.Process.Pid)
	require.ErrorContains(t, err, fmt.Sprintf("pid %d", cmd.Process.Pid))
}

func BenchmarkProcess(b *testing.B) {
	for b.Loop() {
		if _, err := Process(os.Getpid()); err != nil {
			b.Fatal(err)
		}
	}
}
