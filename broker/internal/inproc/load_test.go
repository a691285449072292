package inproc

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
)

const (
	producers  = 3
	window     = 4                      // batches of a producer without an answer
	answerTime = 400 * time.Millisecond // until a producer takes an answer for lost and sends again
)

// sent is one batch of a producer's life.
type sent struct {
	seq   protocol.Sequence
	count int

	floor  protocol.Offset // behind all that was acknowledged when it was first sent
	acked  bool
	offset protocol.Offset // that was told, of the first record
	told   bool            // false with acked: the producer learned from OpenProducer that the partition has it
}

// load is all producers and what they know.
type load struct {
	c     *cluster
	bytes int // of a record
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu         sync.Mutex
	batches    map[protocol.ProducerID][]*sent // guarded by mu
	behind     protocol.Offset                 // all that was acknowledged; guarded by mu
	acks       int                             // guarded by mu
	duplicates int                             // acknowledgements of what was in the log already; guarded by mu
	reopened   int                             // epochs begun by producers; guarded by mu
	wrong      []string                        // at most maxWrong; guarded by mu
}

const maxWrong = 10

// publish begins the load: records of about so many bytes.
func (c *cluster) publish(bytes int) *load {
	ctx, stop := context.WithCancel(context.Background())
	u := &load{c: c, bytes: bytes, stop: stop, batches: map[protocol.ProducerID][]*sent{}}
	c.t.Cleanup(func() { stop(); u.wg.Wait() })
	for id := protocol.ProducerID(1); id <= producers; id++ {
		u.wg.Go(func() { u.play(ctx, id, rand.New(rand.NewPCG(c.seed, uint64(id)))) })
	}
	return u
}

// play sends windows of batches, each until it is acknowledged.
func (u *load) play(ctx context.Context, id protocol.ProducerID, random *rand.Rand) {
	epoch, done, except, anew := protocol.ProducerEpoch(0), 0, protocol.BrokerID(0), false
	for next := protocol.Sequence(0); ctx.Err() == nil || done < u.count(id); {
		l := u.c.serving(except)
		except = 0
		if l == nil {
			time.Sleep(poll)
			continue
		}
		for ctx.Err() == nil && u.count(id) < done+window {
			b := &sent{seq: next, count: 1 + random.IntN(3)}
			next += protocol.Sequence(b.count)
			u.add(id, b)
		}
		if anew {
			epoch++
			u.reopen(l.p, id, epoch)
		}
		anew = false
		if !u.send(l, id, epoch, done) {
			except, anew = l.id, random.IntN(3) == 0 // another one, if there is one, knows better
		}
		done = u.firstOpen(id, done)
	}
}

// send sends the batches from one on and reports whether all were acknowledged in time.
func (u *load) send(l *life, id protocol.ProducerID, epoch protocol.ProducerEpoch, from int) bool {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	var answers []chan bool
	for _, b := range u.unanswered(id, from) {
		raw, h := u.encode(id, epoch, b)
		answer := make(chan bool, 1)
		if l.p.Append(ctx, raw, h, func(a partition.Ack) { answer <- u.answered(l, id, b, a) }) != nil {
			return false
		}
		answers = append(answers, answer)
	}
	all := true
	for _, answer := range answers {
		select {
		case ok := <-answer:
			all = all && ok
		case <-ctx.Done():
			return false
		}
	}
	return all
}

// answered notes an answer, also one that nobody waits for any more. What a broker says after its end is heard by nobody.
func (u *load) answered(l *life, id protocol.ProducerID, b *sent, a partition.Ack) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.dead.Load() || a.Err != nil {
		return false
	}
	if b.told && b.offset != a.Offset {
		u.blame("producer %d sequence %d was told offset %d and then %d", id, b.seq, b.offset, a.Offset)
	}
	if !b.acked {
		u.acks++
	}
	if a.Duplicate {
		u.duplicates++
	}
	b.acked, b.told, b.offset = true, true, a.Offset
	u.behind = max(u.behind, a.Offset+protocol.Offset(b.count))
	return true
}

// reopen begins an epoch of a producer and notes what the partition says to have of it. Without an answer the epoch may have begun
// all the same, and the first batch of it begins it otherwise.
func (u *load) reopen(p *partition.Partition, id protocol.ProducerID, epoch protocol.ProducerEpoch) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTime)
	defer cancel()
	next, _, err := p.OpenProducer(ctx, id, epoch)
	if err != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reopened++
	for _, b := range u.batches[id] {
		switch end := b.seq + protocol.Sequence(b.count); {
		case end <= next:
			b.acked = true
		case b.acked:
			u.blame("producer %d: sequence %d was acknowledged, and the partition expects %d", id, b.seq, next)
		case b.seq < next:
			u.blame("producer %d: the partition expects %d, in the middle of a batch from %d", id, next, b.seq)
		}
	}
}

func (u *load) encode(id protocol.ProducerID, epoch protocol.ProducerEpoch, b *sent) ([]byte, batch.Header) {
	builder := batch.NewBuilder(batch.None)
	for i := range b.count {
		must(builder.Add(batch.Record{Value: value(id, b.seq+protocol.Sequence(i), u.bytes)}))
	}
	raw, err := builder.Build(nil, id, epoch, b.seq)
	must(err)
	h, err := batch.Check(raw, protocol.MaxBatchBytesLimit)
	must(err)
	return raw, h
}

// value is what a record says of itself: its producer and sequence, over and over.
func value(id protocol.ProducerID, seq protocol.Sequence, size int) []byte {
	one := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(id)), uint64(seq))
	var out []byte
	for len(out) < size {
		out = append(out, one...)
	}
	return out
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (u *load) add(id protocol.ProducerID, b *sent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	b.floor = u.behind
	u.batches[id] = append(u.batches[id], b)
}

func (u *load) count(id protocol.ProducerID) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.batches[id])
}

// unanswered returns the batches from one on that are not acknowledged.
func (u *load) unanswered(id protocol.ProducerID, from int) (out []*sent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, b := range u.batches[id][from:] {
		if !b.acked {
			out = append(out, b)
		}
	}
	return out
}

// firstOpen returns the first batch from one on that is not acknowledged.
func (u *load) firstOpen(id protocol.ProducerID, from int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	for from < len(u.batches[id]) && u.batches[id][from].acked {
		from++
	}
	return from
}

// blame notes what must not be. u.mu is held.
func (u *load) blame(format string, args ...any) {
	if len(u.wrong) < maxWrong {
		u.wrong = append(u.wrong, fmt.Sprintf(format, args...))
	}
}

func (u *load) acknowledged() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.acks
}

// progress waits until n more batches are acknowledged.
func (u *load) progress(n int) {
	u.c.t.Helper()
	want := u.acknowledged() + n
	u.c.eventually("nothing is acknowledged any more", func() bool { return u.acknowledged() >= want })
}

// finish stops the load after everything is acknowledged.
func (u *load) finish() {
	u.c.t.Helper()
	u.stop()
	done := make(chan struct{})
	go func() { u.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(soon):
		require.FailNow(u.c.t, "not everything was acknowledged", "seed %d", u.c.seed)
	}
}
