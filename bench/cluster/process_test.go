package cluster

import (
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProcessors(t *testing.T) {
	require.Equal(t, runtime.NumCPU(), Processors(1))
	require.Equal(t, 1, Processors(10*runtime.NumCPU()))
}

// TestBrokerEnv looks at what a process really gets.
func TestBrokerEnv(t *testing.T) {
	seen := func(environ ...string) []string {
		cmd := exec.CommandContext(t.Context(), "env")
		cmd.Env = brokerEnv(environ, 3)
		out, err := cmd.Output()
		require.NoError(t, err)
		return strings.Fields(string(out))
	}
	require.Equal(t, []string{"GOMAXPROCS=3", "A=1"}, seen("TRUNKLINE_LOG_LEVEL=debug", "A=1"))
	require.Equal(t, []string{"GOMAXPROCS=7"}, seen("GOMAXPROCS=7"), "who says it himself is right")
}
