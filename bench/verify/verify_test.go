package verify

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// good returns a history of two producers on one partition and a replica that keeps every promise.
func good() (History, Replica) {
	h := History{
		{{Acked, 0, 0}, {Acked, 0, 2}, {Unknown, 0, 0}},
		{{Acked, 0, 1}, {NotAppended, 0, 0}},
	}
	rep := Replica{0: {
		{Offset: 0, ID: ID{0, 0}}, {Offset: 1, ID: ID{1, 0}}, {Offset: 2, ID: ID{0, 1}}, {Offset: 3, ID: ID{0, 2}},
	}}
	return h, rep
}

func TestAGoodLogPasses(t *testing.T) {
	h, rep := good()
	r := Replicas(h, []string{"a", "b"}, []Replica{rep, rep})
	require.True(t, r.OK(), "%+v", r)
	require.Equal(t, 3, r.Acked)
}

// TestPlantedViolationsAreFound plants one violation at a time: a checker that never failed is no evidence.
func TestPlantedViolationsAreFound(t *testing.T) {
	for name, tc := range map[string]struct {
		plant func(h History, rep Replica)
		count func(r *Report) int
	}{
		"lost at the end": {func(h History, rep Replica) { h[0][2] = Sent{Acked, 0, 4} }, func(r *Report) int { return r.Lost }},
		"lost in the midst": {func(_ History, rep Replica) { rep[0][1].ID = ID{0, 2}; rep[0] = rep[0][:3] },
			func(r *Report) int { return r.Lost }},
		"duplicated":        {func(_ History, rep Replica) { rep[0][3].ID = ID{1, 0} }, func(r *Report) int { return r.Duplicated }},
		"reordered":         {func(_ History, rep Replica) { rep[0][0].ID, rep[0][2].ID = ID{0, 1}, ID{0, 0} }, func(r *Report) int { return r.Reordered }},
		"never sent":        {func(_ History, rep Replica) { rep[0][3].ID = ID{0, 9} }, func(r *Report) int { return r.Phantom }},
		"answered as not":   {func(_ History, rep Replica) { rep[0][3].ID = ID{1, 1} }, func(r *Report) int { return r.Phantom }},
		"offsets not dense": {func(_ History, rep Replica) { rep[0][3].Offset = 4 }, func(r *Report) int { return r.Gaps }},
	} {
		t.Run(name, func(t *testing.T) {
			h, rep := good()
			tc.plant(h, rep)
			r := Replicas(h, []string{"a"}, []Replica{rep})
			require.Positive(t, tc.count(r), "%+v", r)
			require.False(t, r.OK())
			require.NotEmpty(t, r.Examples)
		})
	}
	h, rep := good()
	_, other := good()
	other[0][3].Sum = 7
	require.Equal(t, 1, Replicas(h, []string{"a", "b"}, []Replica{rep, other}).Diverged)
	other[0] = other[0][:3]
	require.Equal(t, 1, Replicas(h, []string{"a", "b"}, []Replica{rep, other}).Diverged)
}

func TestDelivery(t *testing.T) {
	entries := func(offsets ...uint64) map[int32][]Entry {
		var out []Entry
		for _, o := range offsets {
			out = append(out, Entry{Offset: o})
		}
		return map[int32][]Entry{0: out}
	}
	next := map[int32]uint64{0: 4}
	require.True(t, Delivery(entries(0, 1, 2, 3), next).OK())
	require.Equal(t, 1, Delivery(entries(0, 1, 1, 2, 3), next).Duplicated)
	require.Equal(t, 2, Delivery(entries(0, 3), next).Lost)
	require.Equal(t, 3, Delivery(entries(0), next).Lost)
	require.Equal(t, 4, Delivery(nil, next).Lost)
	late := Delivery(entries(0, 2, 1, 3), next)
	require.Equal(t, 1, late.Duplicated)
	require.Equal(t, 1, late.Lost)
}
