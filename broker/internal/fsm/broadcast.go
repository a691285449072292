package fsm

import (
	"sync"
	"sync/atomic"
)

// broadcast wakes everybody who waits, and costs one atomic load when nobody does.
//
// No wake-up is lost: a waiter arms before it looks at the state, the notifier changes the state before it looks at
// armed. If the notifier saw armed false, the waiter's look came after the change and finds it.
type broadcast struct {
	armed atomic.Bool

	mu     sync.Mutex
	ch     chan struct{} // guarded by mu; nil unless armed or closed
	closed bool          // guarded by mu
}

// wait returns a channel that the next notify closes. After close it is closed already.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
		b.armed.Store(true)
	}
	return b.ch
}

func (b *broadcast) notify() {
	if !b.armed.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil && !b.closed {
		close(b.ch)
		b.ch = nil
		b.armed.Store(false)
	}
}

func (b *broadcast) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.closed = true
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	close(b.ch)
}
