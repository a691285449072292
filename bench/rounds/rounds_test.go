package rounds_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/planted"
	"github.com/trunkline/trunkline/bench/drivers"
	"github.com/trunkline/trunkline/bench/engine"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/rounds"
	"github.com/trunkline/trunkline/bench/workload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const short = `name: short
topics: 1
partitionsPerTopic: 2
messageSize: 64
subscriptionsPerTopic: 1
consumerPerSubscription: 1
producersPerTopic: 1
producerRate: 10000
warmup: 100ms
duration: 500ms
`

// absent is a system that is not installed, broken one that does not start.
type absent struct{ planted.Driver }

func (absent) Name() string     { return "absent" }
func (absent) Installed() error { return fmt.Errorf("%w: run make peers", driver.ErrNotInstalled) }

type broken struct{ planted.Driver }

func (broken) Name() string { return "broken" }
func (broken) Open(context.Context, driver.Options) (driver.System, error) {
	return nil, errors.New("the port is taken")
}

func options(t *testing.T, systems ...drivers.Selection) rounds.Options {
	w, err := workload.Parse([]byte(short), "short.yaml")
	require.NoError(t, err)
	return rounds.Options{
		Systems: systems, Workloads: []*workload.Workload{w}, Rounds: 2, Dir: t.TempDir(), Command: "test",
		Progress: func(engine.Progress) {}, Say: t.Logf, Ended: func(*results.Run) {},
	}
}

func sound(d driver.Driver) drivers.Selection {
	return drivers.Selection{Driver: d, Profile: d.Profiles()[0]}
}

// TestSystemsTakeTurns, and one that cannot be measured does not keep the others from it.
func TestSystemsTakeTurns(t *testing.T) {
	slow := drivers.Selection{Driver: planted.Driver{}, Profile: driver.Profile{Name: "refuses"}}
	opts := options(t, sound(absent{}), sound(planted.Driver{}), sound(broken{}), slow)
	file, err := rounds.Run(t.Context(), opts)
	require.NoError(t, err)
	var order []string
	for _, r := range file.Runs {
		order = append(order, fmt.Sprintf("%d %s %s", r.Round, r.System, r.Verdict))
	}
	require.Equal(t, []string{"1 planted:sound ok", "1 planted:refuses failed", "2 planted:sound ok", "2 planted:refuses failed"}, order)
	require.Len(t, file.NotMeasured, 2, "each is said once")
	require.Contains(t, file.NotMeasured[0].Why, "make peers")
	require.Contains(t, file.NotMeasured[1].Why, "the port is taken")
	left, err := os.ReadDir(opts.Dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestEndedByItsContext: what was measured is kept, half a run is not.
func TestEndedByItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	opts := options(t, sound(planted.Driver{}))
	opts.Rounds = 50
	opts.Ended = func(*results.Run) { time.AfterFunc(100*time.Millisecond, cancel) }
	file, err := rounds.Run(ctx, opts)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, file.Runs, 1)
}
