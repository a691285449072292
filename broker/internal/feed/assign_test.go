package feed

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

func drawNames(t *rapid.T) []string {
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z0-9._-]{1,20}`), 1, 24, rapid.ID[string]).Draw(t, "names")
	slices.Sort(names)
	return names
}

func moved(before, after []string, a, b []int) int {
	n := 0
	for p := range a {
		if before[a[p]] != after[b[p]] {
			n++
		}
	}
	return n
}

func TestAssignIsEvenWithinOnePartition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := drawNames(t)
		partitions := rapid.IntRange(1, 300).Draw(t, "partitions")
		topic := protocol.TopicID(rapid.Uint64().Draw(t, "topic"))
		owner := Assign(topic, "sub", partitions, names)
		require.Len(t, owner, partitions)
		load := make([]int, len(names))
		for _, c := range owner {
			require.True(t, c >= 0 && c < len(names), "owner %d", c)
			load[c]++
		}
		require.LessOrEqual(t, slices.Max(load)-slices.Min(load), 1, "load %v", load)
		require.Equal(t, owner, Assign(topic, "sub", partitions, slices.Clone(names)), "not deterministic")
	})
}

// A consumer that joins must take P/(C+1) partitions; the even load makes a few more change hands, up to
// about one for each of the others.
func TestAssignMovesFew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		few := drawNames(t)
		partitions := rapid.IntRange(1, 300).Draw(t, "partitions")
		joins := rapid.StringMatching(`[A-Z]{1,20}`).Draw(t, "joins")
		many := append(slices.Clone(few), joins)
		slices.Sort(many)
		a, b := Assign(1, "sub", partitions, few), Assign(1, "sub", partitions, many)
		least := (partitions + len(few)) / len(many)
		require.LessOrEqual(t, moved(few, many, a, b), 2*least+len(many))
	})
}

func TestAssignMovesFewOnAverage(t *testing.T) {
	const partitions, rounds = 200, 100
	total, least := 0, 0
	for i := range rounds {
		var few []string
		for c := range 10 {
			few = append(few, fmt.Sprintf("consumer-%d-%d", i, c))
		}
		many := append(slices.Clone(few), fmt.Sprintf("joins-%d", i))
		slices.Sort(few)
		slices.Sort(many)
		total += moved(few, many, Assign(1, "s", partitions, few), Assign(1, "s", partitions, many))
		least += partitions / len(many)
	}
	require.Less(t, float64(total), 1.6*float64(least))
}

func TestAssignDependsOnTopicAndSubscription(t *testing.T) {
	names := []string{"a", "b", "c"}
	base := Assign(1, "s", 64, names)
	require.NotEqual(t, base, Assign(2, "s", 64, names))
	require.NotEqual(t, base, Assign(1, "t", 64, names))
	require.Nil(t, Assign(1, "s", 64, nil))
	require.Equal(t, []int{0, 0, 0}, Assign(9, "s", 3, []string{"only"}))
}

// Golden: brokers of different versions must agree.
func TestAssignGolden(t *testing.T) {
	require.Equal(t, goldenAssign, Assign(7, "orders", 12, []string{"alpha", "beta", "gamma", "omega", "zeta"}))
}

func TestAssignCache(t *testing.T) {
	var c assignCache
	names := []string{"a", "b", "c"}
	for range 3 {
		for p := range 2 * assignCacheSize {
			for part := range protocol.Partition(4) {
				want := names[Assign(protocol.TopicID(p), "s", 4, names)[part]]
				tp := protocol.TopicPartition{Topic: protocol.TopicID(p), Partition: part}
				require.Equal(t, want, c.owner(tp, "s", 4, names))
			}
		}
	}
	require.Len(t, c.entries, assignCacheSize)
	unknown := protocol.TopicPartition{Topic: 1, Partition: 9}
	require.Contains(t, names, c.owner(unknown, "s", 4, names), "a partition the metadata does not count yet")
}

var goldenAssign = []int{0, 3, 0, 2, 0, 3, 1, 2, 4, 3, 1, 4}
