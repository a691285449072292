package chaos

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/verify"
)

func TestPlanFollowsFromTheSeed(t *testing.T) {
	rows := rowNames()
	plan := Plan(rows, 400, 3, 8, false, 7)
	require.Equal(t, plan, Plan(rows, 400, 3, 8, false, 7))
	require.NotEqual(t, plan, Plan(rows, 400, 3, 8, false, 8))
	seen := map[string]int{}
	again := 0
	for i, e := range plan {
		seen[e.Row]++
		row := rowOf(e.Row)
		if e.Again {
			again++
			require.False(t, row.Steady)
			require.Equal(t, plan[i-1].Victims, e.Victims, "the same brokers, while they come back")
			continue
		}
		require.Equal(t, row.Target == Anyone || row.Target == Everyone, len(e.Victims) > 0)
		if hold := row.Hold; hold != (Span{}) {
			require.GreaterOrEqual(t, e.Hold, hold.Low)
			require.LessOrEqual(t, e.Hold, hold.High)
		}
	}
	require.Len(t, seen, len(rows), "%v", seen)
	require.Positive(t, again)
	require.Less(t, again, 200)
}

func TestEverythingIsWhatCanBeMixed(t *testing.T) {
	o := Options{Rows: []string{"everything"}}.WithDefaults()
	require.NoError(t, o.validate())
	require.True(t, o.Pairs)
	require.Contains(t, o.Replay(), "--pairs")
	for _, name := range []string{"leader", "powercut-all", "group-storm", "churn", "client-loss-20", "slow-fsync"} {
		require.Contains(t, o.Rows, name)
	}
	require.NotContains(t, o.Rows, "partition-leader")
	require.NotContains(t, o.Rows, "sigkill-rush")
	require.NotContains(t, o.Rows, "never-read")
	pairs := map[string]bool{}
	for _, e := range Plan(o.Rows, 2000, 3, 8, true, 7) {
		if e.Beside == "" {
			continue
		}
		pairs[e.Beside] = true
		require.False(t, e.Again)
		require.NotEqual(t, Nobody, e.Target)
		require.False(t, isFronted(e.Fault), "proxies have one setting at a time")
		require.Equal(t, Nobody, rowOf(e.Beside).Target)
	}
	require.Greater(t, len(pairs), 4)
}

func TestMixedRowsAreJudgedByWhatTheyShow(t *testing.T) {
	r := &Result{Faults: []Injected{{Event: Event{Row: "none"}, Restart: 1}, {Event: Event{Row: "stop-leader", Beside: "raft-rate"}, Pause: 9000, Restart: 1}}}
	r.see("none", map[string]int64{"takeovers": 3})                             // of what came before it
	r.Faults = append(r.Faults, Injected{Event: Event{Row: "lag"}, Restart: 1}) // one of two shows something
	r.judgeRows(1)
	require.Len(t, r.Violations, 1, "%v", r.Violations)
	require.Contains(t, r.Violations[0], "row stop-leader: stopped was seen 0 times")
	alone := &Result{Faults: r.Faults[:1]}
	alone.see("none", map[string]int64{"takeovers": 3})
	alone.judgeRows(1)
	require.Len(t, alone.Violations, 1, "it may not happen where nothing else does")
}

func TestMemoryThatGrowsIsFound(t *testing.T) {
	series := func(grow int64) (line []observe.Sample) {
		for i := range int64(1200) {
			b := observe.State{Answers: i%10 != 0, RSS: 300<<20 + i*grow}
			line = append(line, observe.Sample{At: float64(i) / 4, Brokers: []observe.State{b, {Answers: true, RSS: 100 << 20}}})
		}
		return line
	}
	flat, leak := levelOf(series(0), 2), levelOf(series(200<<10), 2)
	require.True(t, flat.OK())
	require.EqualValues(t, 1, flat.Checked)
	require.False(t, leak.OK())
	r := &Result{}
	r.check(map[string]verify.Findings{"memory": leak}, false)
	require.Contains(t, r.Violations[0], "memory of all brokers together grows")
}

func TestRowsAreWhole(t *testing.T) {
	for _, r := range Rows {
		require.Contains(t, makers, r.Fault, r.Name)
		require.NotEmpty(t, r.Doc, r.Name)
		require.NotEmpty(t, r.Matrix, r.Name)
		require.LessOrEqual(t, r.Hold.High, injectLimit/2, r.Name)
		require.Less(t, r.Limit.Max, livelyWindow, "%s: a pause that is allowed is no violation of liveness", r.Name)
	}
}

func TestRowIsJudgedByItsLimitsAndEvidence(t *testing.T) {
	result := func(pause float64, stopped int64) *Result {
		r := &Result{}
		r.see("stop-leader", map[string]int64{"stopped": stopped - 1})
		r.see("leader", map[string]int64{"stopped": 7})
		r.see("stop-leader", map[string]int64{"stopped": 1})
		for range 2 {
			r.Faults = append(r.Faults, Injected{Event: Event{Row: "stop-leader"}, Pause: pause, Restart: 1})
		}
		return r
	}
	good := result(1400, 2)
	good.judgeRows(1)
	require.Empty(t, good.Violations)
	require.Equal(t, 2, good.Rows[0].Faults)
	slow := result(1600, 2)
	slow.judgeRows(1)
	require.Len(t, slow.Violations, 1)
	require.Contains(t, slow.Violations[0], "publish pause max 1600 ms")
	slow = result(1600, 2)
	slow.judgeRows(2)
	require.Empty(t, slow.Violations, "twice as long is allowed")
	vacuous := result(10, 1)
	vacuous.judgeRows(1)
	require.Len(t, vacuous.Violations, 1)
	require.Contains(t, vacuous.Violations[0], "the row shows nothing")
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for want, o := range map[string]Options{
		"no row":      {Rows: []string{"earthquake"}},
		"use --each":  {Rows: []string{"partition-leader", "silent"}},
		"far-leader":  {Rows: []string{"partition-leader", "far-leader"}},
		"--count":     {Count: -1},
		"--brokers":   {Brokers: 2},
		"--producers": {Producers: 1000},
		"--image-mb":  {ImageMB: 1},
		"--in-flight": {InFlight: -1},
	} {
		_, err := Run(t.Context(), o)
		require.ErrorContains(t, err, want)
	}
}

func TestLogsAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte(`time=1 level=INFO msg="all is well"
time=2 level=WARN msg="peer 17 is down" peer=2
time=3 level=WARN msg="peer 4 is down" peer=2
time=4 level=ERROR msg=bad
panic: no
`), 0o600))
	h := verify.NewHygiene(hygieneBounds(&Options{}))
	lines, err := readLogs([]string{path}, h)
	require.NoError(t, err)
	require.Equal(t, []LogLine{{"WARN", "peer N is down", 2}, {"ERROR", "bad", 1}}, lines)
	require.EqualValues(t, 1, h.Findings().Broken)
	require.Contains(t, h.Findings().Examples[0], "panic: no")
}

// mountIn mounts a small disk whose image lies in images.
func mountIn(t *testing.T, images string) *disk {
	t.Helper()
	d, err := makeDisk(t.Context(), filepath.Join(images, "broker-1.img"), t.TempDir(), 16<<20)
	require.NoError(t, err)
	require.NoError(t, d.mount(t.Context()))
	t.Cleanup(func() {
		if isMounted(t, d.dir) {
			require.NoError(t, d.unmount())
		}
	})
	return d
}

func isMounted(t *testing.T, dir string) bool {
	t.Helper()
	mounts, err := loopMounts()
	require.NoError(t, err)
	for _, m := range mounts {
		if m.dir == dir {
			return true
		}
	}
	return false
}

func TestReclaimUnmountsOnlyWhatDeadRunsLeft(t *testing.T) {
	requirePowerCuts(t)
	parent := t.TempDir()
	foreign := mountIn(t, t.TempDir())
	livingDir, lock, err := claim(parent)
	require.NoError(t, err)
	defer lock.Close()
	living := mountIn(t, livingDir)
	deadDir, lock, err := claim(parent)
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	dead := mountIn(t, deadDir)

	done, err := reclaim()
	require.NoError(t, err)
	require.Contains(t, done, dead.dir)
	require.False(t, isMounted(t, dead.dir))
	require.True(t, isMounted(t, living.dir))
	require.True(t, isMounted(t, foreign.dir))
	require.FileExists(t, dead.image, "data are not for us to remove")
	out, err := exec.CommandContext(t.Context(), "losetup", "-j", dead.image).Output()
	require.NoError(t, err)
	require.Empty(t, string(out), "the loop device is released")
}
