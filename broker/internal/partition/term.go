package partition

import (
	"math/rand/v2"
	"time"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// Waits between claims that failed, and between offers of a proposal that Raft refused: doubled from Min to Max.
const (
	retryMin = time.Millisecond
	retryMax = 200 * time.Millisecond
)

// term is one term in which the local replica leads. Its goroutine, run, is the only one that proposes in it, and the
// only one that answers its operations (with the reaper in its place while run serves).
type term struct {
	number uint64
	last   *term         // the one before on this replica, until it is over; owned by run
	stop   chan struct{} // closed when leadership is lost
	begun  chan struct{} // closed when the first epoch has begun
	done   chan struct{} // closed when everything is answered
	wake   chan struct{} // has a token after the queue or hold changed

	silent bool // appends were paused for a transfer; owned by that

	// guarded by Partition.mu
	stopped bool
	epoch   protocol.Epoch // newest begun, 0 before the first
	queue   queue          // accepted, not proposed or to be proposed again
	pending int            // accepted, not answered: in queue or in a proposal
	idle    chan struct{}  // not nil: somebody waits for pending 0; closed then
	hold    bool           // propose nothing new
	halt    chan struct{}  // ends the current claim or serve; nil between them
}

func newTerm(number uint64, last *term) *term {
	return &term{
		number: number,
		last:   last,
		stop:   make(chan struct{}),
		begun:  make(chan struct{}),
		done:   make(chan struct{}),
		wake:   make(chan struct{}, 1),
	}
}

func (t *term) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// interrupt ends the claim or serve under way. Partition.mu is held.
func (t *term) interrupt() {
	if t.halt != nil {
		close(t.halt)
		t.halt = nil
	}
}

// run is the life of a term: claim an epoch, serve in it until something fails, claim the next.
func (p *Partition) run(t *term) {
	defer p.wg.Done()
	defer close(t.done)
	if t.last != nil { // its operations are answered first, and its OnFollowing comes before our OnLeading
		<-t.last.done
		t.last = nil
	}
	defer p.finish(t)
	wait := retryMin
	for attempt := uint64(1); ; attempt++ {
		halt, ok := p.arm(t)
		if !ok {
			return
		}
		if epoch, ok := p.claim(t, attempt, halt); !ok {
			p.sleep(wait, halt)
			wait = min(2*wait, retryMax)
		} else if p.begin(t, epoch) {
			wait = retryMin
			p.serve(t, epoch, halt)
		}
		p.expire(t)
	}
}

// arm returns the channel that interrupts the claim and serve to come. While the majority is not heard it answers
// what is pending and waits. It reports false when the term is over.
func (p *Partition) arm(t *term) (<-chan struct{}, bool) {
	for {
		p.mu.Lock()
		if t.stopped {
			p.mu.Unlock()
			return nil, false
		}
		if !p.noQuorum {
			t.halt = make(chan struct{})
			halt := t.halt
			p.mu.Unlock()
			return halt, true
		}
		why, back := p.refusal(), p.quorumBack
		p.mu.Unlock()
		p.fail(t, why)
		select {
		case <-back:
		case <-t.stop:
		}
	}
}

// claim proposes the beginning of an epoch and waits until it is applied here. From then on whatever earlier leaders,
// and earlier epochs of this term, proposed is applied already or never will be.
func (p *Partition) claim(t *term, attempt uint64, halt <-chan struct{}) (protocol.Epoch, bool) {
	begun := time.Now()
	p.metrics.claims.Inc()
	cmd := fsm.EpochBegin(t.number, p.cfg.Self, attempt, p.cfg.Now().UnixMilli())
	proposal, err := p.cfg.Node.Propose(p.cfg.Shard, cmd)
	if err != nil {
		p.log.Debug("claim not accepted", "term", t.number, "attempt", attempt, "err", err)
		return 0, false
	}
	expire := time.NewTimer(p.cfg.ProposalTimeout)
	defer expire.Stop()
	r, ok := proposal.Wait(halt, expire.C)
	if !ok || r.Outcome != raftnode.Committed {
		p.log.Debug("claim did not commit", "term", t.number, "attempt", attempt, "outcome", r.Outcome)
		return 0, false
	}
	if r.Value != fsm.ValueOK {
		epoch, broker := fsm.ParseFenced(r.Data)
		p.log.Info("claim refused", "term", t.number, "attempt", attempt, "epoch", epoch, "leader", broker)
		return 0, false
	}
	p.metrics.claimTime.Observe(time.Since(begun).Seconds())
	return fsm.ParseEpoch(r.Data), true
}

// begin makes the epoch known. It reports false when the term is over.
func (p *Partition) begin(t *term, epoch protocol.Epoch) bool {
	p.mu.Lock()
	if t.stopped {
		p.mu.Unlock()
		return false
	}
	first := t.epoch == 0
	t.epoch = epoch
	if first {
		close(t.begun)
	}
	p.mu.Unlock()
	p.log.Info("leading", "term", t.number, "epoch", epoch)
	p.metrics.leading(first)
	p.cfg.OnLeading(epoch)
	return true
}

// finish answers what the term left and tells that leading ended.
func (p *Partition) finish(t *term) {
	p.mu.Lock()
	why := p.refusal()
	if why == nil { // the next term is here already: who led in between is not known
		why = protocol.Errorf(protocol.CodeNotLeader, "the leadership of partition %s changed", p.cfg.TP)
	}
	epoch := t.epoch
	p.mu.Unlock()
	n := p.fail(t, why)
	if epoch != 0 {
		p.log.Info("leading ended", "term", t.number, "epoch", epoch, "pending", n)
		p.metrics.following()
		p.cfg.OnFollowing()
	}
}

// expire answers everything pending once the oldest operation has waited for too long. It is called after a failure:
// what waits while proposals complete is only slow.
func (p *Partition) expire(t *term) {
	p.mu.Lock()
	overdue := t.queue.len() > 0 && p.age()-t.queue.front().since > p.cfg.PendingTimeout
	p.mu.Unlock()
	if overdue {
		p.fail(t, protocol.Errorf(protocol.CodeUnavailable, "partition %s made no progress for %v", p.cfg.TP,
			p.cfg.PendingTimeout))
	}
}

// fail answers all operations in the queue, in order: why to those that were never proposed, to the others that their
// outcome is unknown. It returns how many there were. No proposal of the term is being waited for.
func (p *Partition) fail(t *term, why *protocol.Error) int {
	unknown := protocol.Errorf(protocol.CodeOutcomeUnknown, "%s; the operation was on its way", why.Error())
	unknown.Leader, unknown.Epoch = why.Leader, why.Epoch
	n := 0
	for {
		p.mu.Lock()
		if t.queue.len() == 0 {
			p.mu.Unlock()
			return n
		}
		o := t.queue.pop()
		p.mu.Unlock()
		err := why
		if o.proposed {
			err = unknown
			p.metrics.unknown.Inc()
		}
		p.release(t, o)
		o.answer(fsm.OpResult{}, t.epoch, err)
		n++
	}
}

// release gives back what one operation held, just before it is answered.
func (p *Partition) release(t *term, o op) {
	p.releaseAll(t, []op{o})
}

// releaseAll is release for the operations of one proposal.
func (p *Partition) releaseAll(t *term, ops []op) {
	weight, controls := int64(0), 0
	for i := range ops {
		weight += ops[i].weight
		if ops[i].kind != opAppend {
			controls++
		}
	}
	p.mu.Lock()
	p.controls -= controls
	t.pending -= len(ops)
	if t.pending == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
	p.mu.Unlock()
	p.metrics.pending.Sub(float64(len(ops)))
	if weight > 0 {
		p.space.Release(weight)
	}
}

// sleep waits about d, less if halt closes.
func (p *Partition) sleep(d time.Duration, halt <-chan struct{}) {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-halt:
	}
}
