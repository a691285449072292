package verify

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLevel(t *testing.T) {
	const mib = 1 << 20
	bounds := LevelBounds{Warm: 0.2, Span: 2 * time.Minute, Growth: 0.1, Floor: 50 * mib}
	random := rand.New(rand.NewPCG(1, 2))
	saw := func(i int) float64 { return float64(i%40) * mib } // garbage, collected every 10 s
	for name, c := range map[string]struct {
		samples int // of 250 ms
		value   func(i int) float64
		grows   bool
	}{
		"flat":                       {4000, func(int) float64 { return 300 * mib }, false},
		"garbage":                    {4000, func(i int) float64 { return 300*mib + saw(i) }, false},
		"noise":                      {4000, func(int) float64 { return 300*mib + 100*mib*random.Float64() }, false},
		"it falls":                   {4000, func(i int) float64 { return 900*mib - float64(i)*mib/8 }, false},
		"it warms up":                {4000, func(i int) float64 { return min(300, float64(i)) * mib }, false},
		"a leak":                     {4000, func(i int) float64 { return 300*mib + saw(i) + float64(i)*mib/20 }, true},
		"a leak of noise":            {4000, func(i int) float64 { return 300*mib + 100*mib*random.Float64() + float64(i)*mib/20 }, true},
		"less than what is allowed":  {4000, func(i int) float64 { return 300*mib + float64(i)*mib/60 }, false},
		"steps that are never given": {4000, func(i int) float64 { return 300*mib + float64(i/800)*40*mib }, true},
		"a leak between restarts": {4000, func(i int) float64 {
			if i%200 < 40 {
				return 100 * mib // one of three has just begun
			}
			return 300*mib + float64(i)*mib/15
		}, true},
		"restarts":                  {4000, func(i int) float64 { return float64(100+200*min(1, i%200/40)) * mib }, false},
		"a moment of pressure":      {4000, func(i int) float64 { return (300 + 2000*float64(i/3600)) * mib }, false},
		"a leak in too short a run": {500, func(i int) float64 { return 300*mib + float64(i)*mib }, false},
	} {
		t.Run(name, func(t *testing.T) {
			var series []Point
			for i := range c.samples {
				series = append(series, Point{time.Duration(i) * 250 * time.Millisecond, c.value(i)})
			}
			f := Level("memory", series, bounds)
			require.Equal(t, !c.grows, f.OK(), "%v", f.Examples)
			require.Equal(t, c.samples == 4000, f.Checked == 1)
			if c.grows {
				require.Contains(t, f.Examples[0], "memory grows: by ")
			}
		})
	}
	require.Zero(t, Level("nothing", nil, bounds).Checked)
}
