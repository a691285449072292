package journaltest_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/journal/journaltest"
)

// histories plays random histories, and shrinks one that fails.
func histories(t *testing.T, s journaltest.Subject, longest int) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		dice := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "dice") }
		if err := journaltest.Play(s, dice, rapid.IntRange(1, longest).Draw(t, "steps")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestHistoriesOfModel(t *testing.T) { histories(t, model(), 80) }

func TestHistoriesOfTan(t *testing.T) { histories(t, journaltest.Tan(), 20) }

func TestHistoriesOfJournal(t *testing.T) { histories(t, onMem(small), 80) }
