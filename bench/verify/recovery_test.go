package verify

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestRecoveryFindsWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		run    func(r *Recovery)
		broken int64
		times  []time.Duration
	}{
		"no fault":            {func(r *Recovery) { r.Whole(5 * second); r.End(9 * second) }, 0, nil},
		"in time":             {func(r *Recovery) { r.Healed(second); r.Whole(3 * second); r.End(9 * second) }, 0, []time.Duration{2 * second}},
		"too late":            {func(r *Recovery) { r.Healed(second); r.Whole(7 * second); r.End(9 * second) }, 1, []time.Duration{6 * second}},
		"never":               {func(r *Recovery) { r.Healed(second); r.End(2 * second) }, 1, nil},
		"at the last moment":  {func(r *Recovery) { r.Healed(0); r.Whole(5 * second); r.End(5 * second) }, 0, []time.Duration{5 * second}},
		"a fault in between":  {func(r *Recovery) { r.Healed(second); r.Healed(6 * second); r.Whole(8 * second) }, 0, []time.Duration{2 * second}},
		"whole is said twice": {func(r *Recovery) { r.Healed(second); r.Whole(3 * second); r.Whole(20 * second) }, 0, []time.Duration{2 * second}},
		"two, one too late": {func(r *Recovery) {
			r.Healed(second)
			r.Whole(2 * second)
			r.Healed(10 * second)
			r.Whole(16 * second)
		}, 1, []time.Duration{second, 6 * second}},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRecovery(5 * second)
			c.run(r)
			f := r.Findings()
			require.Equal(t, c.broken, f.Broken, "%v", f.Examples)
			require.Equal(t, c.times, r.Times())
		})
	}
}

func TestRecoveriesAtRandomTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		took := rapid.SliceOfN(rapid.Int64Range(0, int64(5*second)), 1, 20).Draw(t, "took")
		late := rapid.IntRange(0, len(took)-1).Draw(t, "late")
		judge := func(more time.Duration) Findings {
			r, now := NewRecovery(5*second), time.Duration(0)
			for i, d := range took {
				r.Healed(now)
				if now += time.Duration(d); i == late {
					now += more
				}
				r.Whole(now)
			}
			r.End(now)
			return r.Findings()
		}
		require.Equal(t, Findings{Checked: int64(len(took))}, judge(0))
		require.Equal(t, int64(1), func() int64 { f := judge(5*second + 1); return f.Broken }())
	})
}
