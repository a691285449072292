package check

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLocal makes a cluster of three, and under a steady stream kills a broker, grows to five, replaces the process of one,
// changes a setting and the certificates, goes back to three, and takes everything down. Nothing published is lost or
// doubled, and nothing is left.
func TestLocal(t *testing.T) {
	d := deploy(t)
	d.apply()
	d.keepsSecrets()
	if out, err := d.run("plan", "-detailed-exitcode"); err != nil {
		t.Errorf("a second plan has changes: %v\n%s", err, out)
	}
	d.ask("topic", "create", "calls", "--partitions", "6", "--replicas", "3")
	s := d.publish("calls")

	d.kill(2)
	grown := []string{"-var", "joined=[4,5]"}
	d.apply(grown...)
	d.expect("1 active", "2 active", "3 active", "4 active", "5 active")
	d.apply(append(grown, "-replace", `terraform_data.process["3"]`)...)
	d.expect("1 active", "2 active", "3 active", "4 active", "5 active")

	before, old := d.pid(1), read(t, filepath.Join(d.dir, "pki", "broker-1.pem"))
	set := append(grown, "-var", "settings={limits={max_connections=5000}}", "-var", "certificate_generation=2")
	d.apply(set...)
	if d.pid(1) == before {
		t.Error("a changed setting has not restarted broker 1")
	}
	if read(t, filepath.Join(d.dir, "pki", "broker-1.pem")) == old {
		t.Error("the certificates were not renewed")
	}
	shrunk := append(set, "-var", "retired=[2,5]")
	d.apply(shrunk...)
	d.expect("1 active", "3 active", "4 active")
	d.consumeAll("calls", s.wait(t))

	began := time.Now()
	if out, err := d.run("destroy", append([]string{"-auto-approve"}, shrunk...)...); err != nil {
		t.Fatalf("destroy: %v\n%s", err, out)
	}
	t.Logf("destroy: %.1f s", time.Since(began).Seconds())
	d.leavesNothing()
}

// TestTwoAtOnceAreNotReplaced: the second machine stays while the first is away, and the next apply brings the first back.
func TestTwoAtOnceAreNotReplaced(t *testing.T) {
	d := deploy(t)
	d.apply()
	out, err := d.run("apply", "-auto-approve", "-parallelism=1", "-replace", `terraform_data.process["1"]`, "-replace", `terraform_data.process["2"]`)
	if err == nil || !strings.Contains(strings.Join(strings.Fields(out), " "), "Replace one at a time") {
		t.Fatalf("two brokers of three were replaced at once: %v\n%s", err, out)
	}
	d.apply()
	d.expect("1 active", "2 active", "3 active")
}

func TestLocalRefuses(t *testing.T) {
	t.Parallel()
	d := deploy(t)
	for _, c := range []struct{ variable, says string }{
		{"founders=2", "found with 1, 3, 5 or 7 brokers"},
		{"founders=4", "found with 1, 3, 5 or 7 brokers"},
		{"joined=[3]", "joined: IDs are whole numbers above founders (3)"},
		{"retired=[9]", "retired: 9: neither among the founders nor in joined"},
		{"retired=[3]", "2 brokers would be left"},
		{"base_port=65530", "must lie between 1 and 65535"},
		{"binaries=/nowhere", "lacks trunklined or trunkline"},
		{"settings={limits={max_batch=\"many\"}}", "a size is a whole number above 0 with its unit"},
		{"settings={speed={}}", "settings has the sections"},
		{"directory=/", "name a directory of the cluster's own"},
	} {
		out, err := d.run("plan", "-var", c.variable)
		if said := strings.Join(strings.Fields(strings.ReplaceAll(out, "│", "")), " "); err == nil || !strings.Contains(said, c.says) {
			t.Errorf("plan with %s: %v; it should say %q:\n%s", c.variable, err, c.says, out)
		}
	}
}

func (d *deployed) expect(want ...string) {
	d.t.Helper()
	if got := d.brokers(); !slices.Equal(got, want) {
		d.t.Fatalf("the brokers are %q, not %q\n%s", got, want, d.logs())
	}
}

func (d *deployed) pid(broker int) int {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "broker-"+strconv.Itoa(broker), "broker.pid"))
	if err != nil {
		d.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		d.t.Fatal(err)
	}
	return pid
}

// kill ends a broker with SIGKILL and waits until its supervisor has started another one that serves.
func (d *deployed) kill(broker int) {
	d.t.Helper()
	old := d.pid(broker)
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	row := strconv.Itoa(broker) + " "
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		for _, line := range strings.Split(d.ask("broker", "list"), "\n") {
			if f := strings.Fields(line); strings.HasPrefix(line, row) && len(f) > 3 && f[3] == "yes" && d.pid(broker) != old {
				return
			}
		}
		if time.Now().After(end) {
			d.t.Fatalf("broker %d was not started again\n%s", broker, d.logs())
		}
	}
}

// keepsSecrets checks that no key and no token is in the state, and that nobody else may read them.
func (d *deployed) keepsSecrets() {
	d.t.Helper()
	state, err := os.ReadFile(d.state)
	if err != nil {
		d.t.Fatal(err)
	}
	for _, name := range []string{"token", "ca-key.pem", "broker-1.pem"} {
		path := filepath.Join(d.dir, "pki", name)
		secret, err := os.ReadFile(path)
		if err != nil {
			d.t.Fatal(err)
		}
		if line := strings.Split(string(secret), "\n")[max(0, strings.Count(string(secret), "\n")-2)]; strings.Contains(string(state), line) {
			d.t.Errorf("%s is in the state", name)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			d.t.Errorf("%s: %v, mode %v instead of 0600", name, err, info.Mode())
		}
	}
}

func (d *deployed) leavesNothing() {
	d.t.Helper()
	if _, err := os.Stat(d.dir); !os.IsNotExist(err) {
		left, _ := filepath.Glob(filepath.Join(d.dir, "*"))
		d.t.Errorf("%s is still there: %v %v", d.dir, left, err)
	}
	if busy := taken(d.base); len(busy) > 0 {
		d.t.Errorf("ports are still taken: %v", busy)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(processes) == 0 {
		d.t.Fatalf("no processes to look at: %v", err)
	}
	for _, p := range processes {
		if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), d.dir) { // it may have ended meanwhile
			d.t.Errorf("still running: %s", strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
}
