// Package packages_test checks what is in the packages and the image: here what no machine is needed for, in machine_test.go (tag
// packages) on Debian root file systems with a systemd of their own.
package packages_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/trunkline/trunkline/broker"
)

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

// settings returns the settings of a unit or a sysctl file; the values of a key that is there twice are joined.
func settings(t *testing.T, path string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for line := range strings.Lines(read(t, path)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && !strings.HasPrefix(key, "#") {
			key = strings.TrimSpace(key)
			found[key] = strings.TrimSpace(found[key] + " " + value)
		}
	}
	return found
}

func seconds(t *testing.T, value string) time.Duration {
	t.Helper()
	n, err := strconv.Atoi(value)
	require.NoError(t, err)
	return time.Duration(n) * time.Second
}

// TestTheUnitFitsTheBroker compares the unit's times and limits with what the broker promises.
func TestTheUnitFitsTheBroker(t *testing.T) {
	unit := settings(t, "trunklined.service")
	require.GreaterOrEqual(t, seconds(t, unit["TimeoutStopSec"]), 2*broker.DrainLimit, "the drain, and as long again to close")
	require.GreaterOrEqual(t, seconds(t, unit["WatchdogSec"]), 15*time.Second, "three beats of which each may take five seconds")
	files, err := strconv.Atoi(unit["LimitNOFILE"])
	require.NoError(t, err)
	require.GreaterOrEqual(t, files, 4*broker.Config{}.WithDefaults().Limits.MaxConnections, "connections, and room for replicas")
	require.Equal(t, "notify", unit["Type"])
	require.Equal(t, "78", unit["RestartPreventExitStatus"], "cmd/trunklined, exitForGood")
	require.Equal(t, "0", unit["StartLimitIntervalSec"], "it never gives up")
	require.NotContains(t, unit, "ExecStop", "SIGTERM drains; a command beside it would only hide that")
}

// TestTheBuffersAreWhatQUICAsksFor: quic-go asks for 7 MiB, and the kernel cuts a request down to its maximum.
func TestTheBuffersAreWhatQUICAsksFor(t *testing.T) {
	conf := settings(t, "trunkline.sysctl")
	for _, key := range []string{"net.core.rmem_max", "net.core.wmem_max"} {
		n, err := strconv.Atoi(conf[key])
		require.NoError(t, err, key)
		require.GreaterOrEqual(t, n, 7<<20, key)
	}
}

// TestTheShippedConfiguration loads it as it is, with its two lines, and with all that is proposed in it.
func TestTheShippedConfiguration(t *testing.T) {
	shipped := read(t, "trunkline.yaml")
	two := regexp.MustCompile(`(?m)^#(cluster|broker):`).ReplaceAllString(shipped, "$1:")
	all := regexp.MustCompile(`(?m)^#(\w+:|  )`).ReplaceAllString(shipped, "$1")
	for name, text := range map[string]string{"as it is": shipped, "two lines": two, "all lines": all} {
		path := filepath.Join(t.TempDir(), "trunkline.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		cfg, err := broker.Load(path, nil, nil)
		require.NoError(t, err, name)
		require.Equal(t, "/var/lib/trunkline", cfg.DataDir)
		switch name {
		case "two lines":
			require.Equal(t, "prod", cfg.Cluster)
			require.Len(t, cfg.Members, 1)
		case "all lines":
			require.Len(t, cfg.Members, 3)
			require.NotEmpty(t, cfg.TLS.Key)
		}
	}
}

// compose is what of a compose file is checked.
type compose struct {
	Services map[string]struct {
		Environment map[string]string `yaml:"environment"`
		Ports       []string          `yaml:"ports"`
		Stop        string            `yaml:"stop_grace_period"`
		ReadOnly    bool              `yaml:"read_only"`
	} `yaml:"services"`
}

// TestTheComposedBrokersFormACluster loads the configuration of each service as its broker would.
func TestTheComposedBrokersFormACluster(t *testing.T) {
	var file compose
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "../docker/compose.yaml")), &file))
	require.Len(t, file.Services, 3)
	var members []broker.Member
	for name, s := range file.Services {
		var env []string
		for k, v := range s.Environment {
			env = append(env, k+"="+v)
		}
		cfg, err := broker.Load("", env, nil)
		require.NoError(t, err, name)
		if members == nil {
			members = cfg.Members
		}
		require.Equal(t, members, cfg.Members, "all know the same brokers")
		self, _ := cfg.Self()
		require.Equal(t, name+":7401", self.Raft, "others find the broker by the name of its service")
		require.True(t, slices.Contains(s.Ports, self.Listen+":7400/udp"), "%v: clients find it at %s", s.Ports, self.Listen)
		stop, err := time.ParseDuration(s.Stop)
		require.NoError(t, err)
		require.GreaterOrEqual(t, stop, 2*broker.DrainLimit)
		require.True(t, s.ReadOnly)
	}
	require.Len(t, members, 3)
}
