package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker"
)

// TestExitCodes: a supervisor starts a broker again only if that may help.
func TestExitCodes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trunkline.yaml")
	require.NoError(t, os.WriteFile(file, []byte("brokr: 1\n"), 0o600))
	for _, args := range [][]string{{"--config", file}, {"--config", file + ".missing"}, {"--broker", "zero"}} {
		cmd := command()
		cmd.SetArgs(args)
		err := cmd.ExecuteContext(t.Context())
		require.Error(t, err, args)
		require.Equal(t, exitForGood, exitCode(err), "%v: %v", args, err)
	}
	require.Equal(t, exitForGood, exitCode(errors.Join(fmt.Errorf("broker 3 %w", broker.ErrDecommissioned), errors.New("close"))))
	require.Equal(t, 1, exitCode(errors.New("data_dir: input/output error")))
}
