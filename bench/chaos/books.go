package chaos

import (
	"context"
	"sync"
	"time"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// commitEach is the time between two looks at what is committed.
const commitEach = 200 * time.Millisecond

// books are what one subscription knows of its acknowledgements. What was acknowledged and not committed may be delivered again
// when the consumer was told that it had lost the partition; what was committed never. Safe for concurrent use.
type books struct {
	mu        sync.Mutex
	acked     []protocol.Offset // by partition: next offset that is not acknowledged; guarded by mu like all below
	committed []protocol.Offset // by partition: below it everything is committed
	lost      int               // turns that ended without the consumer's will
}

func (b *books) init(partitions int) {
	b.acked, b.committed = make([]protocol.Offset, partitions), make([]protocol.Offset, partitions)
}

func (b *books) rebalanced(r client.Rebalance) {
	if r.Kind != client.Lost {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost++
	b.acked[r.Partition] = b.committed[r.Partition]
}

// acknowledged notes an acknowledgement. After a lost turn they come from an earlier offset on again.
func (b *books) acknowledged(m *client.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked[m.Partition] = m.Offset + 1
}

func (b *books) isCommitted(m *client.Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return m.Offset < b.committed[m.Partition]
}

func (b *books) lostTurns() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost
}

func (b *books) snapshot() ([]protocol.Offset, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]protocol.Offset(nil), b.acked...), b.lost
}

// commit learns again and again what is committed, until ctx ends. A turn is told to be lost a little after it is, so an answer
// counts only if none was lost until the next look.
func (b *books) commit(ctx context.Context, sub *client.Subscription) {
	for sleep(ctx, commitEach) == nil {
		acked, lost := b.snapshot()
		if sub.Commit(ctx) != nil || sleep(ctx, commitEach) != nil {
			continue // a lost turn, or the end
		}
		b.mu.Lock()
		if b.lost == lost {
			for p := range acked {
				b.committed[p] = max(b.committed[p], acked[p])
			}
		}
		b.mu.Unlock()
	}
}
