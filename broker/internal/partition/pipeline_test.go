package partition

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
)

// acks collects answers in the order in which they come.
type acks struct {
	mu   sync.Mutex
	list []string
}

func (a *acks) done(name string) func(Ack) {
	return func(k Ack) {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case k.Err != nil:
			a.list = append(a.list, fmt.Sprintf("%s:%s", name, k.Err.Code))
		case k.Duplicate:
			a.list = append(a.list, fmt.Sprintf("%s:%d dup", name, k.Offset))
		default:
			a.list = append(a.list, fmt.Sprintf("%s:%d", name, k.Offset))
		}
	}
}

func (a *acks) got() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.list...)
}

// send appends batch n (of one record) of producer id.
func (r *rig) send(t *testing.T, a *acks, id protocol.ProducerID, n int) {
	raw, h := makeBatch(t, id, protocol.Sequence(n), 1, 100)
	require.NoError(t, r.Append(t.Context(), raw, h, a.done(fmt.Sprintf("%d/%d", id, n))))
}

func within(t *testing.T, faults []fault, change func(*Config), f func(*testing.T, *rig, *acks)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, faults, change)
		defer r.stop()
		f(t, r, &acks{})
	})
}

func TestAppendTakesOneRound(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		synctest.Wait()
		time.Sleep(10 * roundTrip)
		begun := time.Now()
		for n := range 3 {
			r.send(t, a, 5, n)
			time.Sleep(roundTrip)
			synctest.Wait()
			require.Len(t, a.got(), n+1, "no timer may be in the way")
		}
		require.Equal(t, 3*roundTrip, time.Since(begun))
		require.Equal(t, []string{"5/0:0", "5/1:1", "5/2:2"}, a.got())
		require.Equal(t, []protocol.Epoch{1}, r.noted())
		require.Equal(t, 4, r.raft.proposals())
	})
}

// TestClaimingAccepts: from the election on operations are accepted, and the epoch comes first.
func TestClaimingAccepts(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		release := r.raft.block()
		r.raft.elect()
		r.send(t, a, 5, 0)
		synctest.Wait()
		require.Equal(t, 1, r.raft.proposals(), "the claim alone")
		require.True(t, r.Status().Claiming)
		_, _, ok := r.Leading()
		require.False(t, ok)
		release()
		time.Sleep(3 * roundTrip)
		require.Equal(t, []string{"5/0:0"}, a.got())
		epoch, lost, ok := r.Leading()
		require.True(t, ok)
		require.EqualValues(t, 1, epoch)
		r.raft.lead(other)
		<-lost
	})
}

func TestMerging(t *testing.T) {
	within(t, nil, func(c *Config) { c.MaxProposals = 2 }, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		want := []string{}
		for n := range 100 {
			r.send(t, a, 5, n)
			want = append(want, fmt.Sprintf("5/%d:%d", n, n))
			synctest.Wait() // the proposer takes what it can
		}
		require.Equal(t, 3, r.raft.proposals(), "claim and two proposals")
		release()
		time.Sleep(5 * roundTrip)
		require.Equal(t, 4, r.raft.proposals(), "the rest in one")
		require.Equal(t, want, a.got())
	})
}

// TestProposalBytes: a batch greater than MaxProposalBytes goes alone.
func TestProposalBytes(t *testing.T) {
	within(t, nil, func(c *Config) { c.MaxProposalBytes = 1000; c.MaxProposals = 1 }, func(t *testing.T, r *rig, a *acks) {
		release := r.raft.block()
		r.raft.elect()
		for n := range 3 {
			raw, h := makeBatch(t, 5, protocol.Sequence(n), 1, 5000)
			require.NoError(t, r.Append(t.Context(), raw, h, a.done("x")))
		}
		release()
		time.Sleep(10 * roundTrip)
		require.Equal(t, []string{"x:0", "x:1", "x:2"}, a.got())
		require.Equal(t, 4, r.raft.proposals())
	})
}

// TestDroppedThenAppended is interleaving 1 of the package comment, for every way in which A can fail.
func TestDroppedThenAppended(t *testing.T) {
	for f := refuse; f <= late; f++ {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
				r.raft.elect()
				time.Sleep(5 * roundTrip)
				r.raft.script(f) // of A; B and the claim commit
				r.send(t, a, 5, 0)
				synctest.Wait()
				r.send(t, a, 5, 1)
				time.Sleep(time.Minute)
				got := a.got()
				require.Len(t, got, 2)
				require.Contains(t, got[0], "5/0:0")
				require.Contains(t, got[1], "5/1:1")
				require.Equal(t, []span{{0, 1, 0, 1}, {1, 1, 1, 1}}, readLog(t, r.m)[5])
			})
		})
	}
}

// TestRepeatedThenFenced is interleaving 9: what refuses the repeat of a batch says nothing about its first proposal.
func TestRepeatedThenFenced(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		r.send(t, a, 5, 0)
		synctest.Wait()
		opened := make(chan error, 1)
		go func() {
			_, _, err := r.OpenProducer(t.Context(), 5, 1)
			opened <- err
		}()
		synctest.Wait()
		require.Equal(t, 3, r.raft.proposals(), "the claim, the batch and the opening")
		time.Sleep(r.cfg.ProposalTimeout + 10*roundTrip)
		require.Equal(t, 4, r.raft.proposals(), "the next claim is behind both")
		release()
		require.NoError(t, <-opened)
		require.Equal(t, []string{"5/0:outcome_unknown"}, a.got())
		require.Equal(t, []span{{0, 1, 0, 1}}, readLog(t, r.m)[5])

		r.send(t, a, 5, 1) // refused at its first proposal
		time.Sleep(5 * roundTrip)
		require.Equal(t, "5/1:producer_fenced", a.got()[1])
	})
}

func TestLeadershipLostAnswersAtOnce(t *testing.T) {
	within(t, nil, func(c *Config) { c.MaxProposals = 1 }, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		defer release()
		r.send(t, a, 5, 0)
		synctest.Wait()
		r.send(t, a, 5, 1)
		ack := make(chan error, 1)
		r.CursorAck("s", 1, 1, func(_ protocol.Offset, err error) { ack <- err })
		begun := time.Now()
		r.raft.lead(other)
		synctest.Wait()
		require.Zero(t, time.Since(begun))
		require.Equal(t, []string{"5/0:outcome_unknown", "5/1:not_leader"}, a.got())
		require.ErrorIs(t, <-ack, protocol.ErrNotLeader)
		require.Equal(t, []protocol.Epoch{1, 0}, r.noted())

		raw, h := makeBatch(t, 5, 2, 1, 1)
		err := r.Append(t.Context(), raw, h, nil)
		var pe *protocol.Error
		require.ErrorAs(t, err, &pe)
		require.Equal(t, protocol.CodeNotLeader, pe.Code)
		require.Equal(t, other, pe.Leader)
	})
}

// TestTermSkipped is interleaving 3: only the second of our own terms is heard of.
func TestTermSkipped(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		_, lost, _ := r.Leading()
		r.raft.script(deposeMany)
		r.send(t, a, 5, 0)
		time.Sleep(20 * roundTrip)
		<-lost
		require.Equal(t, []string{"5/0:outcome_unknown"}, a.got())
		require.Equal(t, []protocol.Epoch{1, 0, 3}, r.noted())
		r.send(t, a, 5, 0)
		time.Sleep(5 * roundTrip)
		require.Equal(t, []string{"5/0:outcome_unknown", "5/0:0"}, a.got())
	})
}

func TestQuorumLost(t *testing.T) {
	within(t, nil, func(c *Config) { c.MaxProposals = 1 }, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		r.send(t, a, 5, 0)
		synctest.Wait()
		r.send(t, a, 5, 1)
		r.SetQuorum(false)
		r.SetQuorum(false)
		synctest.Wait()
		require.Equal(t, []string{"5/0:outcome_unknown", "5/1:no_quorum"}, a.got())
		raw, h := makeBatch(t, 5, 2, 1, 1)
		require.ErrorIs(t, r.Append(t.Context(), raw, h, nil), protocol.ErrNoQuorum)
		_, _, err := r.OpenProducer(t.Context(), 9, 0)
		require.ErrorIs(t, err, protocol.ErrNoQuorum)
		_, _, leading := r.Leading()
		require.True(t, leading, "reads go on")

		release()
		r.SetQuorum(true)
		synctest.Wait()
		r.send(t, a, 5, 0)
		r.send(t, a, 5, 1)
		time.Sleep(10 * roundTrip)
		require.Equal(t, []string{"5/0:0 dup", "5/1:1"}, a.got()[2:])
		require.Equal(t, []protocol.Epoch{1, 2}, r.noted())
	})
}

func TestDiskReserve(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		r.SetDiskReserve(true)
		raw, h := makeBatch(t, 5, 0, 1, 1)
		err := r.Append(t.Context(), raw, h, nil)
		require.ErrorIs(t, err, protocol.ErrDiskReserve)
		_, err = r.CursorOpen(t.Context(), "s", 0)
		require.NoError(t, err)
		r.SetDiskReserve(false)
		r.send(t, a, 5, 0)
		time.Sleep(5 * roundTrip)
		require.Equal(t, []string{"5/0:0"}, a.got())
	})
}

func TestBackPressure(t *testing.T) {
	within(t, nil, func(c *Config) { c.MaxPendingBytes = 2000 }, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		n := 0
		for ; n < 100; n++ {
			raw, h := makeBatch(t, 5, protocol.Sequence(n), 1, 100)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := r.Append(ctx, raw, h, a.done("x"))
			cancel()
			if err != nil {
				require.ErrorIs(t, err, protocol.ErrTimeout)
				break
			}
		}
		require.Equal(t, 2000/(100+80+8+opOverhead), n)
		go r.send(t, a, 5, n) // waits for space, and gets it
		synctest.Wait()
		release()
		time.Sleep(10 * roundTrip)
		require.Len(t, a.got(), n+1)

		giant, h := makeBatch(t, 6, 0, 1, 5000) // greater than the bound: alone
		require.NoError(t, r.Append(t.Context(), giant, h, a.done("g")))
		time.Sleep(10 * roundTrip)
		require.Len(t, a.got(), n+2)
	})
}

// TestBlockedAppendLearnsOfTheLoss: who waits for space must not wait for a leadership that is gone.
func TestBlockedAppendLearnsOfTheLoss(t *testing.T) {
	within(t, nil, func(c *Config) { c.MaxPendingBytes = 600 }, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		defer r.raft.block()()
		r.send(t, a, 5, 0)
		raw, h := makeBatch(t, 5, 1, 1, 100)
		errs := make(chan error, 1)
		go func() { errs <- r.Append(context.Background(), raw, h, nil) }()
		synctest.Wait()
		r.raft.lead(other)
		require.ErrorIs(t, <-errs, protocol.ErrNotLeader)
	})
}

// TestNothingHangs: when every proposal is swallowed, all is answered within the bound of Inv5.
func TestNothingHangs(t *testing.T) {
	swallow := make([]fault, 1000)
	for i := range swallow {
		swallow[i] = vanish
	}
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		r.raft.script(swallow...)
		r.send(t, a, 5, 0)
		begun := time.Now()
		for len(a.got()) == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, []string{"5/0:outcome_unknown"}, a.got())
		require.LessOrEqual(t, time.Since(begun), 21*time.Second)

		r.raft.script() // and it recovers
		time.Sleep(6 * time.Second)
		r.send(t, a, 5, 0)
		time.Sleep(5 * roundTrip)
		require.Len(t, a.got(), 2)
	})
}

// TestRefusedForLong: Raft refuses everything; nothing is known to be proposed, and the answer says so.
func TestRefusedForLong(t *testing.T) {
	busy := make([]fault, 100_000)
	for i := range busy {
		busy[i] = refuse
	}
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		r.raft.script(busy...)
		r.send(t, a, 5, 0)
		time.Sleep(21 * time.Second)
		require.Equal(t, []string{"5/0:unavailable"}, a.got())
	})
}

func TestCloseAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, a := newRig(t, nil, nil), &acks{}
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		r.send(t, a, 5, 0)
		synctest.Wait()
		r.Close()
		require.Equal(t, []string{"5/0:outcome_unknown"}, a.got())
		r.Close()
		raw, h := makeBatch(t, 5, 1, 1, 1)
		require.ErrorIs(t, r.Append(t.Context(), raw, h, nil), protocol.ErrUnavailable)
		r.raft.elect() // news after Close
		release()
		r.stop()
	})
}

func TestOpenProducer(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		_, _, err := r.OpenProducer(t.Context(), 5, 0)
		require.ErrorIs(t, err, protocol.ErrNotLeader)
		r.raft.elect()
		seq, epoch, err := r.OpenProducer(t.Context(), 5, 3) // waits for the epoch, then proposes
		require.NoError(t, err)
		require.EqualValues(t, 0, seq)
		require.EqualValues(t, 1, epoch)
		n := r.raft.proposals()
		_, _, err = r.OpenProducer(t.Context(), 5, 3) // known
		require.NoError(t, err)
		require.Equal(t, n, r.raft.proposals())
		_, _, err = r.OpenProducer(t.Context(), 5, 2)
		require.ErrorIs(t, err, protocol.ErrProducerFenced)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		defer r.raft.block()()
		_, _, err = r.OpenProducer(ctx, 6, 0)
		require.ErrorIs(t, err, protocol.ErrTimeout)
	})
}

func TestCursors(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		for n := range 10 {
			r.send(t, a, 5, n)
		}
		c, err := r.CursorOpen(t.Context(), "s", 0)
		require.NoError(t, err)
		require.Zero(t, c)
		c, err = r.CursorActivate(t.Context(), "s")
		require.NoError(t, err)
		require.EqualValues(t, 1, c.Activation)
		committed := make(chan protocol.Offset, 1)
		r.CursorAck("s", 1, 4, func(o protocol.Offset, err error) { committed <- o; require.NoError(t, err) })
		c, err = r.CursorActivate(t.Context(), "s")
		require.NoError(t, err)
		require.EqualValues(t, 4, c.Offset, "the ack was proposed before")
		require.EqualValues(t, 4, <-committed)
		stale := make(chan error, 1)
		r.CursorAck("s", 1, 5, func(_ protocol.Offset, err error) { stale <- err })
		_, err = r.CursorOpen(t.Context(), "s", 0)
		require.NoError(t, err)
		time.Sleep(5 * roundTrip)
		require.ErrorIs(t, <-stale, protocol.ErrStaleActivation)
		require.NoError(t, r.CursorDelete(t.Context(), "s"))
		_, ok := r.FSM().Cursor("s")
		require.False(t, ok)
		start, err := r.SetStart(t.Context(), 3)
		require.NoError(t, err)
		require.EqualValues(t, 3, start)
	})
}

func TestControlsAreBounded(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		time.Sleep(5 * roundTrip)
		release := r.raft.block()
		answers := make(chan error, maxControls+10)
		for range maxControls + 10 {
			r.CursorAck("none", 1, 1, func(_ protocol.Offset, err error) { answers <- err })
		}
		require.Len(t, answers, 10)
		for range 10 {
			require.ErrorIs(t, <-answers, protocol.ErrOverloaded)
		}
		release()
		time.Sleep(50 * roundTrip)
		require.Len(t, answers, maxControls)
	})
}

func TestStaleNews(t *testing.T) {
	within(t, nil, nil, func(t *testing.T, r *rig, a *acks) {
		r.raft.elect()
		r.raft.elect() // term 2 before the claim of term 1 is decided
		r.raft.part.Leadership(raftnode.Leadership{Shard: testShard, Term: 1, Leader: other})
		time.Sleep(10 * roundTrip)
		require.Equal(t, uint64(2), r.Status().Term)
		require.True(t, r.Status().Leading)
		r.send(t, a, 5, 0)
		time.Sleep(5 * roundTrip)
		require.Equal(t, []string{"5/0:0"}, a.got())
	})
}
