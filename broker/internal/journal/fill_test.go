package journal

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// openCounting opens a journal whose second file has 4 MiB and third 16, and counts the writes to all but the first.
func openCounting(t *testing.T) (*Journal, storefs.FS, *atomic.Int64) {
	var fills atomic.Int64
	fs := storefs.Faulty(newMem(t), func(op storefs.Op, name string) error {
		if op == storefs.OpWrite && strings.Contains(name, newPrefix) && !strings.HasSuffix(name, "1") {
			fills.Add(1)
		}
		return nil
	})
	return openWith(t, Options{FS: fs}), fs, &fills
}

const (
	secondFile = 4 << 20
	thirdFile  = 16 << 20
)

func TestNextFileIsFilledAtLeisure(t *testing.T) {
	j, _, fills := openCounting(t)
	log := entries(1, 5, 1, 64<<10)
	for i := range log {
		save(t, j, update(1, log[i:i+1]))
	}
	require.Eventually(t, func() bool { return len(j.wals[0].next) == 1 }, 30*time.Second, time.Millisecond)
	require.Equal(t, int64(secondFile/fillBytes+1), fills.Load(), "every byte, and the header")
}

// TestNextFileIsUsedUnfilled: a writer that is faster than the filling takes the file as it is, and nothing of what it
// writes there is lost.
func TestNextFileIsUsedUnfilled(t *testing.T) {
	j, fs, fills := openCounting(t)
	log := entries(1, 48, 1, 128<<10)
	for i := range log {
		save(t, j, update(1, log[i:i+1]))
	}
	require.Len(t, j.wals[0].files, 3)
	require.Less(t, fills.Load(), int64((secondFile+thirdFile)/fillBytes))
	require.NoError(t, j.Close())
	wantLog(t, openWith(t, Options{FS: fs}), 1, log)
}
