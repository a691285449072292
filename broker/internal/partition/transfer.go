package partition

import (
	"context"
	"time"

	"github.com/trunkline/trunkline/protocol"
)

const (
	// transferTimeout bounds how long a transfer is waited for once it was asked for: Raft gives up after an election
	// timeout, 2 s.
	transferTimeout = 3 * time.Second
	// transferSettle is left to the target to apply the last entry, of whose commitment it hears last: a replica that
	// has not applied all it knows to be committed ignores a transfer, and the leader would refuse writes for 2 s.
	transferSettle = 20 * time.Millisecond
)

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
// returns nil when the target leads. When it fails this replica serves on, as soon as Raft lets it.
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
	settle := time.NewTimer(transferSettle)
	defer settle.Stop()
	select {
	case <-settle.C:
	case <-t.stop:
	case <-ctx.Done():
		return overdue(ctx)
	}
	if err := p.cfg.Node.Transfer(p.cfg.Shard, to); err != nil {
		return protocol.Errorf(protocol.CodeUnavailable, "transfer of partition %s to broker %d: %v", p.cfg.TP, to, err)
	}
	return p.awaitLeader(ctx, to)
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
