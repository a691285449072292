package verify

import (
	"fmt"
	"sync"
)

// Ledger checks one run while it goes on, in the order of events as they come. It is told of every publish, answer and delivery:
//
//	Sent ──► Answered
//	    └──► Delivered ...      before or after the answer, on every subscription
//
// What a message delivered again means is decided by its place. A place (subscription, partition, offset) that delivered before
// delivers again: redelivered. Another place, and it is stored twice: duplicated. Where a system has no places its own mark
// decides: marked is redelivered, unmarked duplicated.
//
// An acknowledgement that names another place than the one that delivered means the same as two places: duplicated, once. Only
// the last recentPlaces messages of a producer are compared so. A place that delivered one message and later another has lost the
// first: lost.
//
// Memory: two bits a message, and two bits a message and subscription (delivered, and its place); 24 bytes for each of the last
// recentPlaces messages of a producer. Sequence numbers are dense; offsets need not be, but each run of 4096 offsets with a message
// in it takes 512 bytes.
//
// All methods may be called from any goroutine. Events of different producers do not wait for each other, unless they are
// deliveries from one partition at the very same moment.
type Ledger struct {
	producers     []*account
	subscriptions []*places

	mu       sync.Mutex
	foreign  int64    // guarded by mu
	examples []string // guarded by mu
}

// Arrival is one message as a subscription got it.
type Arrival struct {
	Producer    uint32
	Seq         uint64
	Partition   int32 // unique over all topics of the run; -1: not known
	Offset      int64 // -1: not known
	Redelivered bool  // the system says that it may have been delivered before
}

// Tally is what became of all messages so far. Its terms are those of results.Checked.
type Tally struct {
	Sent        int64
	Acked       int64
	Delivered   int64 // sent messages, each once for every subscription that got it
	Lost        int64 // acknowledged and not delivered (yet), over all subscriptions, or overwritten after delivery
	Duplicated  int64
	Redelivered int64
	Reordered   int64 // delivered for the first time after a later one of the same producer and partition
	Phantom     int64
	Unanswered  int64 // neither acknowledged nor refused: no answer, or one that leaves it open
	Examples    []string
}

// NewLedger returns an empty ledger for producers and subscriptions that are numbered from 0.
func NewLedger(producers, subscriptions int) *Ledger {
	l := &Ledger{producers: make([]*account, producers), subscriptions: make([]*places, subscriptions)}
	for i := range l.producers {
		l.producers[i] = newAccount(subscriptions)
	}
	for i := range l.subscriptions {
		l.subscriptions[i] = &places{partitions: map[int32]*offsets{}}
	}
	return l
}

// Sent notes that a message is about to be sent, before anybody can deliver or answer it. Numbers are dense from 0 per producer.
func (l *Ledger) Sent(producer uint32, seq uint64) {
	p := l.producers[producer]
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = max(p.sent, seq+1)
}

// Answered notes what the sender was told, once a message; a second answer is a phantom. partition and offset are -1 if the answer
// does not tell them.
func (l *Ledger) Answered(producer uint32, seq uint64, o Outcome, partition int32, offset int64) {
	p := l.producers[producer]
	p.mu.Lock()
	defer p.mu.Unlock()
	if seq >= p.sent || p.acked.has(seq) || p.refused.has(seq) {
		l.note(&p.tally.Phantom, "producer %d message %d: answered, but not sent or answered before", producer, seq)
		return
	}
	switch o {
	case Acked:
		p.acked.set(seq)
		p.tally.Acked++
		for s := range p.delivered {
			if !p.delivered[s].has(seq) {
				p.missing[s]++
			}
		}
		if was, same := p.recent.agree(seq, place{partition, offset}); !same {
			l.note(&p.tally.Duplicated, "producer %d message %d: acknowledged at partition %d offset %d, delivered from %v",
				producer, seq, partition, offset, was)
		}
	case NotAppended:
		p.refused.set(seq)
		p.refusals++
		for s := range p.delivered {
			if p.delivered[s].has(seq) {
				l.note(&p.tally.Phantom, "producer %d message %d: answered as not appended after subscription %d got it", producer, seq, s)
			}
		}
	case Unknown:
		p.acked.set(seq)
		p.refused.set(seq)
	case Pending: // not an answer
	}
}

// Delivered notes that a subscription got a message.
func (l *Ledger) Delivered(subscription int, a Arrival) {
	if int64(a.Producer) >= int64(len(l.producers)) {
		l.Foreign(fmt.Sprintf("subscription %d: a message of producer %d, who does not exist", subscription, a.Producer))
		return
	}
	p := l.producers[a.Producer]
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.Seq >= p.sent {
		l.note(&p.tally.Phantom, "subscription %d %v: never sent", subscription, a)
		return
	}
	at := place{a.Partition, a.Offset}
	before := l.subscriptions[subscription].visit(at)
	if p.delivered[subscription].set(a.Seq) {
		l.first(p, subscription, a, before)
	} else {
		l.again(p, subscription, a, before)
	}
}

// first judges the first delivery of a message on a subscription. before: its place delivered something already. p.mu is held.
func (l *Ledger) first(p *account, subscription int, a Arrival, before bool) {
	p.tally.Delivered++
	switch acked, refused := p.acked.has(a.Seq), p.refused.has(a.Seq); {
	case acked && !refused:
		p.missing[subscription]--
	case refused && !acked:
		l.note(&p.tally.Phantom, "subscription %d %v: delivered, but answered as not appended", subscription, a)
	}
	if before {
		l.note(&p.tally.Lost, "subscription %d %v: this place delivered another message before", subscription, a)
	}
	if a.Partition >= 0 {
		if last, ok := p.last[subscription][a.Partition]; ok && a.Seq < last {
			l.note(&p.tally.Reordered, "subscription %d %v: after message %d", subscription, a, last)
		} else {
			p.last[subscription][a.Partition] = a.Seq
		}
	}
	if was, same := p.recent.agree(a.Seq, place{a.Partition, a.Offset}); !same {
		l.note(&p.tally.Duplicated, "subscription %d %v: acknowledged at or delivered from %v too", subscription, a, was)
	}
}

// again judges a message that the subscription has had. p.mu is held.
func (l *Ledger) again(p *account, subscription int, a Arrival, before bool) {
	at := place{a.Partition, a.Offset}
	switch {
	case at.known() && before, !at.known() && a.Redelivered:
		p.tally.Redelivered++
	case at.known() && p.recent.told(a.Seq): // the acknowledgement gave this copy away
	default:
		l.note(&p.tally.Duplicated, "subscription %d %v: delivered before, from elsewhere", subscription, a)
	}
}

// Foreign notes something delivered that is no message of this run, or a damaged one, and says what in a few words.
func (l *Ledger) Foreign(example string) { l.note(&l.foreign, "%s", example) }

// Missing returns how many acknowledged messages a subscription has yet to get.
func (l *Ledger) Missing(subscription int) int64 {
	var sum int64
	for _, p := range l.producers {
		p.mu.Lock()
		sum += p.missing[subscription]
		p.mu.Unlock()
	}
	return sum
}

// Tally sums up what was noted so far. While events still come it is a blurred picture; at the end it is exact.
func (l *Ledger) Tally() Tally {
	var t Tally
	var lost []string
	for id, p := range l.producers {
		p.mu.Lock()
		t.add(p)
		for s, n := range p.missing {
			if n > 0 && len(lost) < maxExamples {
				seq := p.firstMissing(s)
				lost = append(lost, fmt.Sprintf("producer %d message %d: acknowledged, and not delivered to subscription %d (%d of this producer)",
					id, seq, s, n))
			}
		}
		p.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	t.Phantom += l.foreign
	t.Examples = append(lost, l.examples...)
	t.Examples = t.Examples[:min(len(t.Examples), maxExamples)]
	return t
}

func (t *Tally) add(p *account) {
	t.Sent += int64(p.sent)
	t.Acked += p.tally.Acked
	t.Delivered += p.tally.Delivered
	t.Lost += p.tally.Lost
	t.Duplicated += p.tally.Duplicated
	t.Redelivered += p.tally.Redelivered
	t.Reordered += p.tally.Reordered
	t.Phantom += p.tally.Phantom
	t.Unanswered += int64(p.sent) - p.tally.Acked - p.refusals
	for _, n := range p.missing {
		t.Lost += n
	}
}

// note counts a violation and keeps the first few in words.
func (l *Ledger) note(counter *int64, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*counter++
	if len(l.examples) < maxExamples {
		l.examples = append(l.examples, fmt.Sprintf(format, args...))
	}
}

// String names an arrival in examples.
func (a Arrival) String() string {
	return fmt.Sprintf("producer %d message %d at %v", a.Producer, a.Seq, place{a.Partition, a.Offset})
}
