package partition

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// Partition is one replica of one partition: on its leader the append pipeline, on the others what reads need. Its
// methods may be called from any goroutine, also after Close.
type Partition struct {
	cfg     Config
	log     *slog.Logger
	fsm     *fsm.Machine
	metrics *Metrics
	started time.Time           // ages are counted from here
	space   *semaphore.Weighted // bytes of batches accepted and not yet answered
	upkeep  upkeep

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // term and upkeep goroutines

	mu sync.Mutex // guards the following
	// lead is the newest news of Raft; changed is closed, and made anew, with each.
	lead    raftnode.Leadership
	changed chan struct{}
	// term is the term in which the local replica leads, nil while it does not. Only it accepts operations. newest is
	// the same or, while there is none, the one before: the next one begins when it is over.
	term, newest *term
	closed       bool

	noQuorum bool
	diskLow  bool
	// quorumBack is closed when noQuorum ends.
	quorumBack chan struct{}
	// paused counts who wants appends to wait; resume is closed when it falls to 0.
	paused int
	resume chan struct{}
	// controls counts the operations other than appends accepted and not yet answered.
	controls int
	// transferring keeps transfers apart.
	transferring bool
}

// New returns a follower. Wire its Leadership to the node before the shard starts.
func New(cfg Config) (*Partition, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	p := &Partition{
		cfg:     cfg,
		log:     cfg.Log,
		fsm:     cfg.FSM,
		metrics: cfg.Metrics,
		started: time.Now(),
		space:   semaphore.NewWeighted(int64(cfg.MaxPendingBytes)),
		changed: make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.mu.Lock()
	p.upkeep.start(p)
	p.mu.Unlock()
	return p, nil
}

// Close ends leading: everything pending is answered. It waits until the callbacks have returned. It is idempotent.
func (p *Partition) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		p.endTerm()
		p.cancel()
		p.upkeep.stop()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// Leadership takes news from raftnode, in order. It does not block.
func (p *Partition) Leadership(l raftnode.Leadership) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || l.Term < p.lead.Term {
		return
	}
	p.lead = l
	close(p.changed)
	p.changed = make(chan struct{})
	if p.term != nil && l.Self && p.term.number == l.Term {
		return
	}
	// Events are coalesced: a higher term, even one of our own, means that leadership was lost in between and that
	// somebody else may have led. What was proposed in the old term is answered as such.
	p.endTerm()
	if l.Self {
		p.term = newTerm(l.Term, p.newest)
		p.newest = p.term
		p.wg.Add(1)
		go p.run(p.term)
	}
}

// endTerm ends the current term, if there is one. p.mu is held.
func (p *Partition) endTerm() {
	if t := p.term; t != nil {
		p.term = nil
		t.stopped = true
		close(t.stop)
		t.interrupt()
	}
}

// SetQuorum tells whether this broker hears a majority of the replicas. While it does not, everything pending is
// answered at once and new operations are refused with CodeNoQuorum; Raft may yet commit what was proposed.
func (p *Partition) SetQuorum(hears bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noQuorum != hears {
		return
	}
	p.noQuorum = !hears
	if hears {
		close(p.quorumBack)
		return
	}
	p.quorumBack = make(chan struct{})
	if p.term != nil {
		p.term.interrupt()
	}
}

// SetDiskReserve tells whether the disk is nearly full. While it is, appends are refused with CodeDiskReserve;
// everything else goes on.
func (p *Partition) SetDiskReserve(low bool) {
	p.mu.Lock()
	p.diskLow = low
	p.mu.Unlock()
}

// Leading returns the epoch in which this replica serves and a channel that is closed when it has lost the
// leadership. ok is false while it does not lead, or has not begun an epoch yet. The epoch grows, on the same channel,
// when a failed proposal made a new one necessary.
func (p *Partition) Leading() (epoch protocol.Epoch, lost <-chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.term == nil || p.term.epoch == 0 {
		return 0, nil, false
	}
	return p.term.epoch, p.term.stop, true
}

// Status is a momentary view of a replica.
type Status struct {
	Leading  bool              // leads and serves
	Claiming bool              // elected, the first epoch of the term is not begun yet
	Term     uint64            // of Raft
	Epoch    protocol.Epoch    // newest applied here
	Leader   protocol.BrokerID // as Raft believes here, 0: none known
	Pending  int               // operations accepted and not yet answered
	NoQuorum bool
	DiskLow  bool
}

// Status returns a momentary view of the replica.
func (p *Partition) Status() Status {
	epoch, _ := p.fsm.Leader()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{
		Term: p.lead.Term, Epoch: epoch, Leader: p.lead.Leader,
		NoQuorum: p.noQuorum, DiskLow: p.diskLow,
	}
	if t := p.term; t != nil {
		s.Leading, s.Claiming, s.Pending = t.epoch != 0, t.epoch == 0, t.pending
	}
	return s
}

// FSM returns the state machine, for reads.
func (p *Partition) FSM() *fsm.Machine { return p.fsm }

// TP names the partition.
func (p *Partition) TP() protocol.TopicPartition { return p.cfg.TP }

// Shard returns its Raft shard.
func (p *Partition) Shard() uint64 { return p.cfg.Shard }

// refusal returns why an operation of this moment is refused, nil if it is not. p.mu is held.
func (p *Partition) refusal() *protocol.Error {
	switch {
	case p.closed:
		return protocol.Errorf(protocol.CodeUnavailable, "partition %s of %s is closed on broker %d",
			p.cfg.TP, p.cfg.Topic, p.cfg.Self)
	case p.term == nil:
		return p.notLeader()
	case p.noQuorum:
		return protocol.Errorf(protocol.CodeNoQuorum, "broker %d does not hear a majority of the replicas of %s",
			p.cfg.Self, p.cfg.TP)
	}
	return nil
}

// notLeader points at the leader that Raft believes in, with its epoch if that was applied here. p.mu is held.
func (p *Partition) notLeader() *protocol.Error {
	e := protocol.Errorf(protocol.CodeNotLeader, "broker %d does not lead partition %s", p.cfg.Self, p.cfg.TP)
	if p.lead.Leader == p.cfg.Self {
		return e
	}
	e.Leader = p.lead.Leader
	if epoch, broker := p.fsm.Leader(); broker == e.Leader {
		e.Epoch = epoch
	}
	return e
}

// age returns the time since the partition was made, the clock of pending operations.
func (p *Partition) age() time.Duration { return time.Since(p.started) }
