package session

import (
	"context"
	"slices"
	"sync"
)

// hardFactor is how far beyond its bound a budget goes for takers that hold nothing else.
const hardFactor = 4

// budget bounds bytes in memory. Takers that hold something already wait at limit. Takers that hold nothing
// go on up to hardFactor times limit, so that those who are stuck with what they hold (a stalled partition, a
// stalled consumer) do not stall the others. A budget that nobody uses grants any size.
//
// Waiters of each kind are served in their order.
type budget struct {
	limit  int
	parent *budget // what is taken here is taken there too; may be nil

	mu      sync.Mutex
	used    int       // guarded by mu
	waiting []*waiter // oldest first; guarded by mu
}

type waiter struct {
	n       int
	first   bool // its stream holds nothing else
	granted chan struct{}
}

// take waits until n bytes may be used. An error is that of ctx, and then nothing was taken.
func (b *budget) take(ctx context.Context, n int, first bool) error {
	if err := b.takeOwn(ctx, n, first); err != nil {
		return err
	}
	if b.parent == nil {
		return nil
	}
	if err := b.parent.take(ctx, n, first); err != nil {
		b.giveOwn(n)
		return err
	}
	return nil
}

func (b *budget) takeOwn(ctx context.Context, n int, first bool) error {
	b.mu.Lock()
	w := &waiter{n, first, nil}
	queued := slices.ContainsFunc(b.waiting, func(o *waiter) bool { return o.first == first })
	if !queued && b.fits(w) {
		b.used += n
		b.mu.Unlock()
		return nil
	}
	w.granted = make(chan struct{})
	b.waiting = append(b.waiting, w)
	b.mu.Unlock()

	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, w); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else {
		b.used -= n // granted at the same moment
	}
	b.grant()
	return context.Cause(ctx)
}

// give returns n bytes. It does not block.
func (b *budget) give(n int) {
	b.giveOwn(n)
	if b.parent != nil {
		b.parent.give(n)
	}
}

func (b *budget) giveOwn(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.grant()
}

// force takes n bytes whatever the bound says, for memory that is there already.
func (b *budget) force(n int) {
	for ; b != nil; b = b.parent {
		b.mu.Lock()
		b.used += n
		b.mu.Unlock()
	}
}

// fits reports whether w may have its bytes now; mu is held.
func (b *budget) fits(w *waiter) bool {
	limit := b.limit
	if w.first {
		limit *= hardFactor
	}
	return b.used == 0 || b.used+w.n <= limit
}

// grant serves waiters until the oldest of each kind does not fit; mu is held.
func (b *budget) grant() {
	var stuck [2]bool
	b.waiting = slices.DeleteFunc(b.waiting, func(w *waiter) bool {
		kind := 0
		if w.first {
			kind = 1
		}
		if stuck[kind] || !b.fits(w) {
			stuck[kind] = true
			return false
		}
		b.used += w.n
		close(w.granted)
		return true
	})
}

// inUse returns the bytes taken.
func (b *budget) inUse() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
