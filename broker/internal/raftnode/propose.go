package raftnode

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
)

// Outcome says how a proposal ended.
type Outcome uint8

// The outcomes. The zero value is the careful one.
const (
	Unknown   Outcome = iota // may be in the log, now or later
	Dropped                  // definitely not in any log
	Committed                // committed by a majority and applied here
)

// String returns the outcome's name, for logs and metrics.
func (o Outcome) String() string {
	switch o {
	case Dropped:
		return "dropped"
	case Committed:
		return "committed"
	default:
		return "unknown"
	}
}

// Result is how a proposal ended, and what the state machine answered if it was committed.
type Result struct {
	Outcome Outcome
	Value   uint64
	Data    []byte
}

// Proposal is one command on its way. One goroutine waits for it, with Wait or with Done and Result.
type Proposal struct {
	rs      *dragonboat.RequestState // nil: see direct
	direct  <-chan Result
	applied chan dragonboat.RequestResult // rs.AppliedC(), nil without rs

	once   sync.Once
	done   chan struct{}
	result Result
}

// NewProposal returns a proposal that ends when a result is sent. It is for proposers other than Node: simulated ones.
func NewProposal(result <-chan Result) *Proposal { return &Proposal{direct: result} }

// Wait returns the result, or false when stop closes or expire fires before there is one. A result that is there
// already wins over both. After it returned true it must not be called again.
func (p *Proposal) Wait(stop <-chan struct{}, expire <-chan time.Time) (Result, bool) {
	select { // a select among several ready channels would choose at random
	case r := <-p.applied:
		return p.take(r), true
	case r := <-p.direct:
		return r, true
	default:
	}
	select {
	case r := <-p.applied:
		return p.take(r), true
	case r := <-p.direct:
		return r, true
	case <-stop:
	case <-expire:
	}
	return Result{}, false
}

// Done returns a channel that closes when Result can be called. It costs a goroutine until then, so it is not for
// proposals made often. Not to be mixed with Wait.
func (p *Proposal) Done() <-chan struct{} {
	p.once.Do(func() {
		p.done = make(chan struct{})
		go func() { // ends with the proposal, at the latest at its timeout
			p.result, _ = p.Wait(nil, nil)
			close(p.done)
		}()
	})
	return p.done
}

// Result returns the result, after Done closed.
func (p *Proposal) Result() Result {
	<-p.Done()
	return p.result
}

func (p *Proposal) take(r dragonboat.RequestResult) Result {
	var out Result
	switch {
	case r.Completed():
		v := r.GetResult()
		out = Result{Outcome: Committed, Value: v.Value, Data: v.Data}
	case r.Dropped():
		out = Result{Outcome: Dropped}
	default: // Timeout, Terminated
	}
	p.rs.Release()
	p.rs, p.applied = nil, nil
	return out
}

// Propose hands cmd to the local replica, whatever its role: a follower forwards in silence and may lose it, so who
// needs order proposes only while it leads. cmd may be reused at once. An error means it was definitely not proposed.
func (n *Node) Propose(id uint64, cmd []byte) (*Proposal, error) {
	s, ok := n.shard(id)
	if !ok || !n.gate.enter() {
		return nil, ErrStopped
	}
	defer n.gate.leave()
	rs, err := n.nh.Propose(s.session, cmd, n.cfg.ProposalTimeout)
	if err != nil {
		return nil, refusal(err)
	}
	return &Proposal{rs: rs, applied: rs.AppliedC()}, nil
}

// ProposeWait proposes cmd and waits for the result or the end of ctx, which leaves the outcome Unknown.
func (n *Node) ProposeWait(ctx context.Context, id uint64, cmd []byte) (Result, error) {
	p, err := n.Propose(id, cmd)
	if err != nil {
		return Result{}, fmt.Errorf("raftnode: propose to shard %d: %w", id, err)
	}
	r, ok := p.Wait(ctx.Done(), nil)
	if !ok {
		return Result{}, fmt.Errorf("raftnode: propose to shard %d: %w", id, ctx.Err())
	}
	return r, nil
}

// refusal maps Dragonboat's errors of a call that was not accepted to ours.
func refusal(err error) error {
	switch {
	case errors.Is(err, dragonboat.ErrSystemBusy):
		return ErrBusy
	case errors.Is(err, dragonboat.ErrShardNotReady), errors.Is(err, dragonboat.ErrShardNotInitialized):
		return ErrNotReady
	case errors.Is(err, dragonboat.ErrShardNotFound), errors.Is(err, dragonboat.ErrShardClosed),
		errors.Is(err, dragonboat.ErrClosed):
		return ErrStopped
	}
	return err
}

// Read asks the state machine of a shard after every write committed before the call was applied here. It works on
// any replica while there is a leader.
func (n *Node) Read(ctx context.Context, id uint64, query any) (any, error) {
	if !n.gate.enter() {
		return nil, ErrStopped
	}
	defer n.gate.leave()
	ctx, done := n.gate.bound(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, n.cfg.ProposalTimeout) // SyncRead insists on a deadline
	defer cancel()
	v, err := n.nh.SyncRead(ctx, id, query)
	if err != nil {
		return nil, fmt.Errorf("raftnode: read shard %d: %w", id, refusal(err))
	}
	return v, nil
}

// StaleRead asks the local state machine of a shard as it is.
func (n *Node) StaleRead(id uint64, query any) (any, error) {
	if !n.gate.enter() {
		return nil, ErrStopped
	}
	defer n.gate.leave()
	v, err := n.nh.StaleRead(id, query)
	if err != nil {
		return nil, fmt.Errorf("raftnode: read shard %d: %w", id, refusal(err))
	}
	return v, nil
}
