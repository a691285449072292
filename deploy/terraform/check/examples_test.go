package check

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestExampleMachines: what the example writes for three machines is what the broker takes, and destroy removes it.
func TestExampleMachines(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	dir, data := filepath.Join(tmp, "machines"), filepath.Join(tmp, "data")
	run := func(verb string, more ...string) {
		t.Helper()
		args := append([]string{verb, "-no-color", "-input=false"}, more...)
		if out, err := terraform(t, "../examples/machines", data, args...); err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, out)
		}
	}
	run("init")
	run("apply", "-auto-approve", "-state="+filepath.Join(tmp, "state"), "-var", "directory="+dir)
	for _, id := range []string{"1", "2", "3"} {
		cmd := exec.CommandContext(t.Context(), "../../../bin/trunklined", "--config", filepath.Join(dir, "broker-"+id+".yaml"), "--print-config")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("broker %s refuses its configuration: %v\n%s", id, err, out)
		}
		checkCertificate(t, dir, id)
	}
	run("destroy", "-auto-approve", "-state="+filepath.Join(tmp, "state"), "-var", "directory="+dir)
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("destroy has left %v", left)
	}
}

// checkCertificate checks what docs/OPERATIONS.md asks of a broker's certificate.
func checkCertificate(t *testing.T, dir, id string) {
	t.Helper()
	leaf := certificate(t, filepath.Join(dir, "tls", "broker-"+id+".pem"))
	roots := x509.NewCertPool()
	roots.AddCert(certificate(t, filepath.Join(dir, "tls", "ca.pem")))
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "b" + id + ".example", KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("broker %s, usage %d: %v", id, usage, err)
		}
	}
	uris := []string{}
	for _, u := range leaf.URIs {
		uris = append(uris, u.String())
	}
	if !slices.Equal(uris, []string{"trunkline://broker-" + id}) {
		t.Errorf("the certificate of broker %s is bound to %v", id, uris)
	}
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s has no certificate", path)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
