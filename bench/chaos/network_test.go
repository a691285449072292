package chaos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/netlab"
)

// hearing draws who hears whom: "1:23" is that broker 1 hears 2 and 3. The Hub is 0.
func hearing(ways []netlab.Way, n int) string {
	var out []string
	for to := range n + 1 {
		from := ""
		for id := range n + 1 {
			lost := slices.ContainsFunc(ways, func(w netlab.Way) bool { return slices.Contains(w.From, id) && slices.Contains(w.To, to) })
			if id != to && !lost {
				from += fmt.Sprint(id)
			}
		}
		out = append(out, fmt.Sprintf("%d:%s", to, from))
	}
	return strings.Join(out, " ")
}

func TestTopologies(t *testing.T) {
	for _, c := range []struct {
		name    string
		ways    topology
		victims []int
		n       int
		want    string
	}{
		{"partition", partition, []int{2}, 3, "0:123 1:03 2:0 3:01"},
		{"partition", partition, []int{1, 2}, 5, "0:12345 1:02 2:01 3:045 4:035 5:034"},
		{"deaf", deaf, []int{1}, 3, "0:123 1:0 2:013 3:012"},
		{"mute", mute, []int{1}, 3, "0:123 1:023 2:03 3:02"},
		{"half-deaf", halfDeaf, []int{1}, 3, "0:123 1:03 2:013 3:012"},
		{"half-deaf", halfDeaf, []int{3}, 3, "0:123 1:023 2:013 3:02"},
		{"bridge", bridge, []int{3}, 5, "0:12345 1:023 2:013 3:01245 4:035 5:034"},
		{"ring", ring, nil, 5, "0:12345 1:025 2:013 3:024 4:035 5:014"},
		{"clients-cut", clientsCut, []int{1, 2}, 3, "0:3 1:23 2:13 3:012"},
	} {
		ways := c.ways(c.victims, c.n)
		require.Equal(t, c.want, hearing(ways, c.n), "%s of %v", c.name, c.victims)
		for _, w := range ways {
			client := slices.Contains(w.From, netlab.Hub) || slices.Contains(w.To, netlab.Hub)
			require.Equal(t, client, w.Proto == clientLink, "%s: brokers must be asked how they are", c.name)
		}
	}
	require.Empty(t, ring(nil, 3), "there are no two brokers that are not neighbours")
}

func TestPartKillSides(t *testing.T) {
	for _, brokers := range []int{3, 4, 5, 7} {
		for victim := 1; victim <= brokers; victim++ {
			p := &partKill{brokers: brokers}
			a, b, c := p.sides([]int{victim})
			require.Equal(t, victim, a[0])
			require.ElementsMatch(t, everyone(brokers), slices.Concat(a, b, c))
			require.Greater(t, len(b)+len(c), brokers/2, "they acknowledge without a")
			require.Greater(t, len(a)+len(b), brokers/2, "they go on without c")
		}
	}
}
