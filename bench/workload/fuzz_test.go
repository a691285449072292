package workload

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"github.com/trunkline/trunkline/bench/workloads"
)

// FuzzParse: whatever a file holds, it is refused, or it is valid and the same workload when it is written and read again.
func FuzzParse(f *testing.F) {
	for _, name := range names() {
		text, err := fs.ReadFile(workloads.FS, name+suffix)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Add([]byte(omb))
	f.Add([]byte(small + "faults: [&a {kind: pause, hold: 1s}, {kind: kill, at: 5s, repeat: 2, every: 1s}]\nwarmup: 0s"))
	f.Add([]byte("topics: &a [*a]\nfaults: *a\n"))
	f.Add([]byte("duration: {}\n<<: {topics: 1}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		w, err := Parse(text, "fuzz.yaml")
		if err != nil {
			require.Nil(t, w)
			return
		}
		require.NoError(t, w.Validate())
		require.Positive(t, w.Measured())
		require.GreaterOrEqual(t, w.WarmupTime(), w.Warmup)
		written, err := yaml.Marshal(w)
		require.NoError(t, err)
		again, err := Parse(written, "fuzz.yaml")
		require.NoError(t, err, "%s", written)
		require.Equal(t, w, again)
	})
}
