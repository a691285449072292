package partition

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
)

// player is a producer that behaves as a client does: it sends batches in order, several at a time, and after any
// error opens itself anew and sends everything again that it has no offset for.
type player struct {
	id      protocol.ProducerID
	batches int
	window  int

	mu      sync.Mutex
	offsets map[protocol.Sequence]protocol.Offset
	attempt int64          // the newest; every batch bears its own as its timestamp
	refused map[int64]bool // attempts answered as not appended
	wrong   error
}

const (
	playerRecords = 3         // of each batch
	playTime      = time.Hour // of fake time: more means that it makes no progress
)

func (y *player) play(t *testing.T, r *rig) {
	begun := time.Now()
	for y.left() && y.fault() == nil {
		if time.Since(begun) > playTime {
			y.accuse(fmt.Errorf("producer %d: %d of %d batches in the log after %v", y.id, len(y.offsets), y.batches, playTime))
		}
		if _, _, err := r.OpenProducer(t.Context(), y.id, 0); err != nil {
			time.Sleep(roundTrip)
			continue
		}
		y.send(t, r)
	}
}

func (y *player) left() bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return len(y.offsets) < y.batches
}

func (y *player) fault() error {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.wrong
}

// send sends what has no offset, until the first error, and waits until everything sent is answered.
func (y *player) send(t *testing.T, r *rig) {
	var open sync.WaitGroup
	defer open.Wait()
	slots := make(chan struct{}, y.window)
	ctx, fail := context.WithCancel(t.Context())
	defer fail()
	expected := -1
	for n := range y.batches {
		seq := protocol.Sequence(n * playerRecords)
		y.mu.Lock()
		_, known := y.offsets[seq]
		y.mu.Unlock()
		if known {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		y.mu.Lock()
		y.attempt++
		attempt := y.attempt
		y.mu.Unlock()
		raw, h := makeBatchAt(t, y.id, seq, playerRecords, 10, attempt)
		open.Add(1)
		err := r.Append(ctx, raw, h, func(a Ack) {
			defer open.Done()
			if n <= expected {
				y.accuse(fmt.Errorf("answer %d came after %d", n, expected))
			}
			expected = n
			if a.Err != nil {
				if a.Err.Code.Outcome() == protocol.NotAppended {
					y.refuse(attempt)
				}
				fail()
			} else {
				y.learn(seq, a.Offset)
			}
			<-slots
		})
		if err != nil {
			y.refuse(attempt)
			open.Done()
			time.Sleep(roundTrip)
			return
		}
	}
}

func (y *player) learn(seq protocol.Sequence, o protocol.Offset) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if old, ok := y.offsets[seq]; ok && old != o {
		y.wrong = fmt.Errorf("sequence %d was told offset %d, then %d", seq, old, o)
	}
	y.offsets[seq] = o
}

func (y *player) refuse(attempt int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.refused[attempt] = true
}

func (y *player) accuse(err error) {
	y.mu.Lock()
	y.wrong = err
	y.mu.Unlock()
}

// check compares what the producer was told with the log.
func (y *player) check(log []span) error {
	if y.wrong != nil {
		return y.wrong
	}
	if len(log) != y.batches {
		return fmt.Errorf("producer %d: %d batches in the log, not %d: %v", y.id, len(log), y.batches, log)
	}
	for n, s := range log {
		if s.seq != protocol.Sequence(n*playerRecords) || s.count != playerRecords {
			return fmt.Errorf("producer %d: batch %d of the log is %+v", y.id, n, s)
		}
		if y.refused[s.timestamp] {
			return fmt.Errorf("producer %d: sequence %d is in the log by an attempt answered as not appended", y.id, s.seq)
		}
		if told := y.offsets[s.seq]; told != s.offset {
			return fmt.Errorf("producer %d: sequence %d is at %d, was told %d", y.id, s.seq, s.offset, told)
		}
	}
	return nil
}

// reader moves one subscription's cursor: what was told to be committed must never be lost.
type reader struct {
	committed protocol.Offset
	wrong     error
}

func (d *reader) play(t *testing.T, r *rig, upTo protocol.Offset) {
	begun := time.Now()
	for d.committed < upTo && d.wrong == nil {
		if time.Since(begun) > playTime {
			d.wrong = fmt.Errorf("cursor at %d of %d after %v", d.committed, upTo, playTime)
		}
		c, err := r.CursorActivate(t.Context(), "s")
		if err != nil {
			if _, err := r.CursorOpen(t.Context(), "s", 0); err != nil {
				time.Sleep(roundTrip)
			}
			continue
		}
		if c.Offset < d.committed {
			d.wrong = fmt.Errorf("cursor %d was committed, %d is remembered", d.committed, c.Offset)
		}
		d.committed = c.Offset // also of an ack whose answer was lost
		for o := c.Offset + 1; o <= upTo; o++ {
			if _, next := r.m.Bounds(); o > next {
				time.Sleep(roundTrip)
				break
			}
			answer := make(chan error, 1)
			r.CursorAck("s", c.Activation, o, func(got protocol.Offset, err error) {
				if err == nil {
					d.committed = got
				}
				answer <- err
			})
			if <-answer != nil {
				break
			}
		}
	}
}

// TestExactlyOnce: whatever happens to proposals, once it ends every batch is in the log exactly once, in order per
// producer, at the offset that was told; and no answer was out of order.
func TestExactlyOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		faults := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fault {
			if rapid.Bool().Draw(rt, "well") {
				return commit
			}
			return fault(rapid.IntRange(int(refuse), int(faultKinds)-1).Draw(rt, "fault"))
		}), 0, 60).Draw(rt, "faults")
		players := make([]*player, rapid.IntRange(1, 4).Draw(rt, "producers"))
		for i := range players {
			players[i] = &player{
				id:      protocol.ProducerID(i + 1),
				batches: rapid.IntRange(1, 30).Draw(rt, "batches"),
				window:  rapid.IntRange(1, 8).Draw(rt, "window"),
				offsets: map[protocol.Sequence]protocol.Offset{},
				refused: map[int64]bool{},
			}
		}
		maxProposals := rapid.IntRange(1, 5).Draw(rt, "proposals")
		maxBytes := rapid.SampledFrom([]int{100, 500, 1 << 20}).Draw(rt, "bytes")
		flips := rapid.SliceOfN(rapid.IntRange(1, 30), 0, 10).Draw(rt, "quorum")
		cursor := &reader{}
		upTo := protocol.Offset(0)
		for _, y := range players {
			upTo += protocol.Offset(y.batches * playerRecords)
		}
		var err error
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, faults, func(c *Config) { c.MaxProposals, c.MaxProposalBytes = maxProposals, maxBytes })
			defer r.stop()
			r.raft.elect()
			var all sync.WaitGroup
			for _, y := range players {
				all.Go(func() { y.play(t, r) })
			}
			all.Go(func() { cursor.play(t, r, upTo) })
			all.Go(func() {
				for i, rounds := range flips {
					time.Sleep(time.Duration(rounds) * roundTrip)
					r.SetQuorum(i%2 == 1)
				}
				r.SetQuorum(true)
			})
			all.Wait()
			log := readLog(t, r.m)
			for _, y := range players {
				if err == nil {
					err = y.check(log[y.id])
				}
			}
			if c, _ := r.m.Cursor("s"); err == nil && c.Offset != cursor.committed {
				err = fmt.Errorf("cursor is %d, told %d", c.Offset, cursor.committed)
			}
			if err == nil {
				err = cursor.wrong
			}
		})
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// TestQueue compares the queue with a slice.
func TestQueue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q queue
		var model []op
		var taken []op // since the last unpop, in order
		next := protocol.Offset(0)
		rt.Repeat(map[string]func(*rapid.T){
			"push": func(rt *rapid.T) {
				for range rapid.IntRange(1, 200).Draw(rt, "n") {
					next++
					q.push(op{offset: next})
					model = append(model, op{offset: next})
				}
			},
			"pop": func(rt *rapid.T) {
				for range rapid.IntRange(0, q.len()).Draw(rt, "n") {
					if q.front().offset != model[0].offset {
						rt.Fatalf("front is %d, not %d", q.front().offset, model[0].offset)
					}
					taken = append(taken, q.pop())
					model = model[1:]
				}
			},
			"unpop": func(rt *rapid.T) {
				back := taken[rapid.IntRange(0, len(taken)).Draw(rt, "from"):]
				q.unpop(back)
				model = append(append([]op(nil), back...), model...)
				taken = nil
			},
			"": func(rt *rapid.T) {
				if q.len() != len(model) {
					rt.Fatalf("%d operations, not %d", q.len(), len(model))
				}
			},
		})
	})
}
