package chaos

import (
	"errors"
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
