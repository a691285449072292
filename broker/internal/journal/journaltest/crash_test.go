package journaltest_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/journal"
	"github.com/trunkline/trunkline/broker/internal/journal/journaltest"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

func openJournal(fs storefs.FS) (raftio.ILogDB, error) {
	return journal.Open("journal", journaltest.Workers, small(fs))
}

// seeds runs a test with some seeds, or with others if the environment says so, JOURNALTEST_SEEDS=from-to, and then
// thoroughly.
func seeds(t *testing.T, n int, test func(t *testing.T, seed uint64, thorough bool)) {
	from, to := 1, n
	s := os.Getenv("JOURNALTEST_SEEDS")
	if s != "" {
		_, err := fmt.Sscanf(s, "%d-%d", &from, &to)
		require.NoError(t, err)
	}
	for seed := from; seed <= to; seed++ {
		t.Run(strconv.Itoa(seed), func(t *testing.T) { test(t, uint64(seed), s != "") })
	}
}

func TestJournalCrashes(t *testing.T) {
	t.Parallel()
	seeds(t, 1, func(t *testing.T, seed uint64, thorough bool) {
		plan := journaltest.CrashPlan{Seed: seed, Steps: 20, Every: 1, Sparse: 40}
		if thorough {
			plan.Steps, plan.Sparse = 60, 6
		}
		require.NoError(t, journaltest.Crashes(openJournal, plan))
	})
}

// TestJournalCrashesWhileReclaiming has histories so long that files are reclaimed and used again. It found that a file
// under two names, as a rename may leave it, was written as a spare one while it was read as another.
func TestJournalCrashesWhileReclaiming(t *testing.T) {
	t.Parallel()
	seeds(t, 3, func(t *testing.T, seed uint64, thorough bool) {
		plan := journaltest.CrashPlan{Seed: seed, Steps: 250, Every: 20, Sparse: 60}
		if thorough {
			plan.Steps, plan.Every, plan.Sparse = 600, 5, 20
		}
		var spared, reused atomic.Int64
		open := func(fs storefs.FS) (raftio.ILogDB, error) {
			return openJournal(storefs.Faulty(fs, func(op storefs.Op, name string) error {
				switch {
				case op == storefs.OpRename && strings.Contains(name, "spare-"):
					spared.Add(1)
				case op == storefs.OpWrite && strings.Contains(name, "spare-"):
					reused.Add(1)
				}
				return nil
			}))
		}
		require.NoError(t, journaltest.Crashes(open, plan))
		t.Logf("%d files became spare, %d of them were used again", spared.Load(), reused.Load())
		require.NotZero(t, spared.Load())
		require.NotZero(t, reused.Load())
	})
}

func TestJournalFaults(t *testing.T) {
	t.Parallel()
	seeds(t, 1, func(t *testing.T, seed uint64, thorough bool) {
		steps := 25
		if thorough {
			steps = 60
		}
		require.NoError(t, journaltest.Faults(openJournal, seed, steps))
	})
}
