package partition

import (
	"context"
	"errors"
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
	for {
		p.mu.Lock()
		t := p.term
		p.mu.Unlock()
		if t == nil {
			return nil
		}
		if over, err := p.quiesce(ctx, t, false); err != nil || !over {
			return err
		}
	}
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

// quiesce waits until nothing is pending in a term, or reports that it is over. With hold nothing is proposed in it
// from that moment on.
func (p *Partition) quiesce(ctx context.Context, t *term, hold bool) (over bool, err error) {
	for {
		p.mu.Lock()
		if t.stopped || t.pending == 0 {
			over, t.hold = t.stopped, hold
			p.mu.Unlock()
			return over, nil
		}
		if t.idle == nil {
			t.idle = make(chan struct{})
		}
		idle := t.idle
		p.mu.Unlock()
		select {
		case <-idle:
		case <-t.stop:
		case <-ctx.Done():
			return false, overdue(ctx)
		}
	}
}

// Transfer hands the leadership to another replica: once that has caught up, appends wait, what is pending is
// answered, and it is told to take over. Transfer returns nil when the target leads. When it fails this replica serves
// on at once. silent is how long appends may wait until the target is told, 0: as long as that takes.
func (p *Partition) Transfer(ctx context.Context, to protocol.BrokerID, silent time.Duration) error {
	t, err := p.beginTransfer()
	if err != nil {
		return err
	}
	defer p.endTransfer(t)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.PendingTimeout+transferTimeout)
	defer cancel()
	err = p.cfg.Node.Transfer(ctx, p.cfg.Shard, to, raftnode.Handover{
		Silent:  silent,
		Barrier: func(ctx context.Context) (uint64, error) { return p.barrier(ctx, t) },
		Silence: func(ctx context.Context) error {
			p.pause() // endTransfer resumes
			t.silent = true
			over, err := p.quiesce(ctx, t, true)
			if err == nil && over {
				err = errors.New("the leadership was lost")
			}
			return err
		},
	})
	if err != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "transfer of partition %s to broker %d: %v", p.cfg.TP, to, err)
	}
	return p.awaitLeader(ctx, t, to)
}

func (p *Partition) beginTransfer() (*term, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refusal(); err != nil {
		return nil, err
	}
	if p.term.epoch == 0 || p.transferring {
		return nil, protocol.Errorf(protocol.CodeOverloaded, "partition %s is changing its leader already", p.cfg.TP)
	}
	p.transferring = true
	return p.term, nil
}

func (p *Partition) endTransfer(t *term) {
	if t.silent {
		t.silent = false
		p.Resume()
	}
	p.mu.Lock()
	p.transferring = false
	t.hold = false
	p.mu.Unlock()
	t.signal()
}

// barrier proposes a command without operations and returns its index in the log, or a higher one that is applied. It
// bypasses the pipeline: without operations its place among other proposals does not matter.
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
	return p.fsm.Applied(), nil
}

// awaitLeader waits until Raft says that a broker leads.
func (p *Partition) awaitLeader(ctx context.Context, t *term, to protocol.BrokerID) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	for {
		p.mu.Lock()
		lead, changed, closed := p.lead, p.changed, p.closed
		p.mu.Unlock()
		switch {
		case lead.Leader == to:
			return nil
		case closed:
			return protocol.Errorf(protocol.CodeUnavailable, "partition %s was closed during a transfer", p.cfg.TP)
		case lead.Leader != 0 && lead.Term > t.number:
			return protocol.Errorf(protocol.CodeUnavailable, "the leadership of partition %s went to broker %d, not %d",
				p.cfg.TP, lead.Leader, to)
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
		case <-ctx.Done():
			return overdue(ctx)
		}
	}
}
