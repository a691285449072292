package feed

import (
	"cmp"
	"hash/fnv"
	"io"
	"slices"
	"sync"

	"github.com/trunkline/trunkline/protocol"
)

// Assign returns for each partition of a topic the index of the consumer, in consumers, that should have it.
// consumers are distinct names in ascending order; with none, Assign returns nil.
//
// Every (partition, consumer) pair has a score that depends on nothing else, so that pairs which can stay
// together do when consumers come and go. The pairs are taken in the order of their scores, each one if its
// partition is still free and its consumer may have another: every consumer may have floor(P/C) partitions and
// P mod C of them one more. The result is therefore even within one partition and the same on every broker.
//
// The cost is O(PC log PC): callers keep results (assignCache).
func Assign(topic protocol.TopicID, subscription string, partitions int, consumers []string) []int {
	if len(consumers) == 0 || partitions <= 0 {
		return nil
	}
	base, extras := partitions/len(consumers), partitions%len(consumers)
	load := make([]int, len(consumers))
	owner := make([]int, partitions)
	for i := range owner {
		owner[i] = -1
	}
	for _, s := range scores(topic, subscription, partitions, consumers) {
		if owner[s.partition] >= 0 || load[s.consumer] > base || load[s.consumer] == base && extras == 0 {
			continue
		}
		if load[s.consumer] == base {
			extras--
		}
		load[s.consumer]++
		owner[s.partition] = int(s.consumer)
	}
	return owner
}

type score struct {
	value     uint64
	partition int32
	consumer  int32
}

// scores returns the scores of all pairs, highest first, ties in the order of partition and consumer.
func scores(topic protocol.TopicID, subscription string, partitions int, consumers []string) []score {
	seed := fnv.New64a()
	io.WriteString(seed, subscription) //nolint:errcheck // a hash does not fail
	common := mix(seed.Sum64() ^ mix(uint64(topic)))
	out := make([]score, 0, partitions*len(consumers))
	for c, name := range consumers {
		h := fnv.New64a()
		io.WriteString(h, name) //nolint:errcheck // a hash does not fail
		mine := mix(h.Sum64() ^ common)
		for p := range partitions {
			out = append(out, score{mix(mine + uint64(p)), int32(p), int32(c)})
		}
	}
	slices.SortFunc(out, func(a, b score) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.partition, b.partition),
			cmp.Compare(a.consumer, b.consumer))
	})
	return out
}

// mix is the finalizer of splitmix64: every bit of x moves about half of the bits of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// assignCacheSize is how many assignments are remembered. The partitions of a subscription see the same
// consumers but for moments, so a few per subscription that is changing are enough.
const assignCacheSize = 64

// assignCache remembers results of Assign, so that the partitions of a topic on this broker share one.
type assignCache struct {
	mu      sync.Mutex
	entries []assignEntry // newest last; at most assignCacheSize; guarded by mu
}

type assignEntry struct {
	topic        protocol.TopicID
	subscription string
	consumers    []string
	owner        []int
}

// owner returns the name of the consumer that should have tp.
func (c *assignCache) owner(
	tp protocol.TopicPartition, subscription string, partitions int, consumers []string,
) string {
	// A partition that the metadata here does not count yet is as good as counted.
	partitions = max(partitions, int(tp.Partition)+1)
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.entries, func(e assignEntry) bool {
		return e.topic == tp.Topic && e.subscription == subscription && len(e.owner) == partitions &&
			slices.Equal(e.consumers, consumers)
	})
	var e assignEntry
	if i >= 0 {
		e = c.entries[i]
		c.entries = slices.Delete(c.entries, i, i+1)
	} else {
		e = assignEntry{tp.Topic, subscription, slices.Clone(consumers),
			Assign(tp.Topic, subscription, partitions, consumers)}
		if len(c.entries) == assignCacheSize {
			c.entries = slices.Delete(c.entries, 0, 1)
		}
	}
	c.entries = append(c.entries, e)
	return consumers[e.owner[tp.Partition]]
}
