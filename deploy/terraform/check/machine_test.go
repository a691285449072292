package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// machine is machine.sh with its files, as cloud-init puts them.
func machine(t *testing.T, conf, files string) (run func(...string) (string, error)) {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile("../modules/cluster-config/machine.sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"machine.sh": string(script), "machine.conf": conf, "files": files} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "sh", append([]string{filepath.Join(dir, "machine.sh")}, args...)...).CombinedOutput()
		return string(out), err
	}
}

func TestMachineFetches(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "etc", "broker.pem")
	run := machine(t, "GROUP=$(id -gn)\n", "0640 "+target+" cat "+source+"\n")

	if out, err := run("fetch"); err == nil || !strings.Contains(out, "there is no "+target) {
		t.Errorf("a broker starts without a file that it needs: %v\n%s", err, out)
	}
	write(t, source, "first")
	if out, err := run("fetch"); err != nil {
		t.Fatalf("fetch: %v\n%s", err, out)
	}
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o640 || read(t, target) != "first" {
		t.Fatalf("%s holds %q: %v %v", target, read(t, target), info, err)
	}
	write(t, source, "renewed")
	if out, err := run("fetch"); err != nil || read(t, target) != "renewed" {
		t.Errorf("a renewed file is not taken: %v\n%s", err, out)
	}
	write(t, source, "") // its source is away, or empty
	if out, err := run("fetch"); err != nil || read(t, target) != "renewed" {
		t.Errorf("a broker that has its files must be able to start without their source: %v\n%s", err, out)
	}
}

// TestMachineFormats: a volume that is empty gets a file system, one that a machine before has used is left alone.
func TestMachineFormats(t *testing.T) {
	volume := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(volume, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(volume, 16<<20); err != nil {
		t.Fatal(err)
	}
	run := machine(t, "", "")
	uuid := func() string {
		out, err := exec.CommandContext(t.Context(), "blkid", "-p", "-s", "UUID", "-o", "value", volume).Output()
		if err != nil {
			t.Fatalf("no file system: %v", err)
		}
		return string(out)
	}
	if out, err := run("format", volume); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	first := uuid()
	if out, err := run("format", volume); err != nil || uuid() != first {
		t.Errorf("a volume in use was formatted again: %v\n%s", err, out)
	}
	if out, err := run("format", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Errorf("a volume that is not there was formatted: %s", out)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
