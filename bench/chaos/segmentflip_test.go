package chaos

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRepairsAreCountedAsTheyCome: what was put right counts, whatever is still wrong beside it, and what retention took does not.
func TestRepairsAreCountedAsTheyCome(t *testing.T) {
	dir := t.TempDir()
	f := &segmentFlip{}
	var paths []string
	for _, name := range []string{"slow", "quick", "old"} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("records"), 0o600))
		require.NoError(t, f.flip(path))
		paths = append(paths, path)
	}
	repair := func(path string) { require.NoError(t, os.WriteFile(path, []byte("records"), 0o600)) }
	wrong, err := f.look(f.flipped)
	require.NoError(t, err)
	require.Equal(t, f.flipped, wrong)
	require.Zero(t, f.repairs)

	repair(paths[1])
	require.NoError(t, os.Remove(paths[2]))
	wrong, err = f.look(wrong)
	require.NoError(t, err)
	require.Equal(t, f.flipped[:1], wrong)
	require.EqualValues(t, 1, f.repairs)

	require.NoError(t, os.Remove(paths[1])) // seconds later
	repair(paths[0])
	wrong, err = f.look(wrong)
	require.NoError(t, err)
	require.Empty(t, wrong)
	require.EqualValues(t, 2, f.repairs)
}
