package partition

import (
	"context"
	"fmt"
	"time"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// transferTimeout bounds what comes after the pipeline fell silent: the target's part of a transfer, and then the news
// that it leads.
const transferTimeout = 3 * time.Second

// Drain makes appends wait and returns once nothing is pending. They wait until Resume, the end of the leadership, or
// Close. Without leadership there is nothing to drain.
func (p *Partition) Drain(ctx context.Context) error {
	p.pause()
	_, err := p.quiesce(ctx, false)
	return err
}

// Resume ends what Drain began.
func (p *Partition) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused == 0 {
		return
	}
	p.paused--
	if p.paused == 0 {
		close(p.resume)
	}
}

func (p *Partition) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused == 0 {
		p.resume = make(chan struct{})
	}
	p.paused++
}

// quiesce waits until nothing is pending in the current term, and returns it; nil if this replica does not lead. With
// hold nothing is proposed from that moment on.
func (p *Partition) quiesce(ctx context.Context, hold bool) (*term, error) {
	for {
		p.mu.Lock()
		t := p.term
		if t == nil || t.pending == 0 {
			if t != nil {
				t.hold = hold
			}
			p.mu.Unlock()
			return t, nil
		}
		if t.idle == nil {
			t.idle = make(chan struct{})
		}
		idle := t.idle
		p.mu.Unlock()
		select {
		case <-idle:
		case <-t.done:
		case <-ctx.Done():
			return nil, overdue(ctx)
		}
	}
}

// Transfer hands the leadership to another replica: appends wait, what is pending is answered, then Raft is asked. It
// returns nil when the target leads. When it fails this replica serves on at once.
func (p *Partition) Transfer(ctx context.Context, to protocol.BrokerID) error {
	if err := p.beginTransfer(); err != nil {
		return err
	}
	defer p.endTransfer()
	p.pause()
	defer p.Resume()
	ctx, cancel := context.WithTimeout(ctx, p.cfg.PendingTimeout+transferTimeout)
	defer cancel()
	t, err := p.quiesce(ctx, true)
	if err != nil {
		return err
	}
	if t == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.notLeader()
	}
	defer p.unhold(t)
	err = p.cfg.Node.Transfer(ctx, p.cfg.Shard, to, func(ctx context.Context) (uint64, error) {
		return p.barrier(ctx, t)
	})
	if err != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "transfer of partition %s to broker %d: %v", p.cfg.TP, to, err)
	}
	return p.awaitLeader(ctx, to)
}

// barrier proposes a command without operations, in a term that holds, and returns its index in the log.
func (p *Partition) barrier(ctx context.Context, t *term) (uint64, error) {
	p.mu.Lock()
	epoch := t.epoch
	p.mu.Unlock()
	proposal, err := p.cfg.Node.Propose(p.cfg.Shard, fsm.NewOps(epoch, p.cfg.Now().UnixMilli()).Bytes())
	if err != nil {
		return 0, err
	}
	r, ok := proposal.Wait(ctx.Done(), nil)
	if !ok {
		return 0, ctx.Err()
	}
	if r.Outcome != raftnode.Committed || r.Value != fsm.ValueOK {
		return 0, fmt.Errorf("proposal %s", r.Outcome)
	}
	return p.fsm.Applied(), nil // nothing else is proposed: the last entry is this one
}

// awaitLeader waits until Raft says that a broker leads.
func (p *Partition) awaitLeader(ctx context.Context, to protocol.BrokerID) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	for {
		p.mu.Lock()
		leader, changed, closed := p.lead.Leader, p.changed, p.closed
		p.mu.Unlock()
		switch {
		case leader == to:
			return nil
		case closed:
			return protocol.Errorf(protocol.CodeUnavailable, "partition %s was closed during a transfer", p.cfg.TP)
		case leader != 0 && leader != p.cfg.Self:
			return protocol.Errorf(protocol.CodeUnavailable, "the leadership of partition %s went to broker %d, not %d",
				p.cfg.TP, leader, to)
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
		case <-ctx.Done():
			return overdue(ctx)
		}
	}
}

func (p *Partition) beginTransfer() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.transferring {
		return protocol.Errorf(protocol.CodeOverloaded, "partition %s is being transferred already", p.cfg.TP)
	}
	p.transferring = true
	return nil
}

func (p *Partition) endTransfer() {
	p.mu.Lock()
	p.transferring = false
	p.mu.Unlock()
}

func (p *Partition) unhold(t *term) {
	p.mu.Lock()
	t.hold = false
	p.mu.Unlock()
	t.signal()
}
