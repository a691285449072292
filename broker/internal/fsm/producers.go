package fsm

import (
	"slices"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/protocol"
)

// runsPerProducer bounds what is remembered of a producer's past. A producer never has more than MaxInFlightBatches
// unanswered, and each batch makes at most one run, so that every repeat of an unanswered batch is recognised.
const runsPerProducer = protocol.MaxInFlightBatches

// run says where a stretch of sequences went: sequence seq+i has offset offset+i, for i < count.
type run struct {
	seq    protocol.Sequence
	offset protocol.Offset
	count  uint64
}

// producer is what the partition knows of one producer.
type producer struct {
	id    protocol.ProducerID
	epoch protocol.ProducerEpoch
	next  protocol.Sequence // sequences below are in the log
	runs  []run             // oldest first, at most runsPerProducer

	older, newer *producer // the least-recently-used list; anonymous producers only
}

// fences reports whether an epoch of the producer is over: a later one has been opened or has written.
func (p *producer) fences(epoch protocol.ProducerEpoch) bool {
	return epoch < p.epoch && !failpoint.Bug("bug.zombie-writes")
}

// record remembers that sequences [p.next, p.next+count) went to [offset, offset+count).
func (p *producer) record(offset protocol.Offset, count uint64) {
	seq := p.next
	p.next += protocol.Sequence(count)
	if n := len(p.runs); n > 0 {
		last := &p.runs[n-1]
		if last.seq+protocol.Sequence(last.count) == seq && last.offset+protocol.Offset(last.count) == offset {
			last.count += count
			return
		}
		if n == runsPerProducer {
			copy(p.runs, p.runs[1:])
			p.runs = p.runs[:n-1]
		}
	}
	p.runs = append(p.runs, run{seq: seq, offset: offset, count: count})
}

// find returns the offset of sequence seq if the whole of [seq, seq+count) lies in one remembered run. It does not if
// the run is forgotten, or if the producer cut its batches anew for the repeat, so that no single offset would be true.
func (p *producer) find(seq protocol.Sequence, count uint64) (protocol.Offset, bool) {
	i, exact := slices.BinarySearchFunc(p.runs, seq, func(r run, s protocol.Sequence) int {
		switch {
		case r.seq < s:
			return -1
		case r.seq > s:
			return 1
		}
		return 0
	})
	if !exact {
		i-- // the run that begins before seq
	}
	if i < 0 {
		return 0, false
	}
	r := p.runs[i]
	skip := uint64(seq - r.seq)
	if skip >= r.count || count > r.count-skip {
		return 0, false
	}
	return r.offset + protocol.Offset(skip), true
}

// producerTable holds the producers of a partition. The order in which anonymous ones are forgotten is that of the
// log, never that of a map, because every replica must forget the same one.
type producerTable struct {
	limit          int
	byID           map[protocol.ProducerID]*producer
	oldest, newest *producer // least and most recently used anonymous producer
}

func newProducerTable(limit int) producerTable {
	return producerTable{limit: limit, byID: make(map[protocol.ProducerID]*producer)}
}

// admit adds a producer that is not there yet. At the bound the anonymous one that was least recently used is
// forgotten for it; named producers are never forgotten, and if all are named the newcomer is refused (nil).
func (t *producerTable) admit(id protocol.ProducerID, epoch protocol.ProducerEpoch) *producer {
	for len(t.byID) >= t.limit {
		if t.oldest == nil {
			return nil
		}
		delete(t.byID, t.oldest.id)
		t.unlink(t.oldest)
	}
	return t.insert(&producer{id: id, epoch: epoch})
}

// insert adds p as the most recently used one, without regard to the bound.
func (t *producerTable) insert(p *producer) *producer {
	t.byID[p.id] = p
	if !p.id.Named() {
		t.linkNewest(p)
	}
	return p
}

// touch makes p the most recently used one.
func (t *producerTable) touch(p *producer) {
	if p.id.Named() || t.newest == p {
		return
	}
	t.unlink(p)
	t.linkNewest(p)
}

func (t *producerTable) linkNewest(p *producer) {
	p.older, p.newer = t.newest, nil
	if t.newest != nil {
		t.newest.newer = p
	} else {
		t.oldest = p
	}
	t.newest = p
}

func (t *producerTable) unlink(p *producer) {
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		t.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		t.newest = p.older
	}
	p.older, p.newer = nil, nil
}

// ordered returns all producers in the order of the checkpoint: named ones by ID, then anonymous ones, least recently
// used first.
func (t *producerTable) ordered() []*producer {
	all := make([]*producer, 0, len(t.byID))
	for _, p := range t.byID {
		if p.id.Named() {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *producer) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	for p := t.oldest; p != nil; p = p.newer {
		all = append(all, p)
	}
	return all
}
