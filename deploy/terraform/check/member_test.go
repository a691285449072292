package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// member runs member.sh for broker 3 with a trunkline that answers by cases of its words, and returns what it was asked besides.
func member(t *testing.T, verb, cases string) (asked, out string, err error) {
	t.Helper()
	dir := t.TempDir()
	log, program := filepath.Join(dir, "asked"), filepath.Join(dir, "trunkline")
	text := "#!/bin/sh\nshift 2\necho \"$*\" >>" + log + "\ncase \"$*\" in\n" + cases + "\nesac\n"
	if err := os.WriteFile(program, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "../modules/membership/member.sh", verb, "3", "key", "true")
	cmd.Env = append(os.Environ(), "DIRECTORY="+dir, "TRUNKLINE="+program, "WAIT=10", "ROLL_FLAGS=")
	said, err := cmd.CombinedOutput()
	return strings.ReplaceAll(read(t, log), "broker list --json\n", ""), string(said), err
}

const (
	twoRows = `"broker list --json") printf '"id": 1,\n"state": "active",\n"alive": true,\n"id": 2,\n"state": "active",\n"alive": true,\n' ;;` + "\n"
	noRows  = `"broker list --json") echo no broker reachable >&2; exit 1 ;;` + "\n"
)

// TestMachinesGoOnlyByTheWordOfTheMetadata: that a broker is not listed, or that nobody can be asked, does not mean that it was retired.
func TestMachinesGoOnlyByTheWordOfTheMetadata(t *testing.T) {
	const (
		wait   = "broker decommission 3 --wait 10s"
		retire = "broker decommission 3 --wait 0"
		drain  = "broker drain 3 --wait 0"
	)
	for name, c := range map[string]struct{ verb, cases, asked, says string }{
		"retired":             {"leave", twoRows + `"` + retire + `") echo trunkline: broker 3 was retired; exit 1 ;;`, retire, ""},
		"never joined":        {"leave", twoRows + `"` + retire + `") echo trunkline: there is no broker 3; exit 1 ;;`, retire, ""},
		"not listed yet":      {"leave", twoRows, retire + "\n" + wait, ""},
		"not known":           {"leave", twoRows + `"` + retire + `") echo no metadata leader; exit 1 ;;`, retire, "no metadata leader"},
		"nobody to ask":       {"leave", noRows, "", "cannot be asked"},
		"depart, retired":     {"depart", twoRows + `"` + drain + `") echo trunkline: broker 3 was retired; exit 1 ;;`, drain, ""},
		"depart, not listed":  {"depart", twoRows, drain, "apply again"},
		"depart, no answer":   {"depart", noRows, "", "cannot be asked"},
		"restart, no answer":  {"restart", noRows, "", "cannot be asked"},
		"restart, the others": {"restart", twoRows, "cluster roll --skip 1,2 --restart-cmd true --wait 10s", ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked, out, err := member(t, c.verb, c.cases)
			if strings.TrimSpace(asked) != c.asked {
				t.Errorf("trunkline was asked %q instead of %q", asked, c.asked)
			}
			if (err == nil) != (c.says == "") || !strings.Contains(out, c.says) {
				t.Errorf("%v; it should say %q:\n%s", err, c.says, out)
			}
		})
	}
}
