package journaltest_test

import (
	"testing"

	"github.com/lni/dragonboat/v4/raftio"

	"github.com/trunkline/trunkline/broker/internal/journal/journaltest"
)

// model is the model as a subject: it lives on when it is closed.
func model() journaltest.Subject {
	return journaltest.Subject{Fresh: func() journaltest.Open {
		m := &journaltest.Model{}
		return func() (raftio.ILogDB, error) { return m, nil }
	}}
}

func TestModelKeepsTheContract(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, model())
}

func TestTanKeepsTheContract(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, journaltest.Tan())
}
