//go:build packages

package packages_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// userData is what Terraform makes of modules/cluster-config, as aws/ uses it but for where files come from.
const userData = `
module "config" {
  source       = %q
  cluster      = "clouds"
  brokers      = { "1" = { host = "b1.example" } }
  tls          = { ca = "/etc/trunkline/tls/ca.pem", cert = "/etc/trunkline/tls/broker.pem", key = "/etc/trunkline/tls/broker-key.pem" }
  client       = { ca = "/etc/trunkline/tls/ca.pem" }
  data_devices = { "1" = %q }
  machine = {
    package = "/root/trunkline.deb"
    sha256  = %q
    files = [
      { path = "/etc/trunkline/trunkline.yaml", command = "cat /srv/source/broker-{id}.yaml" },
      { path = "/etc/trunkline/tls/ca.pem", command = "cat /srv/source/ca.pem" },
      { path = "/etc/trunkline/tls/broker.pem", command = "cat /srv/source/b{id}.pem" },
      { path = "/etc/trunkline/tls/broker-key.pem", command = "cat /srv/source/b{id}-key.pem" },
    ]
  }
}
output "cloud_init" { value = module.config.cloud_init["1"] }
output "configuration" { value = module.config.configurations["1"] }
`

// TestCloudInitMakesABroker gives a fresh Debian the user data of modules/cluster-config and an empty volume, and nobody touches it
// then. A second machine gets the same volume, as when one is replaced.
func TestCloudInitMakesABroker(t *testing.T) {
	t.Parallel()
	device := emptyVolume(t)
	root := cloudImage(t, device)

	t.Run("a fresh machine and an empty volume", func(t *testing.T) {
		m := boot(t, "tl-cloud-1", root, "", "--bind="+device)
		m.serves(device)
		m.trunkline("topic create calls")
		m.publish("calls", 1, 300)
		require.Equal(t, numbers(1, 300), m.consume("calls", "first", 300))

		m.sh("echo '# renewed' >>/srv/source/ca.pem; systemctl start trunkline-files.service")
		require.Contains(t, m.run("cat", "/etc/trunkline/tls/ca.pem"), "# renewed", "what the timer does every hour")
		m.run("systemctl", "restart", "trunklined")
		require.Equal(t, numbers(1, 300), m.consume("calls", "second", 300))
	})
	t.Run("another machine and that volume", func(t *testing.T) {
		m := boot(t, "tl-cloud-2", root, "", "--bind="+device)
		m.serves(device)
		require.Equal(t, numbers(1, 300), m.consume("calls", "third", 300), "the data outlive the machine")
	})
}

// serves checks that cloud-init and what it started have ended well, and that the broker serves from the volume.
func (m *machine) serves(device string) {
	m.t.Helper()
	require.Contains(m.t, m.run("cloud-init", "status", "--wait"), "status: done")
	require.Equal(m.t, "active", m.unit()["ActiveState"], m.run("journalctl", "-u", "trunkline-machine", "-o", "cat"))
	require.Equal(m.t, device+" ext4\n", m.run("findmnt", "-n", "-o", "SOURCE,FSTYPE", "/var/lib/trunkline"))
	require.Equal(m.t, "active\n", m.run("systemctl", "is-active", "trunkline-files.timer"))
	require.Equal(m.t, "root:trunkline 640\n", m.run("stat", "-c", "%U:%G %a", "/etc/trunkline/tls/broker-key.pem"))
}

// emptyVolume returns a block device with nothing on it. Where there are no loop devices the test is skipped.
func emptyVolume(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("a machine's volume is a loop device here:", err)
	}
	file := filepath.Join(t.TempDir(), "volume")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, 2<<30))
	device := strings.TrimSpace(host(t, "losetup", "--find", "--show", file))
	t.Cleanup(func() { host(t, "losetup", "--detach", device) })
	return device
}

// cloudImage returns a Debian with cloud-init, the package at /root, the broker's files at /srv/source and its user data. It has no
// network: cloud-init is told to look beside itself only. Nor has it what modules about SSH and locales want.
func cloudImage(t *testing.T, device string) string {
	t.Helper()
	image := unpack(t, os.Getenv("CLOUD_ROOT"))
	pkg := putPackage(t, image, "_"+goarch+".deb")
	text, err := os.ReadFile(pkg)
	require.NoError(t, err)
	given := rendered(t, device, fmt.Sprintf("%x", sha256.Sum256(text)))
	certs := makeCertificates(t)
	for path, text := range map[string]string{
		"etc/hosts":                            "127.0.0.1 localhost b1.example\n",
		"etc/cloud/cloud.cfg.d/99-here.cfg":    "datasource_list: [NoCloud]\nnetwork: {config: disabled}\ncloud_config_modules: [runcmd]\n",
		"var/lib/cloud/seed/nocloud/meta-data": "instance-id: i-1\nlocal-hostname: b1\n",
		"var/lib/cloud/seed/nocloud/user-data": given["cloud_init"],
		"srv/source/broker-1.yaml":             given["configuration"],
		"srv/source/ca.pem":                    read(t, filepath.Join(certs, "ca.pem")),
		"srv/source/b1.pem":                    read(t, filepath.Join(certs, "b1.pem")),
		"srv/source/b1-key.pem":                read(t, filepath.Join(certs, "b1-key.pem")),
	} {
		path = filepath.Join(image, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return image
}

// rendered lets Terraform render and returns its outputs.
func rendered(t *testing.T, device, digest string) map[string]string {
	t.Helper()
	module, err := filepath.Abs("../terraform/modules/cluster-config")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.tf"), fmt.Appendf(nil, userData, module, device, digest), 0o600))
	terraform := func(args ...string) []byte {
		cmd := exec.CommandContext(t.Context(), "terraform", append([]string{"-chdir=" + dir}, args...)...)
		cmd.Env = append(os.Environ(), "TF_IN_AUTOMATION=1", "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1")
		var says bytes.Buffer
		cmd.Stderr = &says
		out, err := cmd.Output()
		require.NoError(t, err, "%v: %s", args, says.String())
		return out
	}
	terraform("init", "-no-color")
	terraform("apply", "-no-color", "-auto-approve")
	var outputs map[string]struct{ Value string }
	require.NoError(t, json.Unmarshal(terraform("output", "-json"), &outputs))
	given := map[string]string{}
	for name, o := range outputs {
		given[name] = o.Value
	}
	return given
}
