package verify

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var tenth = HygieneBounds{Factor: 1.1, Floor: Vitals{RSS: 1 << 20, Goroutines: 3, FDs: 3}}

func TestHygieneFindsWhatIsPlanted(t *testing.T) {
	expecting := tenth
	expecting.Expect = regexp.MustCompile(`corrupt.*journal`)
	before := Vitals{RSS: 100 << 20, Goroutines: 200, FDs: 50}
	for name, c := range map[string]struct {
		bounds  HygieneBounds
		run     func(h *Hygiene)
		broken  int64
		because string
	}{
		"the same":                    {tenth, func(h *Hygiene) { h.After("b", before) }, 0, ""},
		"a tenth more":                {tenth, func(h *Hygiene) { h.After("b", Vitals{110 << 20, 220, 55}) }, 0, ""},
		"less":                        {tenth, func(h *Hygiene) { h.After("b", Vitals{1, 1, 1}) }, 0, ""},
		"more memory":                 {tenth, func(h *Hygiene) { h.After("b", Vitals{111 << 20, 200, 50}) }, 1, "bytes of memory"},
		"more goroutines":             {tenth, func(h *Hygiene) { h.After("b", Vitals{100 << 20, 221, 50}) }, 1, "221 goroutines, and held 200"},
		"more descriptors":            {tenth, func(h *Hygiene) { h.After("b", Vitals{100 << 20, 200, 56}) }, 1, "descriptors"},
		"more of everything":          {tenth, func(h *Hygiene) { h.After("b", Vitals{200 << 20, 400, 100}) }, 3, "bytes of memory"},
		"a second baseline is higher": {tenth, func(h *Hygiene) { h.Baseline("b", Vitals{FDs: 60}); h.After("b", Vitals{1, 1, 66}) }, 0, ""},
		"few, and a few more": {tenth, func(h *Hygiene) {
			h.Baseline("small", Vitals{FDs: 4})
			h.After("small", Vitals{FDs: 7})
		}, 0, ""},
		"few, and too many more": {tenth, func(h *Hygiene) {
			h.Baseline("small", Vitals{FDs: 4})
			h.After("small", Vitals{FDs: 8})
		}, 1, "8 descriptors"},
		"no baseline":       {tenth, func(h *Hygiene) { h.After("c", before) }, 1, "nobody took down"},
		"a wanted end":      {tenth, func(h *Hygiene) { h.Exited("b", true, "signal: killed") }, 0, ""},
		"an end by itself":  {tenth, func(h *Hygiene) { h.Exited("b", false, "exit status 2") }, 1, "b ended by itself: exit status 2"},
		"a harmless line":   {tenth, func(h *Hygiene) { h.Line("b", "level=WARN msg=\"peer is down\"") }, 0, ""},
		"a panic":           {tenth, func(h *Hygiene) { h.Line("b", "panic: no") }, 1, "b said: panic: no"},
		"a data race":       {tenth, func(h *Hygiene) { h.Line("b", "WARNING: DATA RACE") }, 1, "RACE"},
		"damage":            {tenth, func(h *Hygiene) { h.Line("b", "segment is Corrupt") }, 1, "Corrupt"},
		"damage, expected":  {expecting, func(h *Hygiene) { h.Line("b", "corrupt record in the journal") }, 0, ""},
		"other damage":      {expecting, func(h *Hygiene) { h.Line("b", "corrupt segment") }, 1, "segment"},
		"damage, and panic": {expecting, func(h *Hygiene) { h.Line("b", "panic: index") }, 1, "panic"},
	} {
		t.Run(name, func(t *testing.T) {
			h := NewHygiene(c.bounds)
			h.Baseline("b", before)
			c.run(h)
			f := h.Findings()
			require.Equal(t, c.broken, f.Broken, "%v", f.Examples)
			if c.broken > 0 {
				require.Contains(t, f.Examples[0], c.because)
			}
		})
	}
}

func TestHygieneOfRandomProcesses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		of := func(what string) int64 { return rapid.Int64Range(1000, 1<<40).Draw(t, what) }
		before := Vitals{of("rss"), of("goroutines"), of("fds")}
		grown := func(n int64, by float64) int64 { return int64(float64(n) * by) }
		by := rapid.Float64Range(0, 1.09).Draw(t, "by")
		after := Vitals{grown(before.RSS, by), grown(before.Goroutines, by), grown(before.FDs, by)}
		h := NewHygiene(HygieneBounds{Factor: 1.1})
		h.Baseline("b", before)
		h.After("b", after)
		require.Zero(t, h.Findings().Broken)

		which := rapid.SampledFrom([]*int64{&after.RSS, &after.Goroutines, &after.FDs}).Draw(t, "leak")
		was := map[*int64]int64{&after.RSS: before.RSS, &after.Goroutines: before.Goroutines, &after.FDs: before.FDs}[which]
		*which = grown(was, rapid.Float64Range(1.11, 9).Draw(t, "leaks"))
		h.After("b", after)
		require.Equal(t, int64(1), h.Findings().Broken)
	})
}
