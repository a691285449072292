package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
	"github.com/trunkline/trunkline/bench/verify/linear"
	"github.com/trunkline/trunkline/client"
)

const (
	// positionsEach is the time between two questions what subscriptions have committed.
	positionsEach = time.Second
	// positionsPerKey is how many operations on one subscription's position of a partition are searched at a time.
	positionsPerKey = 1500
	// positionsWithin is how old an answer may be: one that was asked of a leader which is stopped is given when it goes on.
	positionsWithin = 5 * time.Second
)

// positions judge what subscriptions have committed (I12): consumers tell of their commits, and leaders are asked. What a key has
// gathered is searched when it is positionsPerKey operations, and at the end.
//
// Safe for concurrent use. Memory: 128 bytes an operation, at most positionsPerKey for each subscription and partition.
type positions struct {
	begun time.Time

	mu    sync.Mutex
	byKey map[string][]history.Op // by subscription and partition; guarded by mu
	found verify.Findings         // guarded by mu
}

func newPositions(begun time.Time) *positions {
	return &positions{begun: begun, byKey: map[string][]history.Op{}}
}

// committed notes that a consumer's commit of everything below an offset was confirmed.
func (p *positions) committed(worker int, subscription string, part int32, offset int64, asked, answered time.Time) {
	p.add(history.Op{Worker: worker, Kind: history.Commit, Key: subscription, Partition: part, Offset: offset}, asked, answered)
}

// told notes what the leaders say.
func (p *positions) told(worker int, states []client.SubscriptionState, asked, answered time.Time) {
	for _, s := range states {
		o := history.Op{Worker: worker, Kind: history.Position, Key: s.Subscription, Partition: int32(s.Partition), Offset: int64(s.Cursor)}
		p.add(o, asked, answered)
	}
}

func (p *positions) add(o history.Op, asked, answered time.Time) {
	o.Class, o.Invoke, o.Return = history.OK, asked.Sub(p.begun).Nanoseconds(), answered.Sub(p.begun).Nanoseconds()
	key := fmt.Sprintf("%s/%d", o.Key, o.Partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byKey[key] = append(p.byKey[key], o)
	if len(p.byKey[key]) == positionsPerKey {
		p.judge(p.byKey[key])
		delete(p.byKey, key)
	}
}

// judge searches the operations of one key. p.mu is held.
func (p *positions) judge(ops []history.Op) {
	r, err := linear.Positions(ops, linear.Options{Stale: positionsWithin})
	if err != nil {
		r.Undecided = append(r.Undecided, err.Error())
	}
	p.found.Checked += int64(r.Ops)
	for _, b := range r.Broken {
		p.found.Examples = append(p.found.Examples, "committed positions are not linearizable: "+b)
	}
	for _, u := range r.Undecided {
		p.found.Examples = append(p.found.Examples, "committed positions: not decided in time: "+u)
	}
	p.found.Broken += int64(len(r.Broken) + len(r.Undecided))
	p.found.Examples = p.found.Examples[:min(len(p.found.Examples), maxTrouble)]
}

// findings returns what was found of what has been judged.
func (p *positions) findings() verify.Findings {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.found
	f.Examples = append([]string(nil), f.Examples...)
	return f
}

// end judges what is left.
func (p *positions) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, ops := range p.byKey {
		p.judge(ops)
	}
	clear(p.byKey)
}

// ask asks the leaders again and again until ctx ends.
func (p *positions) ask(ctx context.Context, worker int, subscriptions func(context.Context) ([]client.SubscriptionState, error)) {
	for sleep(ctx, positionsEach) == nil {
		limited, cancel := context.WithTimeout(ctx, describeIn)
		asked := time.Now()
		states, err := subscriptions(limited)
		cancel()
		if err == nil { // a leader was away: the next one is asked
			p.told(worker, states, asked, time.Now())
		}
	}
}
