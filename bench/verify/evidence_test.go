package verify

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestShowFindsWhatIsPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		must    Evidence
		because string
	}{
		"enough":                      {Evidence{"kills", 7, -1}, ""},
		"too few":                     {Evidence{"kills", 8, -1}, "kills was seen 7 times, at least 8"},
		"as many as may be":           {Evidence{"kills", 0, 7}, ""},
		"too many":                    {Evidence{"kills", 0, 6}, "at most 6"},
		"must not be there, and is":   {Evidence{"kills", 0, 0}, "at most 0"},
		"must not be there, is not":   {Evidence{"leader_changes", 0, 0}, ""},
		"must be there, never heard":  {Evidence{"leader_changes", 1, -1}, "leader_changes was seen 0 times"},
		"exactly":                     {Evidence{"kills", 7, 7}, ""},
		"counted, and nothing is due": {Evidence{"kills", 0, -1}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := Show([]Evidence{{"kills", 1, -1}, c.must}, map[string]int64{"kills": 7})
			require.Equal(t, int64(2), f.Checked)
			require.Equal(t, c.because == "", f.OK(), "%v", f.Examples)
			if c.because != "" {
				require.Contains(t, f.Examples[0], c.because)
			}
		})
	}
}

func TestShowOfRandomCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		counts, must := map[string]int64{}, []Evidence{}
		for i := range rapid.IntRange(1, 10).Draw(t, "counters") {
			n, e := rapid.Int64Range(1, 1000).Draw(t, "n"), Evidence{Counter: fmt.Sprint(i), Most: -1}
			e.Least = rapid.Int64Range(1, n).Draw(t, "least")
			if rapid.Bool().Draw(t, "bounded") {
				e.Most = rapid.Int64Range(n, 2000).Draw(t, "most")
			}
			counts[e.Counter], must = n, append(must, e)
		}
		f := Show(must, counts)
		require.True(t, f.OK(), "%v", f.Examples)

		e := rapid.SampledFrom(must).Draw(t, "changed")
		if counts[e.Counter] = e.Least - 1; e.Most >= 0 && rapid.Bool().Draw(t, "more") {
			counts[e.Counter] = e.Most + 1
		}
		f = Show(must, counts)
		require.Equal(t, int64(1), f.Broken)
	})
}
