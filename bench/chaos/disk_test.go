package chaos

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirePowerCuts skips a test where disks cannot be mounted.
func requirePowerCuts(t *testing.T) {
	t.Helper()
	err := (&powerCut{rack: &rack{}}).Available()
	if err == nil {
		err = provePowerCut(t.Context(), t.TempDir())
	}
	var unavailable *UnavailableError
	if errors.As(err, &unavailable) {
		t.Skip(err)
	}
	require.NoError(t, err)
}

func TestPowerCutLosesWhatWasNotSyncedAndNothingElse(t *testing.T) {
	requirePowerCuts(t)
}

// TestADiskIsFilledAgain: a broker that deletes what it has compacted makes room beside the ballast.
func TestADiskIsFilledAgain(t *testing.T) {
	requirePowerCuts(t)
	const leave, given = 16 << 20, 32 << 20
	r := &rack{images: t.TempDir(), size: 256 << 20}
	require.NoError(t, r.setup(t.Context(), t.TempDir(), 1))
	t.Cleanup(func() { require.NoError(t, r.cleanUp(false)) })
	dir := r.disks[1].dir
	log := filepath.Join(dir, "compacted")
	require.NoError(t, os.WriteFile(log, make([]byte, given), 0o600))
	filled := func() {
		require.NoError(t, fill(dir, leave))
		free, err := freeBytes(dir)
		require.NoError(t, err)
		require.InDelta(t, leave, free, 1<<20)
	}
	filled()
	require.NoError(t, os.Remove(log))
	free, err := freeBytes(dir)
	require.NoError(t, err)
	require.Greater(t, free, int64(given), "there is room again")
	filled()
	filled()
}
