package verify

import "sync"

// Turns checks what one subscription delivers from each partition, over all of its consumers. A turn is one activation of one
// consumer on one partition; turns are numbered, and a later one has a greater number.
//
//	Began(turn, from) ─► Delivered(from) Delivered(from+1) ... ─► Ended
//	                      └─► Committed(next) ...                   └─► Committed(next)
//
//	dense      within a turn each offset is one more than the one before, apart from what retention took (Removed)
//	resumed    a turn begins at most one behind the highest offset that was delivered: nothing is skipped
//	kept       a turn begins at or above everything that earlier turns committed: nothing acknowledged comes again
//	fenced     a turn commits nothing above the beginning of a later one: its acknowledgement came too late
//
// Of redeliveries this leaves exactly those of offsets that were delivered and not committed when the turn began.
//
// Began must be called before the consumer hands out the turn's first message, Committed only after the commit was confirmed.
// "kept" and "fenced" are one rule, so consumers in different goroutines need no common order of the two calls. The first turn of
// a partition may begin anywhere.
//
// Cost: constant. Memory: at most maxOpenTurns and maxTurnStarts entries a partition. Methods may be called from any goroutine;
// those of one turn in the order of its events.
type Turns struct {
	mu          sync.Mutex
	partitions  []turnsOf // guarded by mu
	redelivered int64     // guarded by mu
	findings
}

const (
	// maxOpenTurns bounds the turns of a partition that have not ended: the active one, and those that have not heard that they
	// are not any more. At the bound the oldest is taken for ended.
	maxOpenTurns = 16
	// maxTurnStarts is of how many of a partition's latest turns the beginning is kept, for commits that come too late.
	maxTurnStarts = 64
)

// turnsOf is what is known of one partition.
type turnsOf struct {
	high   int64       // one behind the highest offset that was delivered, or that retention took
	open   []openTurn  // ascending numbers
	starts []turnStart // ascending numbers
}

type openTurn struct {
	number uint64
	next   int64
}

type turnStart struct {
	number    uint64
	from      int64
	committed int64 // the highest that this turn has committed, and those that were forgotten before it
}

// NewTurns returns a checker for partitions that are numbered from 0.
func NewTurns(partitions int) *Turns { return &Turns{partitions: make([]turnsOf, partitions)} }

// Began notes that a consumer became the active one of a partition and that its next message is at from.
func (t *Turns) Began(partition int32, turn uint64, from int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began(partition, turn, from)
}

// began is Began. t.mu is held.
func (t *Turns) began(partition int32, turn uint64, from int64) {
	t.checked.Add(1)
	p := &t.partitions[partition]
	if len(p.starts) == 0 {
		p.high = from
	} else if newest := p.starts[len(p.starts)-1].number; turn <= newest {
		t.note("partition %d turn %d begins after turn %d", partition, turn, newest)
		return
	}
	if from > p.high {
		t.note("partition %d turn %d begins at offset %d, delivered was up to %d: it skips %d", partition, turn, from, p.high, from-p.high)
		p.high = from // told once
	}
	for _, s := range p.starts {
		if s.committed > from {
			t.note("partition %d turn %d begins at offset %d, and turn %d had committed up to %d", partition, turn, from, s.number, s.committed)
			break
		}
	}
	p.starts = append(p.starts, turnStart{number: turn, from: from})
	if len(p.starts) > maxTurnStarts {
		p.starts[1].committed = max(p.starts[0].committed, p.starts[1].committed)
		p.starts = p.starts[1:]
	}
	p.open = append(p.open, openTurn{turn, from})
	p.open = p.open[max(0, len(p.open)-maxOpenTurns):]
}

// Delivered notes a message. A turn that has not begun begins with it; of a turn that has ended nothing is judged any more.
func (t *Turns) Delivered(partition int32, turn uint64, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.partitions[partition]
	if n := len(p.starts); n == 0 || turn > p.starts[n-1].number {
		t.began(partition, turn, offset)
	}
	o := p.find(turn)
	if o == nil {
		return
	}
	t.checked.Add(1)
	if offset != o.next {
		t.note("partition %d turn %d: offset %d was delivered, %d was expected", partition, turn, offset, o.next)
	}
	if offset < p.high {
		t.redelivered++
	}
	o.next = offset + 1
	p.high = max(p.high, o.next)
}

// Committed notes that a turn's acknowledgements below next are committed.
func (t *Turns) Committed(partition int32, turn uint64, next int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checked.Add(1)
	p := &t.partitions[partition]
	if next > p.high {
		t.note("partition %d turn %d committed up to offset %d, delivered was up to %d", partition, turn, next, p.high)
	}
	for i := range p.starts {
		s := &p.starts[i]
		if s.number == turn {
			s.committed = max(s.committed, next)
		}
		if s.number > turn && s.from < next {
			t.note("partition %d turn %d committed up to offset %d, and turn %d had begun at %d", partition, turn, next, s.number, s.from)
			break
		}
	}
}

// Removed notes that a turn was told that retention took the offsets from to to-1 before they were delivered.
func (t *Turns) Removed(partition int32, turn uint64, from, to int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.partitions[partition]
	if o := p.find(turn); o != nil && o.next == from {
		o.next = to
		p.high = max(p.high, to)
	}
}

// Ended notes that a turn hands out nothing more. It may still commit.
func (t *Turns) Ended(partition int32, turn uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.partitions[partition]
	for i := range p.open {
		if p.open[i].number == turn {
			p.open = append(p.open[:i], p.open[i+1:]...)
			return
		}
	}
}

// Redelivered returns how many deliveries were of offsets that had been delivered before.
func (t *Turns) Redelivered() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.redelivered
}

func (p *turnsOf) find(turn uint64) *openTurn {
	for i := range p.open {
		if p.open[i].number == turn {
			return &p.open[i]
		}
	}
	return nil
}
