package history

import (
	"slices"
	"sync"
)

// Ring keeps the newest operations of each partition.
type Ring struct {
	size  int
	parts []ringOf
}

// ringOf is one partition's; operations of different partitions do not wait for each other.
type ringOf struct {
	mu   sync.Mutex
	ops  []Op  // grows up to the size; guarded by mu
	seen int64 // ops[seen%size] is the next to be overwritten; guarded by mu
}

// NewRing returns a ring for partitions that are numbered from 0. size is how many operations of each are kept, at least 1.
func NewRing(partitions, size int) *Ring { return &Ring{size: size, parts: make([]ringOf, partitions)} }

// Add keeps an operation that has returned, and forgets the oldest of its partition if there are too many.
func (r *Ring) Add(o Op) {
	p := &r.parts[o.Partition]
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ops) < r.size {
		p.ops = append(p.ops, o)
	} else {
		p.ops[p.seen%int64(r.size)] = o
	}
	p.seen++
}

// Ops returns what is kept, in the order of Op.Invoke, and how many operations were forgotten.
func (r *Ring) Ops() (ops []Op, forgotten int64) {
	for i := range r.parts {
		p := &r.parts[i]
		p.mu.Lock()
		ops = append(ops, p.ops...)
		forgotten += p.seen - int64(len(p.ops))
		p.mu.Unlock()
	}
	slices.SortStableFunc(ops, byInvoke)
	return ops, forgotten
}
