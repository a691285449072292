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
// A taker says by a channel which it is: closed once it holds nothing else, nil if that is never so. It may be closed
// while the taker waits. Waiters of each kind are served in their order.
type budget struct {
	limit int

	mu      sync.Mutex
	used    int       // guarded by mu
	waiting []*waiter // oldest first; guarded by mu
}

type waiter struct {
	n       int
	first   bool // its taker holds nothing else; guarded by the budget's mu
	granted chan struct{}
}

// alwaysIdle is the channel of takers that never hold anything else.
var alwaysIdle = func() chan struct{} { ch := make(chan struct{}); close(ch); return ch }()

// take waits until n bytes may be used. The taker holds nothing else once idle is closed. An error is that of ctx,
// and then nothing was taken.
func (b *budget) take(ctx context.Context, n int, idle <-chan struct{}) error {
	w := &waiter{n: n}
	select {
	case <-idle:
		w.first, idle = true, nil
	default:
	}
	if b.enter(w) {
		return nil
	}
	for {
		select {
		case <-w.granted:
			return nil
		case <-idle:
			b.promote(w)
			idle = nil
		case <-ctx.Done():
			b.leave(w)
			return context.Cause(ctx)
		}
	}
}

// enter takes what w wants, or queues it and reports false.
func (b *budget) enter(w *waiter) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	queued := slices.ContainsFunc(b.waiting, func(o *waiter) bool { return o.first == w.first })
	if !queued && b.fits(w) {
		b.used += w.n
		return true
	}
	w.granted = make(chan struct{})
	b.waiting = append(b.waiting, w)
	return false
}

// promote notes that the taker of w, which waits, holds nothing else any more.
func (b *budget) promote(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w.first = true
	b.grant()
}

// leave ends the wait of w without what it wanted.
func (b *budget) leave(w *waiter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.waiting, w); i >= 0 {
		b.waiting = slices.Delete(b.waiting, i, i+1)
	} else {
		b.used -= w.n // granted at the same moment
	}
	b.grant()
}

// give returns n bytes. It does not block.
func (b *budget) give(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
	b.grant()
}

// force takes n bytes whatever the bound says, for memory that is there already.
func (b *budget) force(n int) {
	b.mu.Lock()
	b.used += n
	b.mu.Unlock()
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
