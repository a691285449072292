package meta

import (
	"container/list"
	"sync"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// Leaders is the table of the newest known leader of every partition. It is fed by the local partitions and by the
// announcements of other brokers; entries are compared by epoch alone, so order and repetition of announcements do
// not matter.
//
// It holds at most one entry per partition and MaxTotalPartitions in all (partitions of topics that were deleted are
// dropped and refused). Subscribers share one list ordered by change, so observing costs the same however many there
// are, and a slow subscriber costs nothing: it finds each partition once, with its newest leader.
type Leaders struct {
	mu      sync.Mutex
	entries map[protocol.TopicPartition]*list.Element // of *leaderEntry; guarded by mu, as everything below
	order   list.List                                 // oldest change first
	seq     uint64                                    // of the newest change
	image   *Image                                    // newest seen by Retain
	wake    chan struct{}                             // closed at the next change
}

type leaderEntry struct {
	wire.Leader
	seq uint64
}

// NewLeaders returns an empty table.
func NewLeaders() *Leaders {
	return &Leaders{
		entries: make(map[protocol.TopicPartition]*list.Element),
		image:   newImage(),
		wake:    make(chan struct{}),
	}
}

// Observe records that leader serves tp under epoch. It reports whether that was news: the epoch is higher than the
// known one. It refuses partitions of deleted topics, and new partitions when the table is full.
func (l *Leaders) Observe(tp protocol.TopicPartition, leader protocol.BrokerID, epoch protocol.Epoch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.observe(wire.Leader{Topic: tp.Topic, Partition: tp.Partition, Leader: leader, Epoch: epoch}) {
		return false
	}
	l.broadcast()
	return true
}

// ObserveAll records many leaders and wakes subscribers once. It returns how many were news.
func (l *Leaders) ObserveAll(batch []wire.Leader) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	news := 0
	for _, w := range batch {
		if l.observe(w) {
			news++
		}
	}
	if news > 0 {
		l.broadcast()
	}
	return news
}

func (l *Leaders) observe(w wire.Leader) bool {
	tp := protocol.TopicPartition{Topic: w.Topic, Partition: w.Partition}
	el, known := l.entries[tp]
	if known && w.Epoch <= el.Value.(*leaderEntry).Epoch || w.Leader == 0 || w.Epoch == 0 {
		return false
	}
	if l.image.Deleted(w.Topic) || !known && len(l.entries) >= MaxTotalPartitions {
		return false
	}
	l.seq++
	if known {
		e := el.Value.(*leaderEntry)
		e.Leader, e.seq = w, l.seq
		l.order.MoveToBack(el)
		return true
	}
	l.entries[tp] = l.order.PushBack(&leaderEntry{Leader: w, seq: l.seq})
	return true
}

func (l *Leaders) broadcast() {
	close(l.wake)
	l.wake = make(chan struct{})
}

// Get returns the newest known leader of a partition.
func (l *Leaders) Get(tp protocol.TopicPartition) (wire.Leader, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	el, ok := l.entries[tp]
	if !ok {
		return wire.Leader{}, false
	}
	return el.Value.(*leaderEntry).Leader, true
}

// Leader returns the newest known leader of a partition, 0 if none.
func (l *Leaders) Leader(tp protocol.TopicPartition) (protocol.BrokerID, protocol.Epoch) {
	w, _ := l.Get(tp)
	return w.Leader, w.Epoch
}

// All returns every known leader, the one that changed longest ago first.
func (l *Leaders) All() []wire.Leader {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]wire.Leader, 0, len(l.entries))
	for el := l.order.Front(); el != nil; el = el.Next() {
		out = append(out, el.Value.(*leaderEntry).Leader)
	}
	return out
}

// Retain drops the partitions of topics that img says were deleted and refuses them from now on. An image older than
// the one already seen is ignored.
func (l *Leaders) Retain(img *Image) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if img.Version <= l.image.Version {
		return
	}
	unseen := img.NextTopic - l.image.NextTopic
	img.Changes(l.image, func(t *Topic) {
		if t.ID >= l.image.NextTopic {
			unseen--
		}
	}, func(t *Topic) {
		for i := range t.Partitions {
			l.drop(protocol.TopicPartition{Topic: t.ID, Partition: protocol.Partition(i)})
		}
	})
	l.image = img
	if unseen == 0 {
		return
	}
	// Some topics came and went between the two images; their leaders may have been announced meanwhile.
	for tp := range l.entries {
		if img.Deleted(tp.Topic) {
			l.drop(tp)
		}
	}
}

func (l *Leaders) drop(tp protocol.TopicPartition) {
	if el, ok := l.entries[tp]; ok {
		l.order.Remove(el)
		delete(l.entries, tp)
	}
}

// LeaderSub is one subscriber's place in the stream of leader changes. One goroutine uses it; it holds nothing that
// must be closed.
type LeaderSub struct {
	table *Leaders
	seq   uint64
}

// Follow returns a place that begins with everything known now.
func (l *Leaders) Follow() *LeaderSub { return &LeaderSub{table: l} }

// Ready returns a channel that is closed as soon as Take has something to return.
func (s *LeaderSub) Ready() <-chan struct{} {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	if s.seq == s.table.seq {
		return s.table.wake
	}
	ready := make(chan struct{})
	close(ready)
	return ready
}

// Take returns every leader that changed since the last Take, each partition once with its newest leader, oldest
// change first. It returns nil when there is none.
func (s *LeaderSub) Take() []wire.Leader {
	l := s.table
	l.mu.Lock()
	defer l.mu.Unlock()
	var first *list.Element
	n := 0
	for el := l.order.Back(); el != nil && el.Value.(*leaderEntry).seq > s.seq; el = el.Prev() {
		first = el
		n++
	}
	s.seq = l.seq
	if n == 0 {
		return nil
	}
	out := make([]wire.Leader, 0, n)
	for el := first; el != nil; el = el.Next() {
		out = append(out, el.Value.(*leaderEntry).Leader)
	}
	return out
}
