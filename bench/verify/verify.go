package verify

import (
	"fmt"
	"slices"
)

// ID names a record: the producer that sent it and its number there, dense from 0 in sending order.
type ID struct {
	Producer uint32
	Seq      uint64
}

// Outcome is what the sender was told.
type Outcome uint8

// The outcomes of a publish.
const (
	Pending Outcome = iota // never answered: may or may not be in the log
	Acked
	NotAppended
	Unknown
)

// Sent is one publish.
type Sent struct {
	Outcome   Outcome
	Partition int32
	Offset    uint64 // valid when Acked
}

// Entry is a record as it was read.
type Entry struct {
	Offset uint64
	ID     ID
	Sum    uint32 // checksum of key and value
}

// Report counts violations. Examples holds the first few of each kind in words.
type Report struct {
	Acked      int
	Lost       int
	Duplicated int
	Reordered  int
	Phantom    int
	Gaps       int
	Diverged   int
	Examples   []string
}

// maxExamples bounds Report.Examples.
const maxExamples = 20

// OK reports whether nothing was violated.
func (r *Report) OK() bool {
	return r.Lost+r.Duplicated+r.Reordered+r.Phantom+r.Gaps+r.Diverged == 0
}

func (r *Report) note(counter *int, format string, args ...any) {
	*counter++
	if len(r.Examples) < maxExamples {
		r.Examples = append(r.Examples, fmt.Sprintf(format, args...))
	}
}

// History is everything that senders were told: History[p][s] is the publish of ID{p, s}.
type History [][]Sent

// Replica is what one broker holds: Replica[partition] in offset order.
type Replica map[int32][]Entry

// Replicas checks what every replica holds against the history. names[i] names replicas[i].
func Replicas(h History, names []string, replicas []Replica) *Report {
	r := &Report{}
	for _, sent := range h {
		for _, s := range sent {
			if s.Outcome == Acked {
				r.Acked++
			}
		}
	}
	for i, rep := range replicas {
		checkReplica(r, h, names[i], rep)
		if i > 0 {
			checkSame(r, names[0], names[i], replicas[0], rep)
		}
	}
	return r
}

func checkReplica(r *Report, h History, name string, rep Replica) {
	seen := make([][]uint8, len(h))
	for p := range h {
		seen[p] = make([]uint8, len(h[p]))
	}
	for _, part := range partitions(rep) {
		last := map[uint32]uint64{}
		for i, e := range rep[part] {
			if i > 0 && e.Offset != rep[part][i-1].Offset+1 {
				r.note(&r.Gaps, "%s partition %d: offset %d follows %d", name, part, e.Offset, rep[part][i-1].Offset)
			}
			if int(e.ID.Producer) >= len(h) || e.ID.Seq >= uint64(len(h[e.ID.Producer])) {
				r.note(&r.Phantom, "%s partition %d offset %d: record %v was never sent", name, part, e.Offset, e.ID)
				continue
			}
			if h[e.ID.Producer][e.ID.Seq].Outcome == NotAppended {
				r.note(&r.Phantom, "%s partition %d offset %d: record %v was answered as not appended", name, part, e.Offset, e.ID)
			}
			if seen[e.ID.Producer][e.ID.Seq]++; seen[e.ID.Producer][e.ID.Seq] > 1 {
				r.note(&r.Duplicated, "%s partition %d offset %d: record %v stands there again", name, part, e.Offset, e.ID)
				continue
			}
			if prev, ok := last[e.ID.Producer]; ok && e.ID.Seq < prev {
				r.note(&r.Reordered, "%s partition %d offset %d: record %v after %d", name, part, e.Offset, e.ID, prev)
			}
			last[e.ID.Producer] = e.ID.Seq
		}
	}
	checkAcked(r, h, name, rep)
}

// checkAcked looks for every acknowledged record at its place.
func checkAcked(r *Report, h History, name string, rep Replica) {
	for p, sent := range h {
		for s, pub := range sent {
			if pub.Outcome != Acked {
				continue
			}
			id := ID{uint32(p), uint64(s)}
			if e, ok := at(rep[pub.Partition], pub.Offset); !ok || e.ID != id {
				r.note(&r.Lost, "%s: record %v was acknowledged at partition %d offset %d and is not there", name, id, pub.Partition, pub.Offset)
			}
		}
	}
}

func at(log []Entry, offset uint64) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(log, offset, func(e Entry, o uint64) int {
		switch {
		case e.Offset < o:
			return -1
		case e.Offset > o:
			return 1
		}
		return 0
	})
	if !ok {
		return Entry{}, false
	}
	return log[i], true
}

func checkSame(r *Report, aName, bName string, a, b Replica) {
	for _, part := range partitions(a) {
		if len(a[part]) != len(b[part]) {
			r.note(&r.Diverged, "partition %d: %s holds %d records, %s %d", part, aName, len(a[part]), bName, len(b[part]))
			continue
		}
		for i := range a[part] {
			if a[part][i] != b[part][i] {
				r.note(&r.Diverged, "partition %d: %s has %+v, %s has %+v", part, aName, a[part][i], bName, b[part][i])
				break
			}
		}
	}
}

func partitions(rep Replica) []int32 {
	parts := make([]int32, 0, len(rep))
	for p := range rep {
		parts = append(parts, p)
	}
	slices.Sort(parts)
	return parts
}

// Delivery checks one subscription as its consumers saw it: Delivered[partition] in the order of arrival. next[partition] is the
// end of that partition's log when the consumers stopped: everything below must have been delivered.
func Delivery(delivered map[int32][]Entry, next map[int32]uint64) *Report {
	r := &Report{}
	for _, part := range partitions(delivered) {
		want := uint64(0)
		for _, e := range delivered[part] {
			switch {
			case e.Offset < want:
				r.note(&r.Duplicated, "partition %d: offset %d was delivered again or late, %d was expected", part, e.Offset, want)
			case e.Offset > want:
				r.note(&r.Lost, "partition %d: offset %d was delivered, %d was expected", part, e.Offset, want)
				r.Lost += int(e.Offset - want - 1)
				want = e.Offset + 1
			default:
				want++
			}
		}
		if end := next[part]; want < end {
			r.note(&r.Lost, "partition %d: delivery ended at %d of %d", part, want, end)
			r.Lost += int(end - want - 1)
		}
	}
	for part, end := range next {
		if _, ok := delivered[part]; !ok && end > 0 {
			r.note(&r.Lost, "partition %d: nothing of %d records was delivered", part, end)
			r.Lost += int(end - 1)
		}
	}
	return r
}
