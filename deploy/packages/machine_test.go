//go:build packages

package packages_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	goarch       = runtime.GOARCH
	commandLimit = time.Minute // of one command, in a machine or for one, and of one thing that must happen
	pollEvery    = 100 * time.Millisecond
)

// fresh is a Debian that nothing ran in yet, unpacked from $DEBIAN_ROOT. Machines are layers on it.
var fresh string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "trunkline-packages")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		fresh = dir
		if err := untar(os.Getenv("DEBIAN_ROOT"), dir); err != nil {
			fmt.Fprintln(os.Stderr, "DEBIAN_ROOT, which make deploy-packages makes:", err)
			return 1
		}
		return m.Run()
	}())
}

func untar(file, dir string) error {
	out, err := exec.Command("tar", "-xpf", file, "--numeric-owner", "-C", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// unpack returns the directory of another Debian than fresh.
func unpack(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, untar(file, dir), "make deploy-packages makes it")
	return dir
}

// layer returns a directory that looks like root; what is changed in it is gone with the test.
func layer(t *testing.T, root string) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"root", "upper", "work"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, d), 0o755))
	}
	host(t, "mount", "-t", "overlay", "overlay", filepath.Join(dir, "root"),
		"-o", fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", root, dir, dir))
	t.Cleanup(func() { host(t, "umount", filepath.Join(dir, "root")) })
	return filepath.Join(dir, "root")
}

// debian returns the directory of a fresh Debian with the package of $DIST that has the suffix, at /root.
func debian(t *testing.T, suffix string) string {
	t.Helper()
	root := layer(t, fresh)
	putPackage(t, root, suffix)
	return root
}

// putPackage copies the package of $DIST that has the suffix to /root of a root file system, and returns its path.
func putPackage(t *testing.T, root, suffix string) string {
	t.Helper()
	pkg, err := filepath.Glob(filepath.Join(os.Getenv("DIST"), "trunkline*"+suffix))
	require.NoError(t, err)
	require.Len(t, pkg, 1, "make deploy-packages makes it")
	to := filepath.Join(root, "root", "trunkline"+filepath.Ext(pkg[0]))
	host(t, "cp", pkg[0], to)
	return to
}

// host runs a command on this machine and returns what it printed.
func host(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(t, name, args...)
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return out
}

func command(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER="}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// inside runs a command in a root file system in which nothing else runs.
func inside(t *testing.T, root string, args ...string) string {
	t.Helper()
	return host(t, "systemd-nspawn", append([]string{"--quiet", "--register=no", "--keep-unit", "--pipe", "-D", root}, args...)...)
}

// machine is a Debian that a systemd of its own booted, in a container with its own processes, mounts and network.
type machine struct {
	t    *testing.T
	root string
	pid  int // of its systemd, as this machine counts
}

// boot starts a machine on a copy of the root file system, which stays as it is. netns is the name of a network namespace, or "" for
// one of its own without any connection; more are arguments of systemd-nspawn. The machine ends with the test.
func boot(t *testing.T, name, base, netns string, more ...string) *machine {
	t.Helper()
	m := &machine{t: t, root: layer(t, base)}
	network := "--private-network"
	if netns != "" {
		network = "--network-namespace-path=/run/netns/" + netns
	}
	groups := cgroups(t, name)
	nspawn := exec.Command("sh", append([]string{
		"-ec", `for group in $1; do echo $$ > $group/cgroup.procs; done; shift; exec systemd-nspawn "$@"`, "sh", strings.Join(groups, " "),
		"--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe", network,
		"--resolv-conf=off", "--timezone=off", "--machine=" + name, "-D", m.root,
	}, more...)...)
	var console bytes.Buffer
	nspawn.Stdout, nspawn.Stderr = &console, &console
	require.NoError(t, nspawn.Start())
	t.Cleanup(func() { stop(t, nspawn, &console) })
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := m.try("sh", "-c", "systemctl list-jobs; systemctl --failed; journalctl -b -n 60 -o cat")
			t.Log("machine:", out)
		}
	})
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn.Process.Pid, nspawn.Process.Pid))
		if err != nil || len(text) == 0 {
			return false
		}
		m.pid, err = strconv.Atoi(strings.Fields(string(text))[0])
		state, _ := m.try("systemctl", "is-system-running")
		return err == nil && strings.TrimSpace(state) == "running"
	}, commandLimit, pollEvery, "the machine boots")
	return m
}

// stop lets the machine shut down, and ends it if it does not.
func stop(t *testing.T, nspawn *exec.Cmd, console *bytes.Buffer) {
	_ = nspawn.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- nspawn.Wait() }()
	select {
	case <-done:
	case <-time.After(commandLimit):
		_ = nspawn.Process.Kill()
		<-done
		t.Error("the machine did not shut down")
	}
	if t.Failed() {
		t.Log("console:", console.String())
	}
}

// cgroups makes a cgroup for a machine below that of this process, in each hierarchy in which a systemd keeps units. In one that
// machines shared, their systemds would meet at system.slice/trunklined.service: one removes it when its broker has ended, while
// the other starts a broker in it.
func cgroups(t *testing.T, name string) []string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	var dirs []string
	for line := range strings.Lines(string(own)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if part[1] != "" && part[1] != "name=systemd" {
			continue // cpu, memory, ...
		}
		fs, option := "cgroup2", "rw"
		if part[1] != "" {
			fs, option = "cgroup", part[1]
		}
		mounts, err := command(t, "findmnt", "--noheadings", "--first-only", "--output", "TARGET", "--types", fs, "--options", option)
		if err != nil {
			continue // known to the kernel, mounted nowhere
		}
		dir := filepath.Join(strings.TrimSpace(mounts), part[2], fmt.Sprintf("trunkline-%d-%s", os.Getpid(), name))
		require.NoError(t, os.Mkdir(dir, 0o755))
		t.Cleanup(func() { removeCgroup(dir) })
		dirs = append(dirs, dir)
	}
	return dirs
}

// removeCgroup removes a cgroup without processes, and those in it. What does not let itself be removed stays: it costs nothing.
func removeCgroup(dir string) {
	inner, _ := filepath.Glob(filepath.Join(dir, "*/cgroup.procs"))
	for _, procs := range inner {
		removeCgroup(filepath.Dir(procs))
	}
	_ = os.Remove(dir)
}

// in returns the same machine for a part of the test.
func (m *machine) in(t *testing.T) *machine {
	part := *m
	part.t = t
	return &part
}

// try runs a command in the machine and returns what it printed.
func (m *machine) try(args ...string) (string, error) {
	return command(m.t, "nsenter", append([]string{"-t", strconv.Itoa(m.pid), "-a", "--"}, args...)...)
}

// run is try of what must succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	require.NoError(m.t, err, "%v: %s\n%s", args, out, m.tail())
	return out
}

func (m *machine) sh(script string) string {
	m.t.Helper()
	return m.run("sh", "-ec", script)
}

// tail returns the end of the broker's log.
func (m *machine) tail() string {
	out, _ := m.try("journalctl", "-u", "trunklined", "-n", "20", "-o", "cat")
	return out
}

// write changes a file of the machine.
func (m *machine) write(path, text string) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(filepath.Dir(filepath.Join(m.root, path)), 0o755))
	require.NoError(m.t, os.WriteFile(filepath.Join(m.root, path), []byte(text), 0o644))
}

// unit returns what systemd knows of the broker's unit.
func (m *machine) unit() map[string]string {
	m.t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(m.run("systemctl", "show", "trunklined")) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		found[key] = value
	}
	return found
}

// awaitState waits until the unit is in a state; it returns the unit.
func (m *machine) awaitState(state string) map[string]string {
	m.t.Helper()
	var unit map[string]string
	require.Eventually(m.t, func() bool { unit = m.unit(); return unit["ActiveState"] == state }, commandLimit, pollEvery,
		"the unit becomes %s", state)
	return unit
}

// awaitOther waits until another process than that serves.
func (m *machine) awaitOther(pid string) map[string]string {
	m.t.Helper()
	var unit map[string]string
	require.Eventually(m.t, func() bool {
		unit = m.unit()
		return unit["ActiveState"] == "active" && unit["MainPID"] != pid
	}, commandLimit, pollEvery, "another process serves")
	return unit
}

// trunkline runs the operator's tool.
func (m *machine) trunkline(args string) string {
	m.t.Helper()
	return m.sh("trunkline --context /var/lib/trunkline/context.json " + args)
}

// publish publishes the numbers, consume reads so many records as a subscription of its own.
func (m *machine) publish(topic string, first, last int) {
	m.t.Helper()
	m.sh(fmt.Sprintf("seq %d %d | trunkline --context /var/lib/trunkline/context.json pub %s", first, last, topic))
}

func (m *machine) consume(topic, subscription string, count int) []string {
	m.t.Helper()
	return strings.Fields(m.trunkline(fmt.Sprintf("sub %s --subscription %s --count %d", topic, subscription, count)))
}

func numbers(first, last int) []string {
	var out []string
	for n := first; n <= last; n++ {
		out = append(out, strconv.Itoa(n))
	}
	return out
}

// exitCode returns the exit code of a command that did not succeed.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit), "%v", err)
	return exit.ExitCode()
}
