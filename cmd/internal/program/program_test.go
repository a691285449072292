package program

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// pages writes the manual of a program with one command.
func pages(t *testing.T) map[string]string {
	t.Helper()
	run := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "exchange", Short: "Connect calls", Run: run}
	root.AddCommand(&cobra.Command{Use: "dial NUMBER", Short: "Dial a number", Run: run}, ManualCommand("8"))
	dir := filepath.Join(t.TempDir(), "man")
	root.SetArgs([]string{"manual", dir})
	require.NoError(t, root.ExecuteContext(t.Context()))
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		found[e.Name()] = string(text)
	}
	return found
}

func TestManualHasAPageForEachCommandOfTheProgram(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	got := pages(t)
	require.Len(t, got, 2, "neither completion nor the hidden command")
	require.Contains(t, got["exchange.8"], `"EXCHANGE" "8" "Nov 2023"`)
	require.Contains(t, got["exchange-dial.8"], "Dial a number")
	require.Equal(t, got, pages(t), "the same again")
}

func TestVersionNamesThePlatform(t *testing.T) {
	require.Contains(t, Version(), runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH)
}
