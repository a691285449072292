package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// commitEach is the time between two looks at what is committed.
const commitEach = 200 * time.Millisecond

// books are what one subscription knows of its turns and acknowledgements. What was acknowledged and not committed may be delivered
// again when the consumer was told that it had lost the partition; what was committed never, which is up to turns. Safe for
// concurrent use.
type books struct {
	name  string
	turns *verify.Turns

	mu        sync.Mutex
	acked     []protocol.Offset     // by partition: next offset that is not acknowledged; guarded by mu like all below
	turn      []protocol.Activation // by partition: as it was assigned; 0: it is not
	committed []protocol.Offset     // by partition: below it everything is committed
	lost      int                   // turns that ended without the consumer's will
}

func newBooks(name string, partitions int) *books {
	return &books{
		name: name, turns: verify.NewTurns(partitions), acked: make([]protocol.Offset, partitions),
		turn: make([]protocol.Activation, partitions), committed: make([]protocol.Offset, partitions),
	}
}

func (b *books) rebalanced(r client.Rebalance) {
	switch r.Kind {
	case client.Assigned:
		b.turns.Began(int32(r.Partition), uint64(r.Activation), int64(r.From))
		b.mu.Lock()
		defer b.mu.Unlock()
		b.turn[r.Partition] = r.Activation
	case client.Lost:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.lost++
		b.acked[r.Partition], b.turn[r.Partition] = b.committed[r.Partition], 0
	}
}

// delivered judges a message, before it is acknowledged. Of a turn that was lost meanwhile it is judged too.
func (b *books) delivered(m *client.Message) {
	b.turns.Delivered(int32(m.Partition), uint64(m.Activation()), int64(m.Offset))
}

// acknowledged notes an acknowledgement. After a lost turn they come from an earlier offset on again; those of the lost turn itself,
// whose messages were handed out before, are ignored by the client.
func (b *books) acknowledged(m *client.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.Activation() == b.turn[m.Partition] {
		b.acked[m.Partition] = m.Offset + 1
	}
}

func (b *books) lostTurns() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

func (b *books) snapshot() (acked []protocol.Offset, turn []protocol.Activation, lost int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append(acked, b.acked...), append(turn, b.turn...), b.lost
}

// commit learns again and again what is committed, until ctx ends. A turn is told to be lost a little after it is, so an answer
// counts only if none was lost until the next look.
func (b *books) commit(ctx context.Context, sub *client.Subscription, p *positions, worker int) {
	for sleep(ctx, commitEach) == nil {
		asked := time.Now()
		acked, turn, lost := b.snapshot()
		err := sub.Commit(ctx)
		answered := time.Now()
		if err != nil || sleep(ctx, commitEach) != nil {
			continue // a lost turn, or the end
		}
		for part, next := range b.confirmed(acked, lost) {
			b.turns.Committed(int32(part), uint64(turn[part]), int64(next))
			p.committed(worker, b.name, int32(part), int64(next), asked, answered)
		}
	}
}

// confirmed takes over what is committed unless a turn was lost meanwhile, and returns what is new of it, by partition.
func (b *books) confirmed(acked []protocol.Offset, lost int) map[int]protocol.Offset {
	news := map[int]protocol.Offset{}
	b.mu.Lock()
	defer b.mu.Unlock()
	for part, next := range acked {
		if b.lost == lost && next > b.committed[part] {
			b.committed[part], news[part] = next, next
		}
	}
	return news
}
