package check

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated parts of the READMEs")

// modules returns every directory with Terraform code, relative to deploy/terraform.
func modules(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, pattern := range []string{"*", "modules/*", "examples/*"} {
		files, err := filepath.Glob(filepath.Join("..", pattern, "main.tf"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			dirs = append(dirs, filepath.Dir(f))
		}
	}
	if len(dirs) < 6 {
		t.Fatalf("found only %v", dirs)
	}
	return dirs
}

// terraform runs terraform in a module, with its data outside of the tree.
func terraform(t *testing.T, dir, data string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "terraform", append([]string{"-chdir=" + dir}, args...)...)
	cmd.Env = append(os.Environ(), "TF_DATA_DIR="+data, "TF_IN_AUTOMATION=1", "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestReadmesAreCurrent(t *testing.T) {
	for _, dir := range modules(t) {
		tables, err := Tables(dir)
		if err != nil {
			t.Error(err)
			continue
		}
		path := filepath.Join(dir, "README.md")
		old, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		want, err := Refresh(string(old), tables)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Error(err)
			}
		} else if want != string(old) {
			t.Errorf("%s is not what the code says: run `make deploy-terraform-docs`", path)
		}
	}
}

func TestAFaultyVariableIsNamed(t *testing.T) {
	dir := t.TempDir()
	text := "variable \"size\" {\n  type = number\n  description = \"a size\"\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Tables(dir); err == nil || !strings.Contains(err.Error(), "variable size needs") {
		t.Errorf("a variable without validation passes: %v", err)
	}
}

func TestFormat(t *testing.T) {
	if out, err := terraform(t, "..", t.TempDir(), "fmt", "-check", "-recursive", "-diff"); err != nil {
		t.Errorf("terraform fmt: %v\n%s", err, out)
	}
}

// TestModules validates whatever needs no cloud provider, and runs the modules' own tests.
func TestModules(t *testing.T) {
	for _, dir := range modules(t) {
		if needsProvider(t, dir) {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			steps := [][]string{{"init", "-backend=false", "-no-color"}, {"validate", "-no-color"}}
			if tests, _ := filepath.Glob(filepath.Join(dir, "tests", "*.tftest.hcl")); len(tests) > 0 {
				steps = append(steps, []string{"test", "-no-color"})
			}
			for _, step := range steps {
				if out, err := terraform(t, dir, data, step...); err != nil {
					t.Fatalf("terraform %s: %v\n%s", step[0], err, out)
				}
			}
		})
	}
}

// needsProvider reports whether a module needs a provider from a registry.
func needsProvider(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "required_providers") || strings.Contains(string(text), `"../../aws"`) {
			return true
		}
	}
	return false
}
