package chaos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/driver/jetstream"
	"github.com/trunkline/trunkline/bench/driver/planted"
)

func TestSystemsGetTheSameScheduleAndNobodyIsHitWhileStarting(t *testing.T) {
	o := SystemOptions{Driver: planted.Driver{}, Row: "powercut-all", Count: 100, Seed: 3}.withDefaults()
	other := o
	other.Driver, other.Profile = jetstream.Driver{}, "default"
	require.Equal(t, systemPlan(&o), systemPlan(&other))
	for _, e := range systemPlan(&o) {
		require.False(t, e.Again)
		require.Equal(t, everyone(systemNodes), e.Victims)
	}
	require.Equal(t, []string{"leader", "sigkill", "sigkill-all", "powercut", "powercut-all"}, SystemRows())
}

func TestSystemOptionsThatMakeNoSense(t *testing.T) {
	for want, o := range map[string]SystemOptions{
		"not for every system": {Row: "silent"},
		"--rate":               {Rate: -1},
		"--count":              {Count: maxCount + 1},
	} {
		o.Driver = planted.Driver{}
		_, err := RunSystem(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
}

// TestSystemsThatBreakTheirPromisesAreFound runs a kill of a leader on systems that misbehave on purpose, and on one that does not.
func TestSystemsThatBreakTheirPromisesAreFound(t *testing.T) {
	for profile, found := range map[string]func(*SystemResult) int64{
		"sound":      func(r *SystemResult) int64 { return int64(len(r.Broken)) },
		"loses":      func(r *SystemResult) int64 { return r.Lost },
		"duplicates": func(r *SystemResult) int64 { return r.Duplicated },
		"reorders":   func(r *SystemResult) int64 { return r.Reordered },
		"damages":    func(r *SystemResult) int64 { return r.Phantom },
	} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			rate := 4000
			if profile == "reorders" {
				rate = 20_000 // two messages of one producer must wait at the same time
			}
			res, err := RunSystem(t.Context(), SystemOptions{
				Driver: planted.Driver{}, Profile: profile, Count: 1, Rate: rate, Partitions: 3, Dir: t.TempDir(), patience: 2 * time.Second,
			})
			require.NoError(t, err)
			require.Len(t, res.Faults, 1)
			f := res.Faults[0]
			require.Len(t, f.Victims, 1)
			// A pause begins with the first message that waits: a partition's come 0.75 ms apart, and more on a busy machine.
			require.Greater(t, f.Pause, 0.9*millis(f.Hold)-5, "nobody takes over from an imaginary node")
			require.Positive(t, res.Acked)
			if profile == "sound" {
				require.Empty(t, res.Broken, "%v", res.Examples)
				return
			}
			require.Positive(t, found(res), "%+v", res)
			require.NotEmpty(t, res.Broken)
			require.NotEmpty(t, res.Examples)
		})
	}
}

func TestLossAfterAPowerCutBreaksOnlyAPromiseThatWasGiven(t *testing.T) {
	for _, c := range []struct{ durable, cut, broken bool }{{true, true, true}, {true, false, true}, {false, false, true}, {false, true, false}} {
		r := &SystemResult{About: driver.About{Durable: c.durable}, Offered: 100, Sent: 100, Acked: 100, Lost: 1}
		r.judge(c.cut)
		require.Equal(t, c.broken, !r.OK(), "%+v: %v", c, r.Broken)
	}
	late := &SystemResult{Offered: 100, Sent: 94, Acked: 94}
	late.judge(false)
	require.ErrorContains(t, errors.New(late.Broken[0]), "the load was not offered")
}

func TestSystemRunThatIsInterruptedTellsOfNoLoss(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	dir := t.TempDir()
	res, err := RunSystem(ctx, SystemOptions{Driver: planted.Driver{}, Count: 100, Dir: dir})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Nil(t, res)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestDiskThatNobodyUsesIsFound(t *testing.T) {
	dir := t.TempDir()
	require.ErrorContains(t, inhabited([]string{dir}), "the node keeps its data elsewhere")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "segment"), nil, 0o600))
	require.NoError(t, inhabited([]string{dir}))
}

func TestTableSumsUpTheRoundsOfEachSystem(t *testing.T) {
	result := func(system string, pause float64, lost int64) *SystemResult {
		return &SystemResult{
			About: driver.About{System: system, Profile: "default", Version: "1"}, Row: "leader", Rate: 300, Acked: 10, Lost: lost,
			Faults: []Injected{{Pause: pause, Restart: 5}},
		}
	}
	var out bytes.Buffer
	require.NoError(t, PrintSystems(&out, []*SystemResult{result("a", 10, 0), result("b", 70, 2), result("a", 30, 0), result("b", 90, 5)}))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3)
	require.Equal(t, strings.Fields("a:default 1 leader 300 2 10, 30, 30 5 20 0 0 0 0"), strings.Fields(lines[1]))
	require.Equal(t, strings.Fields("b:default 1 leader 300 2 70, 90, 90 5 20 7 0 0 0"), strings.Fields(lines[2]))
}

// TestPowerCutOfAPeer takes the power from servers whose data lie on disks of the run.
func TestPowerCutOfAPeer(t *testing.T) {
	requirePowerCuts(t)
	if os.Getenv("TRUNKBENCH_PEERS") == "" {
		peers, err := filepath.Abs("../../bin/peers")
		require.NoError(t, err)
		t.Setenv("TRUNKBENCH_PEERS", peers)
	}
	if err := (jetstream.Driver{}).Installed(); err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := RunSystem(ctx, SystemOptions{
		Driver: jetstream.Driver{}, Profile: "fsync-always", Row: "powercut", Count: 1, Rate: 100, Partitions: 1, Dir: t.TempDir(), ImageMB: 256,
	})
	require.NoError(t, err)
	require.Empty(t, res.Broken, "%v", res.Examples)
	require.Len(t, res.Faults, 1)
	require.Equal(t, res.Acked, res.Read)
}
