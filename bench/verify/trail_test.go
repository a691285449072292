package verify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// trailOf is a trail of five messages of producer 1 on partition 0.
func trailOf() *Trail {
	t := NewTrail(2)
	for i := range uint64(5) {
		t.Delivered(0, i, ID{1, i})
		t.Delivered(0, i, ID{1, i}) // by another subscription
	}
	return t
}

func TestReplicaThatHoldsWhatWasDelivered(t *testing.T) {
	trail := trailOf()
	r := trail.Replica("a")
	for i := uint64(2); i < 5; i++ {
		r.Record(0, i, ID{1, i})
	}
	require.Equal(t, 3, r.End(map[int32]uint64{0: 2, 1: 0})) // retention has removed two
	report := trail.Report()
	require.True(t, report.OK(), "%+v", report)
	require.Equal(t, uint64(5), trail.End(0))
	require.Zero(t, trail.End(1))
}

func TestOnlyPartitionsOfTheReplicaAreMissed(t *testing.T) {
	trail := trailOf()
	trail.Delivered(1, 0, ID{2, 0})
	r := trail.Replica("a")
	r.Record(1, 0, ID{2, 0})
	require.Equal(t, 1, r.End(map[int32]uint64{1: 0}))
	report := trail.Report()
	require.True(t, report.OK(), "%+v", report)
}

func TestReplicaThatDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		records []uint64 // offset i holds message records[i]
		from    uint64
		want    Report
	}{
		"short at the end":    {records: []uint64{0, 1, 2}, want: Report{Lost: 2}},
		"empty":               {want: Report{Lost: 5}},
		"short at the start":  {records: []uint64{1, 2, 3, 4}, from: 1, want: Report{Gaps: 1}},
		"another message":     {records: []uint64{0, 1, 7, 3, 4}, want: Report{Diverged: 1}},
		"more than delivered": {records: []uint64{0, 1, 2, 3, 4, 5}, want: Report{Diverged: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			trail := trailOf()
			r := trail.Replica("a")
			for i, seq := range c.records {
				r.Record(0, c.from+uint64(i), ID{1, seq})
			}
			r.End(map[int32]uint64{0: 0, 1: 0})
			got := trail.Report()
			require.NotEmpty(t, got.Examples)
			got.Examples = nil
			require.Equal(t, c.want, got)
		})
	}
}

func TestPlaceThatDeliversTwoMessages(t *testing.T) {
	trail := trailOf()
	trail.Delivered(0, 3, ID{2, 3})
	require.Equal(t, 1, trail.Report().Diverged)
	require.Contains(t, trail.Report().Examples[0], "offset 3")
}

func TestReplicaWithAHole(t *testing.T) {
	trail := trailOf()
	r := trail.Replica("a")
	for _, i := range []uint64{0, 1, 3, 4} {
		r.Record(0, i, ID{1, i})
	}
	r.End(map[int32]uint64{0: 0, 1: 0})
	require.Equal(t, 1, trail.Report().Gaps)
}

func TestRetentionThatMovesWhileAReplicaIsRead(t *testing.T) {
	for start, gaps := range map[uint64]int{3: 0, 2: 1} {
		trail := trailOf()
		r := trail.Replica("a")
		for _, i := range []uint64{0, 3, 4} {
			r.Record(0, i, ID{1, i})
		}
		r.End(map[int32]uint64{0: start, 1: 0})
		require.Equal(t, gaps, trail.Report().Gaps)
	}
}
