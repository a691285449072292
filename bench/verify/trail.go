package verify

import "sync"

// Trail remembers which message was delivered from each place, and compares with it what every replica holds at the end. It
// finds what a Ledger cannot: a replica that holds something else than what consumers were given, or less.
//
// It is told of every delivery of every subscription, and then of every replica, read from its start to its end:
//
//	Delivered ...  then for each replica: Replica, Record ..., End
//
// Records that retention has removed are not missed: a replica begins at the start that it says to have.
//
// Memory: 8 bytes a message. Methods may be called from any goroutine; those of a Reading from one at a time.
type Trail struct {
	mu     sync.Mutex
	places [][]uint64 // by partition and offset: packed ID plus one; 0: not delivered. Guarded by mu
	report Report     // guarded by mu
}

// seqBits is how much of a packed ID is the sequence number; the rest is the producer.
const seqBits = 44

func pack(id ID) uint64 { return (uint64(id.Producer)<<seqBits | id.Seq) + 1 }

func unpack(packed uint64) ID {
	packed--
	return ID{Producer: uint32(packed >> seqBits), Seq: packed & (1<<seqBits - 1)}
}

// NewTrail returns an empty trail for partitions that are numbered from 0.
func NewTrail(partitions int) *Trail { return &Trail{places: make([][]uint64, partitions)} }

// Delivered notes what a subscription got. A place that delivers two messages has diverged.
func (t *Trail) Delivered(partition int32, offset uint64, id ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for uint64(len(t.places[partition])) <= offset {
		t.places[partition] = append(t.places[partition], 0)
	}
	at := &t.places[partition][offset]
	if *at != 0 && *at != pack(id) {
		t.report.note(&t.report.Diverged, "partition %d offset %d: delivered %v and %v", partition, offset, unpack(*at), id)
	}
	*at = pack(id)
}

// End returns the offset behind the newest delivery from a partition.
func (t *Trail) End(partition int32) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return uint64(len(t.places[partition]))
}

// Report returns what was found so far; of its counters Lost, Gaps and Diverged.
func (t *Trail) Report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.report
}

// Reading is one replica while it is read.
type Reading struct {
	trail *Trail
	name  string
	next  map[int32]uint64 // by partition, like holes
	holes map[int32]hole   // the last one, also what was missing at the beginning
	count int
}

// hole is offsets that were not read.
type hole struct{ from, to uint64 }

// Replica begins to compare a replica.
func (t *Trail) Replica(name string) *Reading {
	return &Reading{trail: t, name: name, next: map[int32]uint64{}, holes: map[int32]hole{}}
}

// Record compares one record.
func (r *Reading) Record(partition int32, offset uint64, id ID) {
	t := r.trail
	t.mu.Lock()
	defer t.mu.Unlock()
	r.count++
	if want, begun := r.next[partition]; !begun || offset != want {
		r.holes[partition] = hole{from: want, to: offset} // the last one counts: retention may explain those before it too
	}
	r.next[partition] = offset + 1
	if offset >= uint64(len(t.places[partition])) || t.places[partition][offset] == 0 {
		t.report.note(&t.report.Diverged, "%s partition %d offset %d: holds %v, which nobody was given", r.name, partition, offset, id)
	} else if was := t.places[partition][offset]; was != pack(id) {
		t.report.note(&t.report.Diverged, "%s partition %d offset %d: holds %v, delivered was %v", r.name, partition, offset, id, unpack(was))
	}
}

// End says that the replica held no more, and what its start is after that, of each partition that it should hold. The start may have
// moved while the replica was read, so that offsets below it may be missing. It returns how many records there were.
func (r *Reading) End(start map[int32]uint64) int {
	t := r.trail
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, limit := range start {
		next, begun := r.next[p]
		if !begun {
			next = limit
		}
		if h := r.holes[p]; h.to > limit {
			t.report.note(&t.report.Gaps, "%s partition %d: offsets %d to %d are not there, and it begins at %d", r.name, p, h.from, h.to-1, limit)
		}
		if end := uint64(len(t.places[p])); next < end {
			t.report.note(&t.report.Lost, "%s partition %d: ends at %d, delivered was up to %d", r.name, p, next, end)
			t.report.Lost += int(end - next - 1)
		}
	}
	return r.count
}
