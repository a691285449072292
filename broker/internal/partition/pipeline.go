package partition

import (
	"sync"
	"time"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// maxProposalOps bounds the operations of one proposal, and so its result.
const maxProposalOps = 4096

// builders are shared by all partitions, so that an idle one holds no memory for commands. One is in use per partition
// that is proposing at the moment.
var builders = sync.Pool{New: func() any { return fsm.NewOps(0, 0) }}

// opLists are the []op of proposals.
var opLists = sync.Pool{New: func() any { return new([]op) }}

// flight is the pipeline of one epoch. The proposer (the term's goroutine) fills it, the reaper empties it in order.
type flight struct {
	t     *term
	epoch protocol.Epoch
	halt  <-chan struct{} // the epoch is over: leadership or the majority was lost

	// slots has a token per proposal outstanding. The proposer takes one before it takes operations from the queue: what
	// arrives while all are taken is merged.
	slots chan struct{}
	// proposals are outstanding, in order. It never blocks: it has room for as many as there are slots.
	proposals chan sent
	failed    chan struct{} // closed by the reaper at the first proposal that did not do what it should

	left []op // of the proposals from the first failed one on; the reaper's, then the proposer's
}

// sent is one proposal outstanding.
type sent struct {
	proposal *raftnode.Proposal
	ops      *[]op // operation i has result i
	at       time.Time
}

// serve proposes what is queued until the epoch ends. What was proposed and not answered by then is in the queue
// again, in its order and before everything else.
func (p *Partition) serve(t *term, epoch protocol.Epoch, halt <-chan struct{}) {
	f := &flight{
		t: t, epoch: epoch, halt: halt,
		slots:     make(chan struct{}, p.cfg.MaxProposals),
		proposals: make(chan sent, p.cfg.MaxProposals),
		failed:    make(chan struct{}),
	}
	reaped := make(chan struct{})
	go func() {
		defer close(reaped)
		p.reap(f)
	}()
	p.propose(f)
	close(f.proposals)
	<-reaped
	p.requeue(t, f.left)
}

// propose merges what is queued into proposals until the epoch ends.
func (p *Partition) propose(f *flight) {
	for {
		select {
		case f.slots <- struct{}{}:
		case <-f.halt:
			return
		case <-f.failed:
			return
		}
		ops := p.next(f)
		if ops == nil {
			return
		}
		failpoint.Hit("beforePropose")
		proposal, ok := p.offer(f, *ops)
		if !ok {
			p.requeue(f.t, *ops)
			putOps(ops)
			return
		}
		failpoint.Hit("afterProposeBeforeCommit")
		for i := range *ops {
			o := &(*ops)[i]
			o.proposed, o.repeated = true, o.proposed
		}
		f.proposals <- sent{proposal: proposal, ops: ops, at: time.Now()}
	}
}

// next waits for operations and takes as many as fit into one proposal, at least one. It returns nil when the epoch
// ends.
func (p *Partition) next(f *flight) *[]op {
	for {
		if ops := p.takeOps(f.t); ops != nil {
			return ops
		}
		select {
		case <-f.t.wake:
		case <-f.halt:
			return nil
		case <-f.failed:
			return nil
		}
	}
}

func (p *Partition) takeOps(t *term) *[]op {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.hold || t.stopped || t.queue.len() == 0 {
		return nil
	}
	ops := opLists.Get().(*[]op)
	size := fsm.CommandHeaderSize
	for t.queue.len() > 0 && len(*ops) < maxProposalOps {
		size += t.queue.front().size()
		if len(*ops) > 0 && size > p.cfg.MaxProposalBytes {
			break
		}
		*ops = append(*ops, t.queue.pop())
	}
	return ops
}

func putOps(ops *[]op) {
	clear(*ops)
	if cap(*ops) <= maxProposalOps {
		*ops = (*ops)[:0]
		opLists.Put(ops)
	}
}

// offer proposes operations. While Raft refuses, which means that they are certainly not in the log, it offers the
// same again before anything else: that keeps the order. It reports false when the epoch ended meanwhile, or when it
// is time to tell somebody.
func (p *Partition) offer(f *flight, ops []op) (*raftnode.Proposal, bool) {
	b := builders.Get().(*fsm.Builder)
	b.Reset(f.epoch, p.cfg.Now().UnixMilli())
	for i := range ops {
		ops[i].build(b)
	}
	defer func() {
		if b.Size() <= 2*p.cfg.MaxProposalBytes { // not one that a giant batch has grown
			builders.Put(b)
		}
	}()
	for wait := retryMin; ; wait = min(2*wait, retryMax) {
		proposal, err := p.cfg.Node.Propose(p.cfg.Shard, b.Bytes())
		if err == nil {
			p.metrics.proposed(len(ops), b.Size())
			return proposal, true
		}
		p.metrics.refused.Inc()
		p.log.Debug("proposal not accepted", "epoch", f.epoch, "err", err)
		p.sleep(wait, f.halt)
		select {
		case <-f.halt:
			return nil, false
		case <-f.failed:
			return nil, false
		default:
		}
		if p.age()-ops[0].since > p.cfg.PendingTimeout {
			return nil, false
		}
	}
}

// reap answers the operations of completed proposals, in order. At the first one that failed, or when the epoch is
// halted, it answers nothing more: an operation behind a failed one may have been refused only because of the gap.
func (p *Partition) reap(f *flight) {
	expire := time.NewTimer(p.cfg.ProposalTimeout)
	defer expire.Stop()
	broken := false
	var bug planted
	for s := range f.proposals {
		if !broken && bug.acks(p, f, s) {
			continue
		}
		if !broken {
			expire.Reset(p.cfg.ProposalTimeout - time.Since(s.at))
			r, ok := s.proposal.Wait(f.halt, expire.C)
			if p.judge(f, s, r, ok) {
				p.reply(f, s, r)
				putOps(s.ops)
				<-f.slots
				continue
			}
			broken = true
			close(f.failed)
		}
		f.left = append(f.left, *s.ops...)
		putOps(s.ops)
	}
}

// judge reports whether a proposal was applied in its epoch.
func (p *Partition) judge(f *flight, s sent, r raftnode.Result, ended bool) bool {
	if ended && r.Outcome == raftnode.Committed && r.Value != fsm.ValueFenced {
		p.metrics.commitTime.Observe(time.Since(s.at).Seconds())
		return true
	}
	select {
	case <-f.halt: // known already
		return false
	default:
	}
	p.metrics.failed.Inc()
	epoch, broker := fsm.ParseFenced(r.Data)
	p.log.Info("proposal failed, beginning a new epoch", "epoch", f.epoch, "ended", ended, "outcome", r.Outcome,
		"current", epoch, "leader", broker, "after", time.Since(s.at))
	return false
}

func (p *Partition) reply(f *flight, s sent, r raftnode.Result) {
	ops := *s.ops
	p.releaseAll(f.t, ops)
	if r.Value != fsm.ValueOK {
		p.log.Error("the state machine does not understand a command", "epoch", f.epoch, "value", r.Value)
		r.Data = nil // every operation is answered as CodeInternal
	}
	for i := range ops {
		ops[i].answer(fsm.ParseResult(r.Data, i), f.epoch, nil)
	}
}

// requeue puts operations back in front of the queue.
func (p *Partition) requeue(t *term, ops []op) {
	if len(ops) == 0 {
		return
	}
	p.metrics.requeued.Add(float64(len(ops)))
	p.mu.Lock()
	t.queue.unpop(ops)
	p.mu.Unlock()
}
