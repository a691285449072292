package chaos

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFailpointFaults makes each fault that needs the build with failpoints on a cluster under load, and checks the run like any
// other. Only one blow of a row's many is struck.
func TestFailpointFaults(t *testing.T) {
	dir := t.TempDir()
	o := Options{Binary: filepath.Join(dir, "trunklined"), Dir: dir, Partitions: 3, Progress: t.Output()}.WithDefaults()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "faults"), 0o700))
	lacking := newClock(&o)
	require.ErrorContains(t, lacking.Available(), "make faults")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "faults", "-o", taggedBinary(o.Binary), "../../cmd/trunklined").CombinedOutput()
	require.NoError(t, err, "%s", out)

	clock := newClock(&o).(*lasting)
	faults := []Fault{
		newSlowFsync(&o), clock,
		newFailedFsync(&o), newShortWrite(&o),
		newStrike(&o, "panic", panics("afterProposeBeforeCommit")),
		newStrike(&o, "poke", []blow{{point: "afterAcceptStream", rule: "panic,count=1", lives: true, poke: true}}),
	}
	require.Len(t, newPanicLeader(&o).(*strike).blows, 14)
	require.Len(t, newPanicFollower(&o).(*strike).blows, len(replicaPoints))
	o.Binary = taggedBinary(o.Binary)
	r := &run{opts: o, gear: gear{rack: &rack{}}, faults: map[string]Fault{}, res: &Result{}, start: time.Now()}
	r.health = newHealth(&r.opts, r.start)
	for _, f := range faults {
		require.NoError(t, f.Available())
		r.faults[f.Name()] = f
		victim := 1
		if f.Name() == "panic" {
			victim = 2 // it leads: broker 1 does not any more
		}
		r.events = append(r.events, Event{Row: "sigkill", Fault: f.Name(), Victims: []int{victim}, Wait: 100 * time.Millisecond, Hold: 300 * time.Millisecond})
	}
	r.dir, r.lock, err = claim(o.Dir)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	defer func() { require.NoError(t, r.cleanUp(context.WithoutCancel(ctx), false)) }()
	require.NoError(t, r.phases(ctx))
	require.Empty(t, r.res.Violations)
	require.Len(t, r.res.Faults, len(faults))
	require.Positive(t, clock.acts)
}
