// Package feedtest has a partition in memory for tests of packages feed and session.
//
// It commits at once, alone and without a disk. It keeps the rules that its users rely on: sequences,
// activations, whole batches, answers in order, and the loss of leadership.
package feedtest

import (
	"context"
	"math"
	"slices"
	"sync"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

// Partition is a partition that is led here until Lose is called.
type Partition struct {
	mu        sync.Mutex
	epoch     protocol.Epoch
	lost      chan struct{} // nil while it is not led
	appended  chan struct{}
	start     protocol.Offset
	next      protocol.Offset
	batches   []entry // in the order of their offsets
	cursors   map[string]feed.Cursor
	producers map[protocol.ProducerID]protocol.Sequence
	time      int64 // append time of the next batch
	closed    bool
	starting  error // what Ready answers

	acks     int // CursorAck calls
	fail     func(op string) error
	activate chan struct{} // if not nil, CursorActivate waits for it
}

type entry struct {
	base, next protocol.Offset
	time       int64
	bytes      []byte
}

// New returns an empty partition that is led in epoch 1.
func New() *Partition {
	return &Partition{
		epoch: 1, lost: make(chan struct{}), appended: make(chan struct{}), time: 1,
		cursors: make(map[string]feed.Cursor), producers: make(map[protocol.ProducerID]protocol.Sequence),
		fail: func(string) error { return nil },
	}
}

// Lose ends the leadership; Lead begins another.
func (p *Partition) Lose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost != nil {
		close(p.lost)
		p.lost = nil
	}
}

// Lead begins a leadership in the next epoch.
func (p *Partition) Lead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch++
	p.lost = make(chan struct{})
}

// FailWith has operations ("open", "activate", "ack", "append", "producer") fail with what f returns.
func (p *Partition) FailWith(f func(op string) error) {
	p.mu.Lock()
	p.fail = f
	p.mu.Unlock()
}

// HoldActivate makes CursorActivate wait until the returned function is called.
func (p *Partition) HoldActivate() (release func()) {
	ch := make(chan struct{})
	p.mu.Lock()
	p.activate = ch
	p.mu.Unlock()
	return sync.OnceFunc(func() { close(ch) })
}

// SetStart drops records below o.
func (p *Partition) SetStart(o protocol.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.start = o
	p.batches = slices.DeleteFunc(p.batches, func(e entry) bool { return e.next <= o })
}

// SetTime sets the append time of what comes.
func (p *Partition) SetTime(ms int64) {
	p.mu.Lock()
	p.time = ms
	p.mu.Unlock()
}

// Fill appends n batches of count records with values of size bytes.
func (p *Partition) Fill(n, count, size int) {
	for range n {
		p.mu.Lock()
		seq := p.producers[0]
		p.mu.Unlock()
		if _, _, err := p.Put(MakeBatch(0, seq, count, size)); err != nil {
			panic(err) // a batch that this package made
		}
	}
}

// MakeBatch returns a batch of one producer.
func MakeBatch(id protocol.ProducerID, base protocol.Sequence, count, size int) []byte {
	b := batch.NewBuilder(batch.None)
	for i := range count {
		v := make([]byte, size)
		for j := range v {
			v[j] = byte(int(base) + i + j)
		}
		if err := b.Add(batch.Record{Value: v, Timestamp: 1}); err != nil {
			panic(err)
		}
	}
	out, err := b.Build(nil, id, 0, base)
	if err != nil {
		panic(err)
	}
	return out
}

// Put appends a batch by the rules of sequences and returns its first offset.
func (p *Partition) Put(b []byte) (protocol.Offset, bool, error) {
	h, err := batch.ParseHeader(b)
	if err != nil {
		return 0, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lost == nil {
		return 0, false, protocol.Errorf(protocol.CodeNotLeader, "lost")
	}
	if err := p.fail("append"); err != nil {
		return 0, false, err
	}
	switch want := p.producers[h.Producer]; {
	case h.NextSequence() <= want:
		return 0, true, nil
	case h.BaseSequence != want:
		return 0, false, protocol.Errorf(protocol.CodeOutOfSequence, "sequence %d, want %d", h.BaseSequence, want)
	}
	p.producers[h.Producer] = h.NextSequence()
	base := p.next
	b = slices.Clone(b)
	batch.Stamp(b, base, p.epoch, p.time)
	p.next += protocol.Offset(h.Count)
	p.batches = append(p.batches, entry{base, p.next, p.time, b})
	close(p.appended)
	p.appended = make(chan struct{})
	return base, false, nil
}

// Acks returns how many acknowledgements were proposed.
func (p *Partition) Acks() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acks
}

// Epoch returns the newest epoch.
func (p *Partition) Epoch() protocol.Epoch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch
}

// The methods of feed.Partition.

// Leading implements feed.Partition.
func (p *Partition) Leading() (protocol.Epoch, <-chan struct{}, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch, p.lost, p.lost != nil
}

func (p *Partition) refuse(op string) error {
	if p.lost == nil {
		return protocol.Errorf(protocol.CodeNotLeader, "lost")
	}
	return p.fail(op)
}

// CursorOpen implements feed.Partition.
func (p *Partition) CursorOpen(_ context.Context, sub string, ifNew protocol.Offset) (feed.Cursor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refuse("open"); err != nil {
		return feed.Cursor{}, err
	}
	if _, ok := p.cursors[sub]; !ok {
		p.cursors[sub] = feed.Cursor{Offset: ifNew}
	}
	return p.cursors[sub], nil
}

// CursorActivate implements feed.Partition.
func (p *Partition) CursorActivate(ctx context.Context, sub string) (feed.Cursor, error) {
	p.mu.Lock()
	hold := p.activate
	p.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return feed.Cursor{}, ctx.Err()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refuse("activate"); err != nil {
		return feed.Cursor{}, err
	}
	c := p.cursors[sub]
	c.Activation++
	p.cursors[sub] = c
	return c, nil
}

// CursorAck implements feed.Partition.
func (p *Partition) CursorAck(sub string, a protocol.Activation, o protocol.Offset, done func(protocol.Offset, error)) {
	p.mu.Lock()
	p.acks++
	err := p.refuse("ack")
	c := p.cursors[sub]
	if err == nil && c.Activation != a {
		err = protocol.Errorf(protocol.CodeStaleActivation, "activation %d, want %d", a, c.Activation)
	}
	if err == nil {
		c.Offset = max(c.Offset, o)
		p.cursors[sub] = c
	}
	p.mu.Unlock()
	done(c.Offset, err)
}

// Cursor implements feed.Partition.
func (p *Partition) Cursor(sub string) (feed.Cursor, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.cursors[sub]
	return c, ok
}

// Cursors returns all cursors.
func (p *Partition) Cursors() map[string]feed.Cursor {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make(map[string]feed.Cursor)
	for k, v := range p.cursors {
		out[k] = v
	}
	return out
}

// Starting makes Ready answer err. With nil the replica has started.
func (p *Partition) Starting(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting = err
}

// Ready implements feed.Partition.
func (p *Partition) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.starting
}

// Bounds implements feed.Partition.
func (p *Partition) Bounds() (start, next protocol.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.start, p.next
}

// Read implements feed.Partition.
func (p *Partition) Read(from protocol.Offset, most int, dst []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return dst, protocol.Errorf(protocol.CodeUnavailable, "closed")
	}
	if from < p.start || from > p.next {
		return dst, protocol.Errorf(protocol.CodeOffsetOutOfRange, "offset %d outside [%d, %d]", from, p.start, p.next)
	}
	size := 0
	for _, e := range p.batches {
		if e.next <= from {
			continue
		}
		if size > 0 && size+len(e.bytes) > most {
			break
		}
		dst, size = append(dst, e.bytes...), size+len(e.bytes)
	}
	return dst, nil
}

// Close closes the replica as a broker does: who waits for records is woken and finds none.
func (p *Partition) Close() {
	p.Lose()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	close(p.appended)
}

// OffsetForTime implements feed.Partition.
func (p *Partition) OffsetForTime(ms int64) (protocol.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.batches {
		if e.time >= ms {
			return max(e.base, p.start), nil
		}
	}
	return p.next, nil
}

// Appended implements feed.Partition.
func (p *Partition) Appended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.appended
}

// Corrupt damages the batch that holds offset o.
func (p *Partition) Corrupt(o protocol.Offset) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.batches {
		if e.base <= o && o < e.next {
			e.bytes[9] ^= math.MaxUint8
		}
	}
}

// NextSequence returns the first sequence of a producer that is not appended.
func (p *Partition) NextSequence(id protocol.ProducerID) protocol.Sequence {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.producers[id]
}
