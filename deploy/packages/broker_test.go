//go:build packages

package packages_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// exposure is the most that systemd-analyze may find, in tenths of its scale from 0 to 10; up to 2.0 it says "OK".
const exposure = 20

// TestDebianPackage follows one broker from a fresh root file system to the purge of its package.
func TestDebianPackage(t *testing.T) {
	t.Parallel()
	root := debian(t, "_"+goarch+".deb")
	said := inside(t, root, "dpkg", "-i", "/root/trunkline.deb")
	require.Contains(t, said, "No broker was started", "whoever installs it is told what comes next")
	require.Contains(t, said, "systemctl enable --now trunklined")
	score := checkUnit(t, root)
	t.Log("systemd-analyze security:", score)

	m := boot(t, "tl-alone", root, "")
	unit := m.unit()
	require.Equal(t, "inactive", unit["ActiveState"])
	require.Equal(t, "disabled", unit["UnitFileState"])
	require.Equal(t, "trunkline:trunkline 750\nroot:trunkline 750\n",
		m.run("stat", "-c", "%U:%G %a", "/var/lib/trunkline", "/etc/trunkline/tls"))

	m.sh("sed -i 's/^#cluster:/cluster:/; s/^#broker:/broker:/' /etc/trunkline/trunkline.yaml") // the two lines
	m.run("systemctl", "enable", "--now", "trunklined")
	for _, step := range []struct {
		name string
		do   func(*testing.T, *machine)
	}{
		{"runs confined", runsConfined}, {"survives SIGKILL", survivesKill}, {"is replaced when it hangs", watchdogFires},
		{"drains on stop", drainsOnStop}, {"does not restart what a restart does not mend", staysDown},
		{"runs on through an upgrade", runsThroughUpgrade}, {"leaves its data behind", leavesData},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, m.in(t)) }) {
			t.Log(m.tail())
			return
		}
	}
}

// checkUnit lets systemd judge the unit where it is installed, and returns its score.
func checkUnit(t *testing.T, root string) string {
	t.Helper()
	for line := range strings.Lines(inside(t, root, "systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/trunklined.service")) {
		if strings.Contains(line, "trunklined") && !ignored.MatchString(line) {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
	report := inside(t, root, "systemd-analyze", "security", "--offline=yes", "--threshold="+strconv.Itoa(exposure),
		"/usr/lib/systemd/system/trunklined.service")
	score := regexp.MustCompile(`exposure level for trunklined.service: (\S+)`).FindStringSubmatch(report)
	require.Len(t, score, 2, report)
	return score[1]
}

// ignored are the settings that systemd has since version 254.
var ignored = regexp.MustCompile(`Unknown key '(RestartSteps|RestartMaxDelaySec)' in section \[Service\], ignoring`)

func runsConfined(t *testing.T, m *machine) {
	unit := m.unit()
	require.Equal(t, "active", unit["ActiveState"], "systemctl came back when the broker was ready")
	require.Equal(t, "serves", unit["StatusText"])
	status := m.run("cat", "/proc/"+unit["MainPID"]+"/status")
	for _, line := range []string{`CapEff:\t0+\n`, `CapBnd:\t0+\n`, `NoNewPrivs:\t1\n`, `Seccomp:\t2\n`} {
		require.Regexp(t, line, status)
	}
	require.NotRegexp(t, `Uid:\t0\t`, status)
	files := min(65536, mostFiles(t))
	require.Regexp(t, fmt.Sprintf(`Max open files +%d +%d`, files, files), m.run("cat", "/proc/"+unit["MainPID"]+"/limits"))
	for path, may := range map[string]bool{"/usr/bin/x": false, "/etc/trunkline/x": false, "/var/lib/x": false, "/var/lib/trunkline/x": true} {
		out, err := m.try("nsenter", "-t", unit["MainPID"], "-m", "--", "touch", path)
		require.Equal(t, may, err == nil, "%s: %s", path, out)
	}
	for _, program := range []string{"trunklined", "trunkline", "trunkbench"} {
		require.Regexp(t, `^`+program+` version \S+ \(commit [0-9a-f]{40}, go`, m.run(program, "--version"))
	}
	m.trunkline("topic create calls")
	m.publish("calls", 1, 500)
	require.Equal(t, numbers(1, 500), m.consume("calls", "first", 500))
}

// mostFiles is what this machine lets a container have: without CAP_SYS_RESOURCE no limit can be raised.
func mostFiles(t *testing.T) uint64 {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	return limit.Max
}

func survivesKill(t *testing.T, m *machine) {
	before := m.unit()
	m.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", "trunklined")
	after := m.awaitOther(before["MainPID"])
	require.Equal(t, "1", after["NRestarts"])
	m.publish("calls", 501, 600)
	require.Equal(t, numbers(1, 600), m.consume("calls", "second", 600), "every record once, in order")
}

// watchdogFires stops the process. The unit gets less time than it is shipped with.
func watchdogFires(t *testing.T, m *machine) {
	m.write("/etc/systemd/system/trunklined.service.d/test.conf", "[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "trunklined")
	before := m.unit()
	time.Sleep(5 * time.Second)
	require.Equal(t, before["MainPID"], m.unit()["MainPID"], "a broker that is alive feeds the watchdog")
	m.run("systemctl", "kill", "--signal=STOP", "--kill-who=main", "trunklined")
	m.awaitOther(before["MainPID"])
	require.Contains(t, m.run("journalctl", "-u", "trunklined", "-o", "cat"), "Watchdog timeout")
	m.sh("rm -r /etc/systemd/system/trunklined.service.d && systemctl daemon-reload && systemctl restart trunklined")
}

func drainsOnStop(t *testing.T, m *machine) {
	start := time.Now()
	m.run("systemctl", "stop", "trunklined")
	took := time.Since(start)
	unit := m.unit()
	require.Equal(t, []string{"inactive", "success", "0"}, []string{unit["ActiveState"], unit["Result"], unit["ExecMainStatus"]})
	require.Regexp(t, `(?s)msg=draining.*msg="broker stopped"`, m.tail())
	require.Less(t, took, 30*time.Second, "TimeoutStopSec")
	m.run("systemctl", "start", "trunklined")
	require.Equal(t, numbers(1, 600), m.consume("calls", "third", 600))
}

func staysDown(t *testing.T, m *machine) {
	m.run("systemctl", "stop", "trunklined")
	m.sh("cp /etc/trunkline/trunkline.yaml /root/good.yaml; echo 'brokr: 1' >> /etc/trunkline/trunkline.yaml")
	_, err := m.try("systemctl", "start", "trunklined")
	require.Equal(t, 1, exitCode(t, err))
	time.Sleep(4 * time.Second) // twice RestartSec
	unit := m.unit()
	require.Equal(t, []string{"failed", "78", "0"}, []string{unit["ActiveState"], unit["ExecMainStatus"], unit["NRestarts"]})
	require.Contains(t, m.tail(), "key brokr not found", "the log says which key")
	require.NotContains(t, m.run("journalctl", "-b", "-o", "cat"), "Failed to kill control group", "no other machine is in it")
	m.sh("cp /root/good.yaml /etc/trunkline/trunkline.yaml; systemctl start trunklined")
}

func runsThroughUpgrade(t *testing.T, m *machine) {
	before := m.unit()
	said := m.run("dpkg", "-i", "--force-confdef", "/root/trunkline.deb")
	require.Contains(t, said, "trunkline cluster roll", "it says how to restart")
	require.Equal(t, before["MainPID"], m.unit()["MainPID"], "no restart by the package")
	require.Contains(t, m.run("cat", "/etc/trunkline/trunkline.yaml"), "\nbroker: 1\n", "the configuration stays")
}

func leavesData(t *testing.T, m *machine) {
	m.run("dpkg", "--remove", "trunkline")
	require.NotEqual(t, "active", m.unit()["ActiveState"])
	require.Contains(t, m.run("cat", "/etc/trunkline/trunkline.yaml"), "\nbroker: 1\n", "remove keeps the configuration")
	said := m.run("dpkg", "--purge", "trunkline")
	require.Contains(t, said, "the data of the broker stay")
	_, err := os.Stat(filepath.Join(m.root, "etc/trunkline/trunkline.yaml"))
	require.ErrorIs(t, err, os.ErrNotExist, "purge does not")
	m.run("test", "-e", "/var/lib/trunkline/identity.json")
	require.Empty(t, strings.TrimSpace(m.sh("find /usr -name '*trunkline*' || true")), "nothing else is left")
}

// TestRPMPackage installs the .rpm into the same Debian: it has the commands that the scripts call, and no rpm database of its own.
func TestRPMPackage(t *testing.T) {
	t.Parallel()
	root := debian(t, map[string]string{"amd64": ".x86_64.rpm", "arm64": ".aarch64.rpm"}[goarch])
	pkg := filepath.Join(root, "root/trunkline.rpm")
	host(t, "mount", "-t", "proc", "proc", filepath.Join(root, "proc"))
	t.Cleanup(func() { host(t, "umount", filepath.Join(root, "proc")) })
	require.Contains(t, host(t, "rpm", "-qp", "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags}\n]", pkg), "/etc/trunkline/trunkline.yaml cn\n",
		"config(noreplace)")
	said := host(t, "rpm", "--root", root, "--nodeps", "-i", pkg)
	require.Contains(t, said, "No broker was started")
	require.Regexp(t, `(?m)^trunkline:`, read(t, filepath.Join(root, "etc/passwd")))
	t.Log("systemd-analyze security:", checkUnit(t, root))
	said = host(t, "rpm", "--root", root, "-e", "trunkline")
	require.Contains(t, said, "the data of the broker stay")
	require.NoFileExists(t, filepath.Join(root, "usr/bin/trunklined"))
}
