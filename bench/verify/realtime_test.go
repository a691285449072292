package verify

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRealTimeFindsWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		run    func(r *RealTime)
		broken int64
	}{
		"one after the other": {func(r *RealTime) { r.Acked(0, r.Began(0), 0); r.Acked(0, r.Began(0), 1) }, 0},
		"side by side, in either order": {func(r *RealTime) {
			a, b := r.Began(0), r.Began(0)
			r.Acked(0, b, 1)
			r.Acked(0, a, 0)
		}, 0},
		"on two partitions":         {func(r *RealTime) { r.Acked(0, r.Began(0), 9); r.Acked(1, r.Began(1), 0) }, 0},
		"below an acknowledged one": {func(r *RealTime) { r.Acked(0, r.Began(0), 5); r.Acked(0, r.Began(0), 3) }, 1},
		"an offset again":           {func(r *RealTime) { r.Acked(0, r.Began(0), 5); r.Acked(0, r.Began(0), 5) }, 1},
		"after a higher and a lower one": {func(r *RealTime) {
			a, b := r.Began(0), r.Began(0)
			r.Acked(0, a, 7)
			r.Acked(0, b, 2)
			r.Acked(0, r.Began(0), 6)
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRealTime(2)
			c.run(r)
			f := r.Findings()
			require.Equal(t, c.broken, f.Broken, "%v", f.Examples)
			require.Len(t, f.Examples, int(c.broken))
			require.Positive(t, f.Checked)
		})
	}
}

// publish is one of a random history: it takes effect between its beginning and its end.
type publish struct{ begin, effect, end, offset int }

// logOf draws publishes and gives them offsets in the order of their effects.
func logOf(t *rapid.T) []publish {
	list := make([]publish, rapid.IntRange(2, 40).Draw(t, "publishes"))
	for i := range list {
		p := &list[i]
		p.begin = rapid.IntRange(0, 100).Draw(t, "begin")
		p.effect = p.begin + rapid.IntRange(0, 20).Draw(t, "effect")
		p.end = p.effect + rapid.IntRange(0, 20).Draw(t, "end")
	}
	for i := range list {
		for k := range list {
			if list[k].effect < list[i].effect || list[k].effect == list[i].effect && k < i {
				list[i].offset++
			}
		}
	}
	return list
}

// judge feeds a history in the order of its events; at one time beginnings come first.
func judge(list []publish) Findings {
	r, floors := NewRealTime(1), make([]Floor, len(list))
	for now := range 200 {
		for i, p := range list {
			if p.begin == now {
				floors[i] = r.Began(0)
			}
		}
		for i, p := range list {
			if p.end == now {
				r.Acked(0, floors[i], int64(p.offset))
			}
		}
	}
	return r.Findings()
}

func TestRealTimeOfRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := logOf(t)
		require.Zero(t, judge(list).Broken)

		a := rapid.IntRange(0, len(list)-1).Draw(t, "a")
		b := rapid.IntRange(0, len(list)-1).Draw(t, "b")
		list[a].offset, list[b].offset = list[b].offset, list[a].offset
		broken := false // by comparing each with each
		for _, p := range list {
			for _, q := range list {
				broken = broken || p.end < q.begin && p.offset > q.offset
			}
		}
		require.Equal(t, broken, judge(list).Broken > 0)
	})
}

func TestRealTimeFromManyGoroutines(t *testing.T) {
	r, next := NewRealTime(1), atomic.Int64{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				floor := r.Began(0)
				r.Acked(0, floor, next.Add(1))
			}
		})
	}
	wg.Wait()
	f := r.Findings()
	require.Equal(t, Findings{Checked: 40000}, f)
	require.Equal(t, Floor(40001), r.Began(0))
}

// BenchmarkRealTime is the cost of one publish.
func BenchmarkRealTime(b *testing.B) {
	r := NewRealTime(1)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		r.Acked(0, r.Began(0), i)
	}
}
