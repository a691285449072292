package outbox

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

var errTest = errors.New("test")

// world is a box together with a partition that applies the rules of sequences. Items carry their number
// as Tag; log[i] is the number of the record at sequence i.
type world struct {
	t       *rapid.T
	box     *Box
	added   int
	done    map[int]Result
	order   []int // numbers in the order of their results
	items   []*Item
	log     []int
	stream  []*Batch // sent and not read by the partition
	answers []answer // given and not read by the producer
}

type answer struct {
	base   protocol.Sequence
	count  uint32
	offset protocol.Offset
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, done: map[int]Result{}}
	w.box = New(rapid.Bool().Draw(t, "known"), func(it *Item) {
		n := it.Tag.(int)
		_, twice := w.done[n]
		require.False(t, twice, "item %d has two results", n)
		w.done[n] = it.Result
		w.order = append(w.order, n)
	})
	return w
}

func (w *world) add(t *rapid.T) {
	it := &Item{Size: rapid.IntRange(1, 5).Draw(t, "size"), Tag: w.added}
	w.box.Add(it)
	w.items = append(w.items, it)
	w.added++
}

func (w *world) seal(t *rapid.T) {
	if _, known := w.box.Next(); !known {
		return
	}
	items := w.box.Take(rapid.IntRange(1, 12).Draw(t, "bytes"), rapid.IntRange(1, 4).Draw(t, "records"))
	if len(items) == 0 {
		return
	}
	switch rapid.IntRange(0, 5).Draw(t, "then") {
	case 0:
		w.box.Untake()
	case 1:
		w.box.Drop(errTest)
	default:
		w.box.Push(nil, time.Time{})
	}
}

func (w *world) send(*rapid.T) {
	if b := w.box.Unsent(); b != nil {
		w.stream = append(w.stream, b)
	}
}

// read lets the partition take the next batch, and answer it.
func (w *world) read(*rapid.T) {
	if len(w.stream) == 0 {
		return
	}
	b := w.stream[0]
	w.stream = w.stream[1:]
	switch next := protocol.Sequence(len(w.log)); {
	case b.Base == next:
		for _, it := range b.Items {
			w.log = append(w.log, it.Tag.(int))
		}
	case b.End() <= next:
		for i, it := range b.Items {
			require.Equal(w.t, w.log[int(b.Base)+i], it.Tag.(int), "a repeat differs")
		}
	default:
		w.t.Fatalf("batch from %d, the partition expects %d", b.Base, next)
	}
	w.answers = append(w.answers, answer{b.Base, uint32(len(b.Items)), protocol.Offset(b.Base)})
}

func (w *world) ack(*rapid.T) {
	if len(w.answers) == 0 {
		return
	}
	a := w.answers[0]
	w.answers = w.answers[1:]
	_, err := w.box.Ack(a.base, a.count, Result{Offset: a.offset})
	require.NoError(w.t, err)
}

// reopen loses what is under way in both directions.
func (w *world) reopen(t *rapid.T) {
	w.stream, w.answers = nil, nil
	w.box.Reopen()
	for range rapid.IntRange(0, 2).Draw(t, "sent before the partition answers") {
		w.send(t)
	}
	require.NoError(w.t, w.box.Accepted(protocol.Sequence(len(w.log))))
}

func (w *world) cancel(t *rapid.T) {
	if w.added > 0 {
		w.box.Cancel(w.items[rapid.IntRange(0, w.added-1).Draw(t, "item")], errTest)
	}
}

// check holds all that must be true at any time.
func (w *world) check(*rapid.T) {
	at := map[int]int{}
	for i, n := range w.log {
		_, twice := at[n]
		require.False(w.t, twice, "record %d is in the log twice", n)
		at[n] = i
		if i > 0 {
			require.Less(w.t, w.log[i-1], n, "the log is out of order")
		}
	}
	for n, r := range w.done {
		i, in := at[n]
		switch {
		case r.Err == nil:
			require.True(w.t, in)
			require.Equal(w.t, protocol.Offset(i), r.Offset)
		case r.Outcome == protocol.NotAppended:
			require.False(w.t, in, "record %d", n)
		}
	}
	require.Equal(w.t, w.added-len(w.done), w.box.Waiting())
	for n := range int(w.box.Low()) {
		require.Contains(w.t, w.done, n)
	}
}

// TestBox drives a box and a partition at random: the log is in order and without repeats, and every
// result is true.
func TestBox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"add": w.add, "add again": w.add, "seal": w.seal, "send": w.send, "read": w.read, "ack": w.ack,
			"reopen": w.reopen, "cancel": w.cancel, "": w.check,
		})
		w.finish(t)
	})
}

// finish sends everything: what was not cancelled ends up committed, in order.
func (w *world) finish(t *rapid.T) {
	w.reopen(t)
	for w.box.Waiting() > 0 || w.box.InFlight() > 0 {
		if items := w.box.Take(10, 10); len(items) > 0 {
			w.box.Push(nil, time.Time{})
		}
		for w.box.PeekUnsent() != nil || len(w.stream) > 0 || len(w.answers) > 0 {
			w.send(t)
			w.read(t)
			w.ack(t)
		}
	}
	w.check(t)
	require.Len(t, w.done, w.added)
	last := -1
	for _, n := range w.order {
		if w.done[n].Err == nil {
			require.Less(t, last, n, "results are out of order")
			last = n
		}
	}
}

func TestOutcomes(t *testing.T) {
	setup := func() (*Box, map[int]Result) {
		done := map[int]Result{}
		b := New(true, func(it *Item) { done[it.Tag.(int)] = it.Result })
		for i := range 3 {
			b.Add(&Item{Size: 1, Tag: i})
			b.Take(1, 1)
			b.Push(nil, time.Time{})
		}
		b.Add(&Item{Size: 1, Tag: 3})
		return b, done
	}
	outcomes := func(done map[int]Result) []protocol.Outcome {
		var list []protocol.Outcome
		for i := range len(done) {
			list = append(list, done[i].Outcome)
		}
		return list
	}
	const not, unknown = protocol.NotAppended, protocol.Unknown

	b, done := setup() // the first was refused for certain: nothing behind it is there
	b.Unsent()
	b.Unsent()
	b.FailAll(true, errTest)
	require.Equal(t, []protocol.Outcome{not, not, not, not}, outcomes(done))

	b, done = setup() // the stream broke
	b.Unsent()
	b.Unsent()
	b.FailAll(false, errTest)
	require.Equal(t, []protocol.Outcome{unknown, unknown, not, not}, outcomes(done))

	b, done = setup() // refused at the second attempt: the first may have succeeded
	b.Unsent()
	b.Reopen()
	require.NoError(t, b.Accepted(0))
	b.Unsent()
	b.FailAll(true, errTest)
	require.Equal(t, []protocol.Outcome{unknown, not, not, not}, outcomes(done))
}

func TestForgottenSequencesAreRefused(t *testing.T) {
	b := New(true, func(*Item) {})
	for range 4 {
		b.Add(&Item{Size: 1})
	}
	b.Take(10, 2)
	b.Push(nil, time.Time{})
	b.Take(10, 2)
	b.Push(nil, time.Time{})
	for next, ok := range map[protocol.Sequence]bool{0: true, 1: false, 2: true, 3: false, 4: true, 5: false} {
		err := b.Accepted(next)
		require.Equal(t, ok, err == nil, "%d: %v", next, err)
	}
	require.NoError(t, b.Accepted(0))
	b.Unsent()
	_, err := b.Ack(0, 2, Result{})
	require.NoError(t, err)
	b.Reopen()
	require.ErrorIs(t, b.Accepted(0), ErrForgotten)
	_, err = b.Ack(2, 2, Result{})
	require.Error(t, err, "it was not sent on this stream")
}

// TestCancelledCostNothing: a partition that stands still does not pile up what was given up.
func TestCancelledCostNothing(t *testing.T) {
	b := New(true, func(*Item) {})
	keep := &Item{Size: 1}
	b.Add(keep)
	for range 10_000 {
		it := &Item{Size: 1}
		b.Add(it)
		b.Cancel(it, errTest)
		require.LessOrEqual(t, len(b.queue), 3)
	}
	require.Equal(t, 1, b.Pending())
	require.Equal(t, 1, b.PendingBytes())
	require.Equal(t, uint64(0), b.Low())
}
