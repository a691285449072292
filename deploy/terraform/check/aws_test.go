package check

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// account is aws/ with the provider's double instead of AWS.
type account struct {
	t                               *testing.T
	config, data, state, certs, log string
}

// TestAWS holds aws/ to what it says, as far as that goes without AWS.
func TestAWS(t *testing.T) {
	double := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(double, "terraform-provider-aws"), "./double").CombinedOutput(); err != nil {
		t.Fatalf("build the double: %v\n%s", err, out)
	}
	for name, test := range map[string]func(*testing.T, *account){
		"changes": awsChanges, "existing VPC": awsInAnExistingVPC, "refusals": awsRefusals,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, openAccount(t, double))
		})
	}
}

func openAccount(t *testing.T, double string) *account {
	t.Helper()
	tmp := t.TempDir()
	a := &account{t: t, config: filepath.Join(tmp, "terraformrc"), data: filepath.Join(tmp, "data"), state: filepath.Join(tmp, "state"), certs: filepath.Join(tmp, "tls"), log: filepath.Join(tmp, "log")}
	text := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"hashicorp/aws\" = %q\n  }\n}\n", double)
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := a.run("get"); err != nil {
		t.Fatalf("get: %v\n%s", err, out)
	}
	return a
}

func (a *account) run(args ...string) (string, error) {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), "terraform", append([]string{"-chdir=../aws"}, args...)...)
	cmd.Env = append(os.Environ(), "TF_DATA_DIR="+a.data, "TF_CLI_CONFIG_FILE="+a.config, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1", "DOUBLE_LOG="+a.log)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// values are the variables of a cluster of three in a VPC of its own; more replace them.
func (a *account) values(more map[string]any) []string {
	values := map[string]any{
		"region": "eu-central-1", "domain": "trunkline.internal", "ami": "ami-0123456789abcdef0", "client_cidrs": []string{"10.0.0.0/8"},
		"new_vpc":      map[string]any{"cidr": "10.20.0.0/16", "zones": []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"}},
		"volume":       map[string]any{"gib": 100},
		"package":      map[string]any{"url": "https://packages.example/trunkline.rpm", "sha256": strings.Repeat("0f", 32)},
		"brokers":      three(nil),
		"certificates": a.certs,
	}
	for k, v := range more {
		values[k] = v
	}
	text, err := json.Marshal(values)
	if err != nil {
		a.t.Fatal(err)
	}
	file := filepath.Join(filepath.Dir(a.state), "values.tfvars.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return []string{"-no-color", "-input=false", "-state=" + a.state, "-var-file=" + file}
}

// three are three brokers in three zones, and more.
func three(more map[string]any) map[string]any {
	all := map[string]any{}
	for i, id := range []string{"1", "2", "3"} {
		all[id] = map[string]any{"zone": "eu-central-1" + string(rune('a'+i))}
	}
	for id, b := range more {
		all[id] = b
	}
	return all
}

// certify writes files such as examples/certificates makes.
func (a *account) certify(ids ...int) {
	a.t.Helper()
	if err := os.MkdirAll(a.certs, 0o700); err != nil {
		a.t.Fatal(err)
	}
	files := map[string]string{"ca.pem": "the authority", "token": "a secret token"}
	for _, id := range ids {
		files[fmt.Sprintf("broker-%d.pem", id)] = fmt.Sprintf("the secret key of %d", id)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(a.certs, name), []byte(text), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// apply returns what was done to instances, attachments and volumes, in order.
func (a *account) apply(values []string, more ...string) []string {
	a.t.Helper()
	_ = os.Remove(a.log) // of an earlier apply
	if out, err := a.run(append(append([]string{"apply", "-auto-approve"}, values...), more...)...); err != nil {
		a.t.Fatalf("apply: %v\n%s", err, out)
	}
	return a.done("aws_instance", "aws_volume_attachment", "aws_ebs_volume")
}

func (a *account) done(kinds ...string) (all []string) {
	a.t.Helper()
	text, err := os.ReadFile(a.log)
	if err != nil && !os.IsNotExist(err) {
		a.t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if f := strings.Fields(line); len(f) == 3 && slices.Contains(kinds, f[1]) {
			all = append(all, f[0]+" "+f[1])
		}
	}
	return all
}

// awsChanges makes a cluster, replaces a machine, adds and retires a broker, and destroys everything.
func awsChanges(t *testing.T, a *account) {
	a.certify(1, 2, 3, 4)
	values := a.values(nil)
	if made := a.apply(values); len(made) != 9 {
		t.Fatalf("three brokers have a machine, a volume and its attachment each, not %v", made)
	}
	a.keepsSecrets()
	if out, err := a.run(append([]string{"plan", "-detailed-exitcode"}, values...)...); err != nil {
		t.Errorf("a second plan has changes: %v\n%s", err, out)
	}

	want := []string{"delete aws_volume_attachment", "delete aws_instance", "create aws_instance", "create aws_volume_attachment"}
	if got := a.apply(values, "-replace", `aws_instance.broker["2"]`); !slices.Equal(got, want) {
		t.Errorf("a machine is replaced by %v instead of %v: its volume must stay", got, want)
	}
	if got := a.apply(a.values(map[string]any{"ami": "ami-0fedcba9876543210", "instance_type": "m7g.xlarge"})); len(got) != 0 {
		t.Errorf("a new image and type touch machines that run: %v", got)
	}

	fourth := map[string]any{"zone": "eu-central-1a", "founder": false}
	if got := a.apply(a.values(map[string]any{"brokers": three(map[string]any{"4": fourth})})); len(got) != 3 || slices.ContainsFunc(got, func(s string) bool { return !strings.HasPrefix(s, "create") }) {
		t.Errorf("a fourth broker touches the others: %v", got)
	}
	fourth["retired"] = true
	last := a.values(map[string]any{"brokers": three(map[string]any{"4": fourth})})
	if got := a.apply(last); len(got) != 3 || slices.ContainsFunc(got, func(s string) bool { return !strings.HasPrefix(s, "delete") }) {
		t.Errorf("a broker that retires touches the others: %v", got)
	}
	if out, err := a.run(append([]string{"destroy", "-auto-approve"}, last...)...); err != nil {
		t.Fatalf("destroy: %v\n%s", err, out)
	}
	if out, err := a.run("state", "list", "-state="+a.state); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("destroy has left: %v\n%s", err, out)
	}
}

// keepsSecrets checks that keys and tokens are only where write-only arguments take them.
func (a *account) keepsSecrets() {
	a.t.Helper()
	state, err := os.ReadFile(a.state)
	if err != nil {
		a.t.Fatal(err)
	}
	if strings.Contains(string(state), "secret") {
		a.t.Error("a key or a token is in the state")
	}
	if !strings.Contains(string(state), "the authority") || !strings.Contains(string(state), "trunkline.internal:7400") {
		a.t.Error("the state lacks the authority or the brokers' configuration: is anything given to machines?")
	}
}

func awsInAnExistingVPC(t *testing.T, a *account) {
	a.certify(1, 2, 3)
	existing := map[string]any{"id": "vpc-1", "subnets": map[string]string{"eu-central-1a": "subnet-1", "eu-central-1b": "subnet-2", "eu-central-1c": "subnet-3"}}
	out, err := a.run(append([]string{"plan"}, a.values(map[string]any{"vpc": existing, "new_vpc": nil})...)...)
	if err != nil || strings.Contains(out, "aws_vpc.own") || strings.Contains(out, "aws_nat_gateway") {
		t.Errorf("a network is made beside the existing one, or nothing can be planned: %v\n%s", err, out)
	}
}

func awsRefusals(t *testing.T, a *account) {
	a.certify(1, 2, 3)
	two := map[string]any{"1": map[string]any{"zone": "eu-central-1a"}, "2": map[string]any{"zone": "eu-central-1b"}}
	same := three(map[string]any{"3": map[string]any{"zone": "eu-central-1b"}})
	for _, c := range []struct {
		values map[string]any
		says   string
	}{
		{map[string]any{"brokers": two}, "it must be an odd number"},
		{map[string]any{"brokers": same}, "at least three zones"},
		{map[string]any{"brokers": three(map[string]any{"4": map[string]any{"zone": "eu-central-1a", "founder": false}})}, "certificates are missing in " + a.certs + ": broker-4.pem"},
		{map[string]any{"certificates": "/nowhere"}, "/nowhere/token is missing"},
		{map[string]any{"client_cidrs": []string{"0.0.0.0/0"}}, "0.0.0.0/0 is everybody"},
		{map[string]any{"instance_type": "t3.large"}, "none of the t families"},
		{map[string]any{"new_vpc": nil}, "Give either vpc, an existing one, or new_vpc"},
		{map[string]any{"new_vpc": map[string]any{"cidr": "10.20.0.0/30", "zones": []string{"eu-central-1a"}}}, "new_vpc.cidr must be an IPv4 block"},
		{map[string]any{"volume": map[string]any{"gib": 1}}, "outside 10 to 16384"},
		{map[string]any{"package": map[string]any{"url": "https://packages.example/trunkline.rpm"}}, "sha256 is missing"},
		{map[string]any{"settings": map[string]any{"raft": map[string]any{"tick": "5s"}}}, "outside 10ms to 1s"},
	} {
		out, err := a.run(append([]string{"plan"}, a.values(c.values)...)...)
		if said := strings.Join(strings.Fields(strings.ReplaceAll(out, "│", "")), " "); err == nil || !strings.Contains(said, c.says) {
			t.Errorf("plan with %v: %v; it should say %q:\n%s", c.values, err, c.says, out)
		}
	}
}
