package raftnode

import (
	"context"
	"sync"
)

// gate counts the calls that are inside the NodeHost. NodeHost.Close sets fields to nil that its other methods use
// without a lock, so Close must not begin before the last of them has returned, and none may begin after.
type gate struct {
	mu     sync.RWMutex // held for reading by whoever is inside
	closed bool         // guarded by mu

	// ctx ends when the gate closes: calls that wait do so with it, or Close would wait for them.
	ctx    context.Context
	cancel context.CancelFunc
}

func (g *gate) init() { g.ctx, g.cancel = context.WithCancel(context.Background()) }

// enter reports whether the caller may use the NodeHost until leave.
func (g *gate) enter() bool {
	g.mu.RLock()
	if g.closed {
		g.mu.RUnlock()
		return false
	}
	return true
}

func (g *gate) leave() { g.mu.RUnlock() }

func (g *gate) close() {
	g.cancel()
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
}

// bound returns a context that ends with ctx or with the gate.
func (g *gate) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(g.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
