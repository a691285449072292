package failpoint_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	tableName = regexp.MustCompile(`"([a-z][a-zA-Z.-]+)"`)
	callName  = regexp.MustCompile(`failpoint\.(?:Hit|Step|Bug)\("([^"]+)"[,)]`)
)

// table returns the points that are named in the product, without those of files and the clock, which are made of other words.
func table(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("points.go")
	require.NoError(t, err)
	_, list, ok := bytes.Cut(text, []byte("var points"))
	require.True(t, ok)
	var names []string
	for _, m := range tableName.FindAllSubmatch(list, -1) {
		if name := string(m[1]); !strings.HasPrefix(name, "fs.") {
			names = append(names, name)
		}
	}
	require.Greater(t, len(names), 14)
	return names
}

// TestNormalBuildHoldsNoFailpoint looks for the names of all points in the daemon as people build it, and in the one that can be
// made to fail.
func TestNormalBuildHoldsNoFailpoint(t *testing.T) {
	dir := t.TempDir()
	build := func(name string, args ...string) []byte {
		out, err := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", filepath.Join(dir, name)}, args...),
			"../../../cmd/trunklined")...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		binary, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return binary
	}
	normal, faulty := build("normal"), build("faulty", "-tags", "faults")
	for _, name := range append(table(t), "TRUNKLINE_FAILPOINTS", "/debug/failpoints", "plantedReuse", "plantedOldEpoch") {
		require.False(t, bytes.Contains(normal, []byte(name)), "%s is in the normal build", name)
		require.True(t, bytes.Contains(faulty, []byte(name)), "%s is not in the build with failpoints", name)
	}
}

// TestEveryPointIsOnTheRoad compares the table with the calls in the product.
func TestEveryPointIsOnTheRoad(t *testing.T) {
	var called []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range callName.FindAllSubmatch(text, -1) {
			called = append(called, string(m[1]))
		}
		return err
	})
	require.NoError(t, err)
	slices.Sort(called)
	want := table(t)
	slices.Sort(want)
	require.Equal(t, want, slices.Compact(called))
}
