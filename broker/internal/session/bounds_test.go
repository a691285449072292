package session

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 10}
		ctx := t.Context()
		require.NoError(t, b.take(ctx, 50, nil), "any size, when nothing is in use")
		b.give(50)
		require.NoError(t, b.take(ctx, 8, nil))
		require.NoError(t, b.take(ctx, 8, alwaysIdle), "beyond the limit for who holds nothing")
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		require.ErrorIs(t, b.take(short, 3, nil), context.DeadlineExceeded)
		require.Equal(t, 16, b.inUse())

		var served [3]atomic.Bool
		for i, n := range []int{9, 1, 1} { // served in their order, though the small ones fit before
			go func() {
				if b.take(ctx, n, nil) == nil {
					served[i].Store(true)
				}
			}()
			synctest.Wait()
		}
		is := func(want ...bool) {
			synctest.Wait()
			for i := range served {
				require.Equal(t, want[i], served[i].Load(), "waiter %d", i)
			}
		}
		b.give(8)
		is(false, false, false)
		b.give(8)
		is(true, true, false) // 9 and 1 of 10
		b.give(10)
		is(true, true, true)
		b.give(1)
		b.force(70)
		require.Equal(t, 70, b.inUse())
	})
}

// TestBudgetPromotesWaiters: who was queued with something in flight goes on beyond the limit as soon as that is
// answered, and before those who were queued first.
func TestBudgetPromotesWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &budget{limit: 10}
		require.NoError(t, b.take(t.Context(), 14, alwaysIdle))
		ctx, cancel := context.WithCancel(t.Context())
		stuck, next := make(chan error, 1), make(chan error, 1)
		go func() { stuck <- b.take(ctx, 4, nil) }()
		synctest.Wait()
		answered := make(chan struct{})
		go func() { next <- b.take(t.Context(), 4, answered) }()
		synctest.Wait()
		require.Empty(t, next)
		close(answered)
		require.NoError(t, <-next)
		require.Empty(t, stuck)
		cancel()
		require.ErrorIs(t, <-stuck, context.Canceled)
		require.Equal(t, 18, b.inUse())
	})
}

func isIdle(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// TestAckRingModel drives a ring with any order of events against a plain list.
func TestAckRingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newAckRing()
		var want []wire.ProduceAck // of all that was pushed, as answered
		answered, pushed, refused, written := 0, 0, false, 0
		var got []byte
		ended := false
		var asked <-chan struct{} // by the last room
		take := func() {
			if ended {
				return
			}
			got, ended = r.take(got)
			reader, n := frame.NewReader(bytes.NewReader(got)), 0
			for {
				k, body, err := reader.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				require.Equal(t, protocol.KindProduceAck, k)
				var a wire.ProduceAck
				require.NoError(t, a.Decode(body))
				require.Equal(t, want[n], a)
				n++
			}
			written = n
		}
		failed := false
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			free, drained := r.room()
			require.Equal(t, pushed-written < protocol.MaxInFlightBatches, free)
			require.Equal(t, answered == pushed || refused && answered == pushed-1, isIdle(drained))
			if asked != nil {
				require.Equal(t, isIdle(drained), isIdle(asked), "told with the last answer, and not before")
			}
			if asked = drained; isIdle(drained) {
				asked = nil // a batch may follow
			}
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				if free && !refused {
					r.push(&batch.Header{BaseSequence: protocol.Sequence(pushed), Count: 1, Length: 5}, time.Time{})
					want = append(want, wire.ProduceAck{BaseSequence: protocol.Sequence(pushed), Count: 1, BaseOffset: protocol.Offset(pushed)})
					pushed++
					if rapid.IntRange(0, 20).Draw(t, "refuse") == 0 {
						refused = true
						r.refuse(Ack{Err: protocol.Errorf(protocol.CodeOverloaded, "no")})
						want[pushed-1] = wire.ProduceAck{BaseSequence: protocol.Sequence(pushed - 1), Count: 1, Code: protocol.CodeOverloaded, Message: "no"}
					}
				}
			case 1, 2:
				open := pushed
				if refused {
					open--
				}
				if answered < open {
					a := Ack{Offset: protocol.Offset(answered)}
					if !failed && rapid.IntRange(0, 40).Draw(t, "fail") == 0 {
						failed = true
						a = Ack{Err: protocol.Errorf(protocol.CodeNotLeader, "gone")}
						want[answered] = wire.ProduceAck{BaseSequence: protocol.Sequence(answered), Count: 1, Code: protocol.CodeNotLeader, Message: "gone"}
					}
					require.EqualValues(t, answered, r.complete(a).base)
					answered++
				}
			case 3:
				take()
			}
		}
		if !failed && !refused {
			r.finish(nil)
		}
	})
}

// queued returns how many takers wait.
func (b *budget) queued() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}
