package chaos

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
)

// groupBooks judge one subscription by what its consumers report, in the order in which they did (package worker):
//
//	a turn begins at what is committed or behind it, and not behind what was delivered
//	nothing is delivered below what was committed, and nothing is passed over
//	no activation has two consumers
//	what is delivered again was delivered and not committed when the consumer before lost its turn
//
// Safe for concurrent use. Memory: a number for each turn.
type groupBooks struct {
	ledger *verify.Ledger
	broken func(format string, args ...any)

	mu         sync.Mutex
	partitions []*owned        // guarded by mu, like all below
	handovers  []time.Duration // from the end of a turn to the beginning of the next
	midBatch   int64           // turns that ended by a kill with messages delivered and not committed
}

// owned is one partition of a subscription. Guarded by groupBooks.mu.
type owned struct {
	owner      int            // client; 0: nobody
	idle       time.Time      // since when nobody delivers from it; zero: somebody does
	activation uint64         // the highest that was told
	owners     map[uint64]int // by activation
	names      map[uint64]string
	next       int64 // behind the last one that was delivered
	committed  int64
	cursor     int64 // as a leader says
	again      int64 // delivered again
	allowed    int64 // delivered and not committed, summed up over the turns that ended
}

func newGroupBooks(partitions int, ledger *verify.Ledger, broken func(string, ...any)) *groupBooks {
	b := &groupBooks{ledger: ledger, broken: broken}
	for range partitions {
		b.partitions = append(b.partitions, &owned{owners: map[uint64]int{}, names: map[uint64]string{}})
	}
	return b
}

// take notes a report of a consumer.
func (b *groupBooks) take(r worker.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.partitions[r.Partition]
	switch r.What {
	case worker.Assigned:
		b.assigned(p, r)
	case worker.Revoking:
		if p.owner == r.Client && p.idle.IsZero() {
			p.idle = time.Now()
		}
	case worker.Released, worker.Lost:
		if p.owner == r.Client {
			p.orphan()
		}
	case worker.Got:
		b.got(p, r)
	case worker.Committed:
		if r.Offset > p.next {
			b.broken("partition %d: committed up to %d, but only delivered up to %d", r.Partition, r.Offset, p.next)
		}
		p.committed = max(p.committed, r.Offset)
	case worker.Gone:
		for _, p := range b.partitions {
			if p.owner == r.Client {
				if r.Text != "" && p.next > p.committed {
					b.midBatch++
				}
				p.orphan()
			}
		}
	}
}

func (p *owned) orphan() {
	p.owner = 0
	if p.idle.IsZero() {
		p.idle = time.Now()
	}
}

// assigned begins a turn. b.mu is held.
func (b *groupBooks) assigned(p *owned, r worker.Report) {
	if other, known := p.owners[r.Activation]; known && other != r.Client {
		b.broken("partition %d: clients %d and %d were both told of activation %d", r.Partition, other, r.Client, r.Activation)
	}
	p.owners[r.Activation] = r.Client
	if r.Activation < p.activation {
		return // told late: somebody has it already
	}
	if r.Offset < p.committed || r.Offset > p.next {
		b.broken("partition %d activation %d: begins at %d, committed was up to %d and delivered up to %d",
			r.Partition, r.Activation, r.Offset, p.committed, p.next)
	}
	p.allowed += p.next - p.committed
	if !p.idle.IsZero() && p.activation > 0 {
		b.handovers = append(b.handovers, time.Since(p.idle))
	}
	p.owner, p.activation, p.idle = r.Client, r.Activation, time.Time{}
}

// got takes a message. b.mu is held.
func (b *groupBooks) got(p *owned, r worker.Report) {
	if r.Text != "" {
		b.broken("partition %d offset %d: %s", r.Partition, r.Offset, r.Text)
		return
	}
	switch {
	case r.Offset > p.next:
		b.broken("partition %d: offset %d was delivered, %d was due", r.Partition, r.Offset, p.next)
	case r.Offset < p.committed:
		b.broken("partition %d: offset %d was delivered after acknowledgements up to %d were committed", r.Partition, r.Offset, p.committed)
	case r.Offset < p.next:
		if p.again++; p.again > p.allowed {
			b.broken("partition %d: %d messages were delivered again, %d were delivered and not committed", r.Partition, p.again, p.allowed)
		}
	}
	p.next = max(p.next, r.Offset+1)
	b.ledger.Delivered(0, verify.Arrival{Producer: r.Lane, Seq: r.Seq, Partition: r.Partition, Offset: r.Offset})
}

// known returns what is committed now, by partition.
func (b *groupBooks) known() []int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []int64
	for _, p := range b.partitions {
		out = append(out, p.committed)
	}
	return out
}

// cursors compares what the leaders say with what was known before they were asked.
func (b *groupBooks) cursors(states []client.SubscriptionState, known []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range states {
		p, cursor := b.partitions[s.Partition], int64(s.Cursor)
		if cursor < p.cursor || cursor < known[s.Partition] {
			b.broken("partition %d: its leader says that %d is committed, it was %d before and consumers were told %d",
				s.Partition, cursor, p.cursor, known[s.Partition])
		}
		p.cursor = max(p.cursor, cursor)
		if name := p.names[uint64(s.Activation)]; s.Active != "" {
			if name != "" && name != s.Active {
				b.broken("partition %d: activation %d is of %s, and of %s", s.Partition, s.Activation, name, s.Active)
			}
			p.names[uint64(s.Activation)] = s.Active
		}
	}
}

// orphaned returns an error if a partition has no consumer.
func (b *groupBooks) orphaned() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, p := range b.partitions {
		if p.owner == 0 {
			return fmt.Errorf("partition %d has no consumer", i)
		}
	}
	return nil
}

// longest returns the longest time without a consumer, also of a partition that has none yet.
func (b *groupBooks) longest() (worst time.Duration, handovers int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.partitions {
		if p.owner == 0 && p.activation > 0 {
			worst = max(worst, time.Since(p.idle))
		}
	}
	if len(b.handovers) > 0 {
		worst = max(worst, slices.Max(b.handovers))
	}
	return worst, len(b.handovers)
}

func (b *groupBooks) killedMidBatch() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.midBatch
}
