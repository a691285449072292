package workload

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/workloads"
)

func TestEveryFileOfTheLibrary(t *testing.T) {
	files, err := fs.Glob(workloads.FS, "*")
	require.NoError(t, err)
	all := Library()
	require.Len(t, all, len(files), "each file loads")
	require.True(t, slices.IsSortedFunc(all, func(a, b *Workload) int { return strings.Compare(a.Name, b.Name) }))
	for _, w := range all {
		require.Contains(t, files, w.Name+suffix, "it is named like its file")
		require.NotEmpty(t, w.Doc, w.Name)
		require.LessOrEqual(t, len(w.Doc), 110, "%s: doc is a line of a table", w.Name)
		require.NoError(t, w.Validate(), w.Name)
		require.Empty(t, w.Notes, w.Name)
		require.True(t, w.Verified(), w.Name)
		found, err := Find(w.Name)
		require.NoError(t, err)
		require.Equal(t, w, found)
	}
}

func TestLibraryShowsWhatItMust(t *testing.T) {
	get := func(name string) *Workload {
		w, err := Find(name)
		require.NoError(t, err)
		return w
	}
	for name, producers := range map[string]int{"publish-256b-1p": 1, "publish-256b-4p": 4, "publish-1k-1p": 1, "publish-1k-4p": 4} {
		w := get(name)
		require.Equal(t, producers, w.ProducersPerTopic, name)
		require.Equal(t, Closed, w.Loop, name)
		require.Zero(t, w.MaxInFlight, name)
	}
	for name, producers := range map[string]int{"sync-1p": 1, "sync-16p": 16} {
		require.Equal(t, 1, get(name).MaxInFlight, name)
		require.Equal(t, producers, get(name).ProducersPerTopic, name)
	}
	for _, name := range []string{"e2e-half", "e2e-half-1k"} {
		require.True(t, get(name).Searches(), name)
		require.InDelta(t, 0.5, get(name).RateFraction, 0, name)
	}
	for name, subscriptions := range map[string]int{"fanout-1": 1, "fanout-2": 2, "fanout-4": 4} {
		require.Equal(t, subscriptions, get(name).SubscriptionsPerTopic, name)
		require.InDelta(t, get("fanout-1").ProducerRate, get(name).ProducerRate, 0, name)
	}
	for name, partitions := range map[string]int{"partitions-1": 1, "partitions-8": 8, "partitions-64": 64, "partitions-256": 256} {
		require.Equal(t, partitions, get(name).PartitionsPerTopic, name)
	}
	for name, kind := range map[string]FaultKind{"failover": Kill, "failover-hang": Pause} {
		ten := Fault{At: 3 * time.Second, Kind: kind, Hold: 3 * time.Second, Repeat: 10, Every: 2 * time.Second}
		require.Equal(t, []Fault{ten}, get(name).Faults)
		require.Greater(t, get(name).Measured(), get(name).FaultsLast()+2*time.Second, "the last return is seen")
	}
	require.True(t, get("catchup-1g").StopProducers)
	require.InDelta(t, 1, get("catchup-1g").ConsumerBacklogSizeGB, 0)
	require.Equal(t, 5*time.Minute, get("soak-5m").Measured())
	require.LessOrEqual(t, get("smoke").Measured()+get("smoke").WarmupTime(), 3*time.Second)
}

func TestFindPrefersFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("failover", 0o700))
	w, err := Find("failover")
	require.NoError(t, err, "a folder is no workload")
	require.Equal(t, "failover", w.Name)

	require.NoError(t, os.WriteFile("smoke", []byte(small), 0o600))
	w, err = Find("smoke")
	require.NoError(t, err)
	require.Equal(t, 10*time.Second, w.Measured())

	_, err = Find("smoke.yaml")
	require.ErrorIs(t, err, os.ErrNotExist)
	for _, name := range []string{"smok", "", "../workloads/smoke", filepath.Join(t.TempDir(), "smoke")} {
		_, err = Find(name)
		require.ErrorContains(t, err, "neither a file nor one of the library: catchup-1g, catchup-beside,", name)
	}
}
