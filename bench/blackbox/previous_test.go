//go:build mix

package blackbox

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// previousCommit is the release before this one. Whoever makes a release writes its commit there afterwards.
//
//go:embed PREVIOUS
var previousCommit string

// previous builds the commands of the release before and returns where they and its sources are. The sources come out of the
// repository's history; the directory is kept in the user's cache for the next time.
func previous(t *testing.T) (bin, src string) {
	t.Helper()
	commit := strings.TrimSpace(previousCommit)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	dir := filepath.Join(cache, "trunkline-previous", commit)
	bin, src = filepath.Join(dir, "bin"), filepath.Join(dir, "src")
	if _, err := os.Stat(filepath.Join(bin, "done")); err == nil {
		return bin, src
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o700))
	work, err := os.MkdirTemp(filepath.Dir(dir), "new-") //nolint:usetesting // it is renamed, so it must be in the same file system
	require.NoError(t, err)
	defer os.RemoveAll(work)
	extract(t, commit, filepath.Join(work, "src"))
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X github.com/trunkline/trunkline/broker.Version=previous",
		"-o", filepath.Join(work, "bin")+"/", "./cmd/trunklined", "./cmd/trunkline")
	build.Dir = filepath.Join(work, "src")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "build the release before, %s: %s", commit, out)
	require.NoError(t, os.WriteFile(filepath.Join(work, "bin", "done"), nil, 0o600))
	require.NoError(t, os.RemoveAll(dir)) // what a test that was killed left
	require.NoError(t, os.Rename(work, dir))
	return bin, src
}

// extract writes the files of a commit to a directory.
func extract(t *testing.T, commit, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(to, 0o700))
	archive := exec.CommandContext(t.Context(), "git", "archive", "--format=tar", commit)
	archive.Dir = root(t)
	var tar, says bytes.Buffer
	archive.Stdout, archive.Stderr = &tar, &says
	if err := archive.Run(); err != nil {
		t.Fatalf("commit %s of the release before (bench/blackbox/PREVIOUS) cannot be read: %v: %s\nThis test needs git and the "+
			"whole history: in a shallow clone run `git fetch --unshallow`; in CI let the checkout fetch everything.", commit, err, says.String())
	}
	unpack := exec.CommandContext(t.Context(), "tar", "-x", "-C", to)
	unpack.Stdin = &tar
	out, err := unpack.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// root is the top of this repository.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, "go.mod"), fmt.Sprintf("%s is not the top of the repository", dir))
	return dir
}
