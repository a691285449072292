package verify

import (
	"fmt"
	"math/bits"
	"sync"
)

// account is what a Ledger knows of one producer.
type account struct {
	mu        sync.Mutex
	sent      uint64             // messages, guarded by mu like all below
	acked     bitmap             // by sequence number; acked and refused: answered, and left open
	refused   bitmap             //
	delivered []bitmap           // by subscription
	last      []map[int32]uint64 // by subscription: the highest number delivered from each partition
	missing   []int64            // by subscription: acknowledged and not delivered
	recent    recent
	refusals  int64
	tally     Tally // what is counted by producer
}

func newAccount(subscriptions int) *account {
	p := &account{
		delivered: make([]bitmap, subscriptions),
		last:      make([]map[int32]uint64, subscriptions),
		missing:   make([]int64, subscriptions),
	}
	for s := range p.last {
		p.last[s] = map[int32]uint64{}
	}
	return p
}

// firstMissing returns the first message that was acknowledged and not delivered to a subscription, which has one.
func (p *account) firstMissing(subscription int) uint64 {
	for i := uint64(0); ; i++ {
		if m := p.acked.word(i) &^ p.refused.word(i) &^ p.delivered[subscription].word(i); m != 0 {
			return i*64 + uint64(bits.TrailingZeros64(m))
		}
	}
}

// blockBits is how many bits a bitmap grows by.
const blockBits = 4096

// block is a piece of a set of numbers.
type block [blockBits / 64]uint64

// set adds a number and reports whether it is new.
func (b *block) set(i uint64) bool {
	w, bit := &b[i%blockBits/64], uint64(1)<<(i%64)
	isNew := *w&bit == 0
	*w |= bit
	return isNew
}

// bitmap is a set of dense numbers. Blocks are made when a number of theirs is added.
type bitmap struct{ blocks []*block }

// set adds a number and reports whether it is new.
func (m *bitmap) set(i uint64) bool {
	n := i / blockBits
	for uint64(len(m.blocks)) <= n {
		m.blocks = append(m.blocks, nil)
	}
	if m.blocks[n] == nil {
		m.blocks[n] = &block{}
	}
	return m.blocks[n].set(i)
}

func (m *bitmap) has(i uint64) bool { return m.word(i/64)>>(i%64)&1 == 1 }

// word returns the numbers from 64*i on as bits.
func (m *bitmap) word(i uint64) uint64 {
	const words = blockBits / 64
	if n := i / words; n < uint64(len(m.blocks)) && m.blocks[n] != nil {
		return m.blocks[n][i%words]
	}
	return 0
}

// place is where a message stands.
type place struct {
	partition int32
	offset    int64
}

// known reports whether the system said it.
func (p place) known() bool { return p.partition >= 0 && p.offset >= 0 }

func (p place) String() string {
	if !p.known() {
		return "an unknown place"
	}
	return fmt.Sprintf("partition %d offset %d", p.partition, p.offset)
}

// places are those that one subscription has got messages from.
type places struct {
	mu         sync.RWMutex
	partitions map[int32]*offsets // guarded by mu
}

// visit notes a place and reports whether it was noted before. An unknown one never was.
func (p *places) visit(at place) bool {
	if !at.known() {
		return false
	}
	p.mu.RLock()
	o := p.partitions[at.partition]
	p.mu.RUnlock()
	if o == nil {
		p.mu.Lock()
		if o = p.partitions[at.partition]; o == nil {
			o = &offsets{blocks: map[uint64]*block{}}
			p.partitions[at.partition] = o
		}
		p.mu.Unlock()
	}
	return !o.set(uint64(at.offset))
}

// offsets is a set of numbers in runs.
type offsets struct {
	mu     sync.Mutex
	blocks map[uint64]*block // guarded by mu
	number uint64            // guarded by mu; of the block used last
	latest *block            // guarded by mu; nil: none yet
}

// set adds a number and reports whether it is new.
func (o *offsets) set(i uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := i / blockBits; o.latest == nil || o.number != n {
		if o.blocks[n] == nil {
			o.blocks[n] = &block{}
		}
		o.number, o.latest = n, o.blocks[n]
	}
	return o.latest.set(i)
}

// recentPlaces is of how many messages of a producer the place is kept.
const recentPlaces = 1 << 14

// recent keeps one place of each of the latest messages, whoever named it first: the answer or a delivery.
type recent struct {
	slots []remembered // nil until a place is known
}

type remembered struct {
	place
	differs bool   // two places were named, and this is counted, but the second copy has not been delivered yet
	next    uint64 // sequence number plus one; 0: empty
}

// agree remembers the place of a message or compares it with the one remembered, which it returns. It is told of a difference
// only once.
func (r *recent) agree(seq uint64, at place) (place, bool) {
	if !at.known() {
		return at, true
	}
	if r.slots == nil {
		r.slots = make([]remembered, recentPlaces)
	}
	s := &r.slots[seq%recentPlaces]
	if s.next < seq+1 {
		*s = remembered{place: at, next: seq + 1}
		return at, true
	}
	if s.next > seq+1 || s.place == at || s.differs {
		return at, true
	}
	s.differs = true
	return s.place, false
}

// told reports whether a second place of a message was counted before a delivery from there, and forgets it.
func (r *recent) told(seq uint64) bool {
	if r.slots == nil {
		return false
	}
	s := &r.slots[seq%recentPlaces]
	told := s.next == seq+1 && s.differs
	s.differs = s.differs && !told
	return told
}
