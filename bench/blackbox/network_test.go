package blackbox

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/chaos"
)

// TestNetworkChaos is the short form of the network's rows: a leader is cut off, and nothing is lost. It runs the command, which
// moves into a network namespace of its own.
func TestNetworkChaos(t *testing.T) {
	before, err := os.ReadFile("/proc/net/dev")
	require.NoError(t, err)
	cmd := exec.CommandContext(deadline(t, 3*time.Minute), filepath.Join(binaries, "trunkbench"), "chaos",
		"--row", "partition-leader", "--count", "1", "--slack", "4", "--partitions", "2", "--producers", "1", "--subscriptions", "1", "--dir", t.TempDir())
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	if strings.Contains(said.String(), "is not available here") {
		t.Skip(said.String())
	}
	require.NoError(t, err, said.String())
	var res chaos.Result
	require.NoError(t, json.Unmarshal(out.Bytes(), &res))
	require.Empty(t, res.Violations)
	require.Len(t, res.Faults, 1)
	require.Positive(t, res.Acked)
	require.Positive(t, res.Counts["packets_lost"])
	require.Positive(t, res.Counts["epochs_begun"], "others lead")
	after, err := os.ReadFile("/proc/net/dev")
	require.NoError(t, err)
	require.Equal(t, links(before), links(after), "the machine's network is as it was")
}

// links returns the names of the links in /proc/net/dev.
func links(text []byte) (names []string) {
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}
