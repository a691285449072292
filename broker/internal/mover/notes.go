package mover

import (
	"sync"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
)

// Progress is how far a move is that this broker makes.
type Progress struct {
	Step  string        // what it did last or waits for, for people
	Since time.Duration // since this broker took it up
	Last  uint64        // index of the last entry of the shard's log
	Match uint64        // up to which the new replica says it has the log; 0: it has not said, or there is none
}

// notes are what can be told of the moves that this broker makes: one entry for each, until keep drops it. Safe for concurrent use.
type notes struct {
	mu sync.Mutex
	of map[uint64]*note // by move; guarded by mu
}

type note struct {
	since time.Time
	step  string
}

func newNotes() *notes { return &notes{of: make(map[uint64]*note)} }

// take notes that a move is made here from now on.
func (n *notes) take(move uint64, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of[move] == nil {
		n.of[move] = &note{since: now, step: "taken up"}
	}
}

// step notes what a move that was taken waits for or got.
func (n *notes) step(move uint64, step string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o := n.of[move]; o != nil {
		o.step = step
	}
}

// get returns what is known of a move.
func (n *notes) get(move uint64) (note, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if o := n.of[move]; o != nil {
		return *o, true
	}
	return note{}, false
}

// keep drops the moves that are not made here any more.
func (n *notes) keep(wanted func(move uint64) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for m := range n.of {
		if !wanted(m) {
			delete(n.of, m)
		}
	}
}

// Progress tells how far a move is. ok is false if it is not made here, or was not looked at yet. It may be called from any goroutine.
func (m *Mover) Progress(mv meta.Moving) (p Progress, ok bool) {
	n, ok := m.notes.get(mv.ID)
	if !ok {
		return Progress{}, false
	}
	p = Progress{Step: n.step, Since: time.Since(n.since)}
	p.Last, _ = m.cfg.Raft.LastIndex(mv.Shard)
	if mv.Add.Broker != 0 {
		p.Match, _, _ = m.cfg.Raft.Progress(mv.Shard, mv.Add.ReplicaID)
	}
	return p, true
}
