package chaos

import (
	"fmt"
	"maps"
	"sync"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/protocol"
)

// namedBooks judge a named producer by what its processes report, in the order in which they did:
//
//	a successor goes on behind everything that was acknowledged, and not behind what was sent
//	each start raises the epoch by one at most
//	what a process sends after its successor has taken over is refused as fenced; nothing else is ever refused
//
// The ledger gets what the messages have become: the name is one producer for each partition, whoever speaks for it.
// Safe for concurrent use. Memory: a number for each message without an answer.
type namedBooks struct {
	ledger *verify.Ledger
	broken func(format string, args ...any)

	mu      sync.Mutex
	clients map[int]chan struct{} // guarded by mu, like all below; closed when the client has taken over
	begun   int64                 // starts since the last take-over
	current int                   // the client that has the name; 0: none yet
	id      identity
	lanes   []*namedLane
	tallies map[string]int64
}

// identity is what a producer's records carry.
type identity struct {
	producer protocol.ProducerID
	epoch    protocol.ProducerEpoch
}

// namedLane is one partition. Guarded by namedBooks.mu.
type namedLane struct {
	sent  uint64          // behind the last message that any process has sent
	acked uint64          // behind the last one that is acknowledged
	open  map[uint64]bool // sent by the current process and not answered; true: answered as fenced, and not in the log
	taken uint64          // where the current process began
	again uint64          // behind the last one that the current process has sent
}

func newNamedBooks(partitions int, ledger *verify.Ledger, broken func(string, ...any)) *namedBooks {
	b := &namedBooks{ledger: ledger, broken: broken, clients: map[int]chan struct{}{}, tallies: map[string]int64{}}
	for range partitions {
		b.lanes = append(b.lanes, &namedLane{open: map[uint64]bool{}})
	}
	return b
}

// start notes that a process is started, whose number do returns, before it can report. The channel is closed when it has taken over.
func (b *namedBooks) start(do func() (int, error)) (<-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	client, err := do()
	if err != nil {
		return nil, err
	}
	b.begun++
	opened := make(chan struct{})
	b.clients[client] = opened
	return opened, nil
}

// started reports whether a client is one of the name's processes.
func (b *namedBooks) started(client int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clients[client] != nil
}

func (b *namedBooks) identity() identity {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.id
}

func (b *namedBooks) counts() map[string]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.tallies)
}

// take notes a report of one of the processes.
func (b *namedBooks) take(r worker.Report) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case r.What == worker.Opened:
		b.opened(r)
	case r.Client != b.current:
		b.zombie(b.lanes[r.Partition], r)
	default:
		b.said(b.lanes[r.Partition], r)
	}
}

// opened begins the turn of a process. b.mu is held.
func (b *namedBooks) opened(r worker.Report) {
	if b.current != 0 {
		if r.Producer != b.id.producer || r.Epoch <= b.id.epoch || int64(r.Epoch-b.id.epoch) > b.begun {
			b.broken("client %d took over as producer %v epoch %d after %v epoch %d and %d starts", r.Client, r.Producer, r.Epoch,
				b.id.producer, b.id.epoch, b.begun)
		}
	}
	b.begun, b.current, b.id = 0, r.Client, identity{r.Producer, r.Epoch}
	for p, l := range b.lanes {
		next := r.Next[p]
		if next < l.acked || next > l.sent {
			b.broken("client %d goes on at message %d of partition %d: acknowledged were those below %d, sent those below %d",
				r.Client, next, p, l.acked, l.sent)
		}
		for seq, refused := range l.open {
			if seq < next { // nobody was told, but the partition says that it has it
				if refused {
					b.broken("client %d goes on at message %d of partition %d: message %d was answered as not appended", r.Client, next, p, seq)
				}
				b.ledger.Answered(uint32(p), seq, verify.Acked, -1, -1)
				b.tallies["resumed"]++
			}
		}
		l.open, l.taken, l.again = map[uint64]bool{}, next, next
	}
	close(b.clients[r.Client])
}

// owing returns an error while the process that has the name has not sent again what those before it sent in vain, or a successor is just
// taking over: the one before it may have been killed.
func (b *namedBooks) owing() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.begun > 0 {
		return fmt.Errorf("a successor of client %d has not taken over yet", b.current)
	}
	for p, l := range b.lanes {
		if l.again < l.sent {
			return fmt.Errorf("client %d has sent the messages of partition %d below %d, of %d", b.current, p, l.again, l.sent)
		}
	}
	return nil
}

// said notes what the process that has the name reports. b.mu is held.
func (b *namedBooks) said(l *namedLane, r worker.Report) {
	if r.What == worker.Sent {
		b.ledger.Sent(uint32(r.Partition), r.Seq)
		l.sent, l.again = max(l.sent, r.Seq+1), max(l.again, r.Seq+1)
		l.open[r.Seq] = false
		return
	}
	if r.Fenced && b.begun > 0 { // its successor is just taking over, and says where it goes on
		b.tallies["zombie_fenced"]++
		l.open[r.Seq] = r.What == worker.Refused
		return
	}
	if r.What == worker.Acked {
		l.acked = max(l.acked, r.Seq+1)
	} else {
		b.broken("client %d partition %d message %d: %s: %s", r.Client, r.Partition, r.Seq, r.What, r.Text)
	}
	delete(l.open, r.Seq)
	b.ledger.Answered(uint32(r.Partition), r.Seq, outcomes[r.What], r.Partition, r.Offset)
}

// zombie notes what a process reports that has lost the name. b.mu is held.
func (b *namedBooks) zombie(l *namedLane, r worker.Report) {
	switch {
	case r.What == worker.Sent:
		b.tallies["zombie_sent"]++
	case r.Fenced && (r.What == worker.Unknown || r.Seq >= l.taken):
		b.tallies["zombie_fenced"]++
	case r.What == worker.Acked && r.Seq < l.taken:
		b.tallies["late_acks"]++ // of before the take-over: the successor knew of it
	default:
		b.broken("client %d has lost the name to client %d, and message %d of partition %d, where that one began at %d, is %s: %s",
			r.Client, b.current, r.Seq, r.Partition, l.taken, r.What, r.Text)
	}
}
