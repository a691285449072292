package members

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/chaos"
	"github.com/trunkline/trunkline/bench/scale"
)

// verdicts are those of points by what they say.
func verdicts(points []Point) map[string]bool {
	all := map[string]bool{}
	for _, p := range points {
		all[p.What] = p.Held
	}
	return all
}

func TestLossIsBrokenAndSlownessMissed(t *testing.T) {
	good := &chaos.Result{Acked: 1000, PartLoad: &chaos.PartLoad{FlatOut: 200, Rate: 100}}
	good.PartLoad.Quiet.P99, good.PartLoad.Grown.P99, good.PartLoad.Changing.P99 = 10, 12, 29
	points := append(safety(good), growing(good)...)
	require.Zero(t, Broken(points))
	require.NotContains(t, verdicts(points), false)

	good.PartLoad.Changing.P99 = 31
	good.Violations = []string{"row roll: publish pause max 900 ms, allowed are 500"}
	good.Rows = []chaos.RowResult{{Slow: []string{"publish pause max 900 ms, allowed are 500"}}}
	points = append(safety(good), growing(good)...)
	require.Zero(t, Broken(points), "slow is not unsafe")
	require.False(t, verdicts(points)["publish p99 while members change"])
	require.True(t, verdicts(points)["the same, beside as many brokers as there were then"])
	var table strings.Builder
	require.NoError(t, Print(&table, points))
	require.Contains(t, table.String(), "31.0 ms, quiet 10.0 ms: 3.10 times  missed")

	good.PartLoad.Grown.P99 = 0
	require.False(t, verdicts(growing(good))["the same, beside as many brokers as there were then"], "it was not measured")

	good.Lost = 1
	require.Equal(t, 1, Broken(safety(good)))
	require.Equal(t, 1, Broken(safety(&chaos.Result{})), "a run without a message shows nothing")
	good.Lost, good.Violations = 0, append(good.Violations, "progress: a replica went back")
	require.Equal(t, 1, Broken(safety(good)))
}

func TestPausesOfARollAreOfPartitionsAndRestarts(t *testing.T) {
	pauses := make([]float64, 240)
	for i := range pauses {
		pauses[i] = 20
	}
	r := &chaos.Result{Counts: map[string]int64{"roll_restarts": 30, "roll_exit_ms": 900}, Faults: make([]chaos.Injected, 10)}
	r.Faults[3].Pauses = pauses
	pauses[7], pauses[8] = 490, 480
	require.NotContains(t, verdicts(rolling(r)), false, "two of 240 are beyond the 99th percentile")
	pauses[9], pauses[10] = 210, 210
	require.False(t, verdicts(rolling(r))["publish pause of a partition and restart"])
	pauses[9], pauses[10], pauses[7] = 20, 20, 510
	require.False(t, verdicts(rolling(r))["publish pause of a partition and restart"])
	r.Counts["roll_restarts"] = 29
	require.False(t, verdicts(rolling(r))["restarts"])
	require.False(t, verdicts(rolling(&chaos.Result{}))["longest exit"])
}

func TestRepairIsAtAStatedSpeed(t *testing.T) {
	r := &chaos.Result{Counts: map[string]int64{
		"lost_broker_repaired": 6, "lost_broker_repaired_bytes": 3e9, "lost_broker_repair_ms": 60_000, "lost_broker_whole_ms": 70_500,
		"lost_broker_notice_ms": 10_400,
	}}
	var table strings.Builder
	require.NoError(t, Print(&table, repairing(r)))
	require.Contains(t, table.String(), "6, whole 70.5 s after the kill")
	require.Contains(t, table.String(), "3.00 GB in 60.0 s: 50.0 MB/s, 20.0 s/GB")
	require.Equal(t, 1, Broken(repairing(&chaos.Result{})), "nothing was repaired")
}

func TestTheLimitHoldsWithinATenth(t *testing.T) {
	g := &scale.Growth{LeadersBack: 300, BalanceSeconds: 29, Moved: 750, Limit: 2e6, Most: 2.19e6, Sent: map[string]float64{"snapshot": 2e8}}
	require.NotContains(t, verdicts(crowd(g)), false)
	g.Most = 2.21e6
	require.False(t, verdicts(crowd(g))["sent to it by one broker"])
	g.Most = 0
	require.False(t, verdicts(crowd(g))["sent to it by one broker"], "nothing was seen")
}
