package meta

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

// spread returns how far the greatest and the least count are apart.
func spread(counts map[protocol.BrokerID]int, brokers int) int {
	least, most := 1<<30, 0
	for b := range brokers {
		n := counts[protocol.BrokerID(b+1)]
		least, most = min(least, n), max(most, n)
	}
	return most - least
}

func counts(lists [][]protocol.BrokerID) (replicas, leaders map[protocol.BrokerID]int) {
	replicas, leaders = map[protocol.BrokerID]int{}, map[protocol.BrokerID]int{}
	for _, list := range lists {
		for i, b := range list {
			replicas[b]++
			if i == 0 {
				leaders[b]++
			}
		}
	}
	return replicas, leaders
}

func requireDistinct(t require.TestingT, lists [][]protocol.BrokerID, partitions, replicas, brokers int) {
	require.Len(t, lists, partitions)
	for _, list := range lists {
		require.Len(t, list, replicas)
		sorted := slices.Sorted(slices.Values(list))
		require.Len(t, slices.Compact(sorted), replicas, "brokers must be distinct: %v", list)
		require.GreaterOrEqual(t, uint64(sorted[0]), uint64(1))
		require.LessOrEqual(t, uint64(sorted[len(sorted)-1]), uint64(brokers))
	}
}

// A new topic is balanced within one, for replicas and preferred leaders, whatever the brokers carry already.
func TestPlaceBalancesATopic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		brokers := rapid.IntRange(1, 12).Draw(t, "brokers")
		replicas := rapid.IntRange(1, min(brokers, protocol.MaxReplicas)).Draw(t, "replicas")
		partitions := rapid.IntRange(1, 60).Draw(t, "partitions")
		loads := make([]Load, brokers)
		for i := range loads {
			l := rapid.IntRange(0, 50).Draw(t, "leaders")
			loads[i] = Load{
				Broker: protocol.BrokerID(i + 1), Leaders: l,
				Replicas: l + rapid.IntRange(0, 100).Draw(t, "followers"),
			}
		}
		before := slices.Clone(loads)
		lists := Place(loads, partitions, replicas)
		require.Equal(t, before, loads, "the input is not changed")
		requireDistinct(t, lists, partitions, replicas, brokers)
		r, l := counts(lists)
		require.LessOrEqual(t, spread(r, brokers), 1, "replicas %v", r)
		require.LessOrEqual(t, spread(l, brokers), 1, "leaders %v", l)

		slices.Reverse(loads)
		require.Equal(t, lists, Place(loads, partitions, replicas), "the order of the brokers does not matter")
	})
}

// Topics of one replication factor created one after another stay balanced together: replicas within one, preferred
// leaders within two (choices made for earlier topics are not taken back).
func TestPlaceBalancesTheCluster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		brokers := rapid.IntRange(1, 9).Draw(t, "brokers")
		replicas := rapid.IntRange(1, min(brokers, 5)).Draw(t, "replicas")
		loads := make([]Load, brokers)
		for i := range loads {
			loads[i].Broker = protocol.BrokerID(i + 1)
		}
		allReplicas, allLeaders := map[protocol.BrokerID]int{}, map[protocol.BrokerID]int{}
		for range rapid.IntRange(1, 30).Draw(t, "topics") {
			lists := Place(loads, rapid.IntRange(1, 12).Draw(t, "partitions"), replicas)
			r, l := counts(lists)
			for i := range loads {
				b := loads[i].Broker
				loads[i].Replicas += r[b]
				loads[i].Leaders += l[b]
				allReplicas[b] += r[b]
				allLeaders[b] += l[b]
			}
			require.LessOrEqual(t, spread(allReplicas, brokers), 1, "replicas %v", allReplicas)
			require.LessOrEqual(t, spread(allLeaders, brokers), 2, "leaders %v", allLeaders)
		}
	})
}

// Adding partitions keeps the topic's replicas as even as they were, also over brokers that joined meanwhile, and its
// preferred leaders within two (existing partitions are not moved).
func TestPlaceExtendsATopic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		brokers := rapid.IntRange(1, 8).Draw(t, "brokers")
		replicas := rapid.IntRange(1, min(brokers, 5)).Draw(t, "replicas")
		joined := rapid.IntRange(0, 3).Draw(t, "joined")
		loads := make([]Load, brokers)
		for i := range loads {
			loads[i].Broker = protocol.BrokerID(i + 1)
		}
		first := Place(loads, rapid.IntRange(1, 30).Draw(t, "partitions"), replicas)
		for i := range joined {
			loads = append(loads, Load{Broker: protocol.BrokerID(brokers + i + 1)})
		}
		r, l := counts(first)
		for i := range loads {
			b := loads[i].Broker
			loads[i].Replicas, loads[i].Leaders = r[b], l[b]
			loads[i].TopicReplicas, loads[i].TopicLeaders = r[b], l[b]
		}
		added := rapid.IntRange(1, 30).Draw(t, "added")
		second := Place(loads, added, replicas)
		requireDistinct(t, second, added, replicas, brokers+joined)
		was := spread(r, brokers+joined)
		r, l = counts(append(first, second...))
		require.LessOrEqual(t, spread(r, brokers+joined), max(1, was), "replicas %v", r)
		if joined == 0 {
			require.LessOrEqual(t, spread(l, brokers), 2, "leaders %v", l)
		}
	})
}

// zoned draws brokers in zones.
func zoned(t *rapid.T, sizes []int) (loads []Load, of map[protocol.BrokerID]string) {
	of = map[protocol.BrokerID]string{}
	for z, size := range sizes {
		for range size {
			l := Load{Broker: protocol.BrokerID(len(loads) + 1), Zone: string(rune('a' + z))}
			l.Leaders = rapid.IntRange(0, 9).Draw(t, "leaders")
			l.Replicas = l.Leaders + rapid.IntRange(0, 20).Draw(t, "followers")
			of[l.Broker] = l.Zone
			loads = append(loads, l)
		}
	}
	return loads, of
}

// No zone has two replicas of a partition more than a zone that has a broker left; within a zone the brokers carry as
// much within one, whatever the zones are.
func TestPlaceSpreadsOverZones(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 5), 1, 5).Draw(t, "zones")
		loads, of := zoned(t, sizes)
		replicas := rapid.IntRange(1, min(len(loads), protocol.MaxReplicas)).Draw(t, "replicas")
		partitions := rapid.IntRange(1, 40).Draw(t, "partitions")
		lists := Place(loads, partitions, replicas)
		requireDistinct(t, lists, partitions, replicas, len(loads))
		for _, list := range lists {
			in := map[string]int{}
			for _, b := range list {
				in[of[b]]++
			}
			for z, size := range sizes {
				name := string(rune('a' + z))
				for _, most := range in {
					require.True(t, in[name] == size || most-in[name] <= 1, "%v: %v of %v", list, in, sizes)
				}
			}
		}
		r, _ := counts(lists)
		for _, a := range loads {
			for _, b := range loads {
				if a.Zone == b.Zone {
					require.LessOrEqual(t, r[a.Broker]-r[b.Broker], 1, "replicas %v of zones %v", r, sizes)
				}
			}
		}
		slices.Reverse(loads)
		require.Equal(t, lists, Place(loads, partitions, replicas), "the order of the brokers does not matter")
	})
}

// With zones of one size a new topic is balanced as it is without zones. Partitions that are added keep each zone even, but
// not always all: the two brokers that carry least may be in one zone, and a partition uses it once.
func TestPlaceBalancesEqualZones(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones, size := rapid.IntRange(1, 4).Draw(t, "zones"), rapid.IntRange(1, 4).Draw(t, "size")
		loads, _ := zoned(t, slices.Repeat([]int{size}, zones))
		replicas := rapid.IntRange(1, min(len(loads), protocol.MaxReplicas)).Draw(t, "replicas")
		lists := Place(loads, rapid.IntRange(1, 40).Draw(t, "partitions"), replicas)
		r, l := counts(lists)
		require.LessOrEqual(t, spread(r, len(loads)), 1, "replicas %v", r)
		require.LessOrEqual(t, spread(l, len(loads)), 1, "leaders %v", l)
		for i := range loads {
			b := loads[i].Broker
			loads[i].TopicReplicas, loads[i].TopicLeaders = r[b], l[b]
			loads[i].Replicas, loads[i].Leaders = loads[i].Replicas+r[b], loads[i].Leaders+l[b]
		}
		more := Place(loads, rapid.IntRange(1, 40).Draw(t, "added"), replicas)
		r, _ = counts(append(lists, more...))
		for zone := range slices.Chunk(loads, size) {
			for _, x := range zone {
				require.LessOrEqual(t, r[x.Broker]-r[zone[0].Broker], 1, "replicas %v", r)
				require.LessOrEqual(t, r[zone[0].Broker]-r[x.Broker], 1, "replicas %v", r)
			}
		}
	})
}

func TestPlaceLargestTopic(t *testing.T) {
	loads := make([]Load, 64)
	for i := range loads {
		loads[i].Broker = protocol.BrokerID(i + 1)
	}
	r, l := counts(Place(loads, protocol.MaxPartitions, protocol.MaxReplicas))
	require.LessOrEqual(t, spread(r, 64), 1)
	require.LessOrEqual(t, spread(l, 64), 1)
}

// The partitions of one leader name their followers in turn.
func TestPlaceTurnsFollowers(t *testing.T) {
	lists := Place([]Load{{Broker: 1}, {Broker: 2}, {Broker: 3}}, 6, 3)
	second := map[protocol.BrokerID]map[protocol.BrokerID]int{}
	for _, list := range lists {
		if second[list[0]] == nil {
			second[list[0]] = map[protocol.BrokerID]int{}
		}
		second[list[0]][list[1]]++
	}
	for leader, by := range second {
		require.Len(t, by, 2, "leader %d: %v", leader, by)
	}
}

func BenchmarkPlaceLargest(b *testing.B) {
	loads := make([]Load, 64)
	for i := range loads {
		loads[i].Broker = protocol.BrokerID(i + 1)
	}
	for b.Loop() {
		Place(loads, protocol.MaxPartitions, protocol.MaxReplicas)
	}
}
