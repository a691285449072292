package journaltest_test

import (
	"testing"

	"github.com/lni/dragonboat/v4/raftio"

	"github.com/trunkline/trunkline/broker/internal/journal"
	"github.com/trunkline/trunkline/broker/internal/journal/journaltest"
	"github.com/trunkline/trunkline/broker/internal/storefs"
)

// small is a journal whose files and caches are so small that tests fill them.
func small(fs storefs.FS) journal.Options {
	return journal.Options{FS: fs, FileBytes: 64 << 10, CacheBytes: 64 << 10}
}

// onMem is a journal in memory as a subject.
func onMem(options func(storefs.FS) journal.Options) journaltest.Subject {
	return journaltest.Subject{Fresh: func() journaltest.Open {
		fs := storefs.NewMem()
		return func() (raftio.ILogDB, error) { return journal.Open("journal", journaltest.Workers, options(fs)) }
	}}
}

func TestJournalKeepsTheContract(t *testing.T) {
	t.Parallel()
	t.Run("small", func(t *testing.T) { journaltest.Run(t, onMem(small)) })
	t.Run("roomy", func(t *testing.T) {
		journaltest.Run(t, onMem(func(fs storefs.FS) journal.Options { return journal.Options{FS: fs, FileBytes: 1 << 20} }))
	})
}
