package feed_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/feed"
	"github.com/trunkline/trunkline/broker/internal/feed/feedtest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

const settle = 25 * time.Millisecond // a little more than the default

func TestConsumerIsActivatedAtTheCursor(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(10, 10, 100)
		a := join(t, m, p, openSub("a"))
		require.Equal(t, wire.ConsumeOpenOK{Epoch: 1, Next: 100}, a.ok)
		require.False(t, a.look().active, "before it settled")
		time.Sleep(settle)
		got := a.look()
		require.True(t, got.active)
		require.EqualValues(t, 100, got.next)
		require.NoError(t, a.ack(45))
		time.Sleep(60 * time.Millisecond)
		require.EqualValues(t, 45, a.look().ackOK.Offset)
		a.hangUp()

		again := join(t, m, p, openSub("a"))
		require.EqualValues(t, 45, again.ok.From)
		time.Sleep(settle)
		got = again.look()
		require.EqualValues(t, 45, got.from)
		require.EqualValues(t, 100, got.next)
		p.Fill(1, 5, 10)
		require.EqualValues(t, 105, again.look().next, "woken by an append")
	})
}

func TestHandoverIsCooperative(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		owner, other := ownerOf(1, "a", "b")
		p.Fill(10, 10, 100)
		old := join(t, m, p, openSub(other))
		time.Sleep(settle)
		require.True(t, old.look().active)

		fresh := join(t, m, p, openSub(owner))
		require.Equal(t, "revoke", last(old.look().log))
		time.Sleep(500 * time.Millisecond)
		require.True(t, old.look().active, "within the grace")
		require.False(t, fresh.look().active)
		require.NoError(t, old.ack(70))
		require.NoError(t, old.c.Release(old.look().activation))

		got := old.look()
		require.False(t, got.active)
		require.EqualValues(t, 70, got.ackOK.Offset)
		require.ErrorIs(t, old.ack(80), protocol.ErrStaleActivation)
		won := fresh.look()
		require.True(t, won.active)
		require.EqualValues(t, 70, won.from, "acknowledged before the release")
		require.Greater(t, won.activation, got.activation)
		active, all := m.View(tp, "sub")
		require.Equal(t, owner, active)
		require.Equal(t, []string{"a", "b"}, all)
	})
}

func TestGraceIsBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		owner, other := ownerOf(1, "a", "b")
		p.Fill(10, 10, 100)
		slow := openSub(other)
		slow.GraceMillis = 3_600_000
		old := join(t, m, p, slow)
		time.Sleep(settle)
		fresh := join(t, m, p, openSub(owner))
		time.Sleep(900 * time.Millisecond)
		require.NoError(t, old.ack(30))
		require.False(t, fresh.look().active)
		time.Sleep(101 * time.Millisecond)
		require.True(t, fresh.look().active, "the cap of one second")
		require.EqualValues(t, 30, fresh.look().from)
		require.False(t, old.look().active)
		require.ErrorIs(t, old.ack(50), protocol.ErrStaleActivation)
		c, _ := p.Cursor("sub")
		require.EqualValues(t, 30, c.Offset)
	})
}

func TestDeadConsumerIsReplacedAtOnce(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		owner, other := ownerOf(1, "a", "b")
		p.Fill(1, 10, 10)
		x, y := join(t, m, p, openSub(owner)), join(t, m, p, openSub(other))
		time.Sleep(settle)
		require.True(t, x.look().active)
		require.False(t, y.look().active)
		require.NoError(t, x.ack(4))
		began := time.Now()
		x.hangUp()
		require.True(t, y.look().active)
		require.Zero(t, time.Since(began))
		require.EqualValues(t, 4, y.look().from, "what arrived before the end counts")
	})
}

func TestAcksAreCoalesced(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(50, 100, 10)
		a := join(t, m, p, openSub("a"))
		time.Sleep(time.Second)
		for o := protocol.Offset(1); o <= 900; o++ {
			require.NoError(t, a.ack(o))
			time.Sleep(time.Millisecond)
		}
		time.Sleep(210 * time.Millisecond)
		require.EqualValues(t, 900, a.look().ackOK.Offset)
		require.LessOrEqual(t, p.Acks(), 6, "one in 200 ms")
		require.GreaterOrEqual(t, p.Acks(), 5)
	})
}

func TestCommitDoesNotWait(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(50, 100, 10)
		a := join(t, m, p, openSub("a"))
		time.Sleep(time.Second)
		require.NoError(t, a.ack(1)) // the first for long: at once
		require.EqualValues(t, 1, a.look().ackOK.Offset)
		began := time.Now()
		require.NoError(t, a.ack(3000))
		require.EqualValues(t, 1, a.look().ackOK.Offset, "waits for more")
		require.NoError(t, a.commit(3000))
		require.EqualValues(t, 3000, a.look().ackOK.Offset, "what was acknowledged already")
		require.NoError(t, a.commit(3500))
		require.EqualValues(t, 3500, a.look().ackOK.Offset, "what was not")
		require.Equal(t, 3, p.Acks())
		require.NoError(t, a.commit(3500))
		require.NoError(t, a.commit(7))
		require.NoError(t, a.ack(3600))
		require.EqualValues(t, 3500, a.look().ackOK.Offset)
		require.Equal(t, 3, p.Acks(), "what is committed is not hurried again, nor what comes later")
		require.Zero(t, time.Since(began))
	})
}

func TestFailedAckIsProposedAgain(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		a := join(t, m, p, openSub("a"))
		time.Sleep(settle)
		p.FailWith(func(op string) error {
			if op == "ack" {
				return protocol.Errorf(protocol.CodeNoQuorum, "alone")
			}
			return nil
		})
		require.NoError(t, a.commit(7))
		time.Sleep(time.Second)
		require.LessOrEqual(t, p.Acks(), 6, "one in 200 ms, also when somebody waits")
		require.Zero(t, a.look().ackOK.Offset)
		p.FailWith(func(string) error { return nil })
		time.Sleep(210 * time.Millisecond)
		require.EqualValues(t, 7, a.look().ackOK.Offset)
	})
}

func TestWrongAcksAreRefused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		a := join(t, m, p, openSub("a"))
		require.ErrorIs(t, a.c.Ack(wire.Ack{Activation: 1, Offset: 1}), protocol.ErrStaleActivation, "not active yet")
		time.Sleep(settle)
		require.ErrorIs(t, a.ack(11), protocol.ErrInvalidRequest, "beyond what was delivered")
		require.ErrorIs(t, a.c.Ack(wire.Ack{Activation: 9, Offset: 1}), protocol.ErrStaleActivation)
		r := join(t, m, p, openReader())
		require.Error(t, r.c.Ack(wire.Ack{}))
		require.Error(t, r.c.Release(0))
	})
}

func TestLostLeadershipEndsAllStreams(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		a, b := join(t, m, p, openSub("a")), join(t, m, p, openSub("b"))
		r := join(t, m, p, openReader())
		follower := openReader()
		follower.AnyReplica = true
		any := join(t, m, p, follower)
		time.Sleep(settle)
		p.Lose()
		for _, x := range []*peer{a, b, r} {
			got := x.look()
			require.ErrorIs(t, got.err, protocol.ErrNotLeader)
			require.NotContains(t, got.log, protocol.KindDeactivated.String(), "its turn goes on under the next leader")
		}
		require.NoError(t, any.look().err)
		_, _, err := m.Open(t.Context(), p, openSub("a"))
		require.ErrorIs(t, err, protocol.ErrNotLeader)
		_, _, err = m.Open(t.Context(), p, openReader())
		require.ErrorIs(t, err, protocol.ErrNotLeader)
		active, all := m.View(tp, "sub")
		require.Empty(t, active)
		require.Empty(t, all)
		p.Lead()
		again := join(t, m, p, openSub("a"))
		time.Sleep(settle)
		require.True(t, again.look().active)
		require.EqualValues(t, 2, again.ok.Epoch)
	})
}

func TestReaderOfAClosedReplicaEnds(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		o := openReader()
		o.AnyReplica = true
		r := join(t, m, p, o)
		require.EqualValues(t, 10, r.look().next)
		p.Close()
		require.ErrorIs(t, r.look().err, protocol.ErrUnavailable)
	})
}

func TestNewStreamOfTheSameConsumerReplacesTheOld(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		old := join(t, m, p, openSub("a"))
		time.Sleep(settle)
		require.NoError(t, old.ack(3))
		fresh := join(t, m, p, openSub("a"))
		require.ErrorIs(t, old.look().err, protocol.ErrStaleActivation)
		require.True(t, fresh.look().active)
		require.EqualValues(t, 3, fresh.look().from)
		old.hangUp()
		require.True(t, fresh.look().active, "the old stream's end does not matter")
	})
}

func TestWithdrawnConsumerIsNotActivatedAgain(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		a := join(t, m, p, openSub("a"))
		time.Sleep(settle)
		require.NoError(t, a.ack(10))
		require.NoError(t, a.c.Release(1))
		got := a.look()
		require.False(t, got.active)
		require.EqualValues(t, 10, got.ackOK.Offset)
		time.Sleep(time.Minute)
		require.False(t, a.look().active)
		a.c.Leave()
		require.ErrorContains(t, a.look().err, "EOF", "in good order")
	})
}

func TestLeavingConsumerHearsThatItsAckIsCommitted(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		p.Fill(1, 10, 10)
		a := join(t, m, p, openSub("a"))
		time.Sleep(settle)
		require.NoError(t, a.ack(5)) // proposed at once
		require.NoError(t, a.ack(9)) // waits for 50 ms
		a.c.Leave()
		got := a.look()
		require.EqualValues(t, 9, got.ackOK.Offset)
		require.ErrorContains(t, got.err, "EOF")
	})
}

func TestActivationIsTriedAgain(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		failActivate := func(err error) {
			p.FailWith(func(op string) error {
				if op == "activate" {
					return err
				}
				return nil
			})
		}
		failActivate(errors.New("broken"))
		a := join(t, m, p, openSub("a"))
		time.Sleep(time.Second)
		require.False(t, a.look().active)
		failActivate(protocol.Errorf(protocol.CodeNoQuorum, "alone"))
		time.Sleep(time.Second)
		require.NoError(t, a.look().err)
		failActivate(nil)
		time.Sleep(110 * time.Millisecond)
		require.True(t, a.look().active)

		failActivate(protocol.Errorf(protocol.CodeNotFound, "deleted"))
		a.hangUp()
		b := join(t, m, p, openSub("b"))
		time.Sleep(settle)
		require.ErrorIs(t, b.look().err, protocol.ErrNotFound)
	})
}

func TestConsumerThatLeavesDuringItsActivation(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		owner, other := ownerOf(1, "a", "b")
		release := p.HoldActivate()
		x, y := join(t, m, p, openSub(owner)), join(t, m, p, openSub(other))
		time.Sleep(settle)
		x.hangUp()
		release()
		got := y.look()
		require.True(t, got.active)
		require.EqualValues(t, 2, got.activation, "the first one was nobody's")
	})
}

func TestTooManyConsumers(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		for i := range 256 {
			join(t, m, p, openSub(fmt.Sprint("c", i)))
		}
		_, _, err := m.Open(t.Context(), p, openSub("one-more"))
		require.ErrorContains(t, err, "limit_exceeded")
	})
}

func TestMorePartitionsMoveTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		partitions := 1
		m := feed.New(feed.Config{Partitions: func(protocol.TopicID) int { return partitions }})
		t.Cleanup(m.Close)
		p := feedtest.New()
		const many = 8
		var names []string
		before, after := "", ""
		for i := 0; before == after; i++ {
			names = []string{fmt.Sprint("a", i), fmt.Sprint("b", i)}
			before, _ = ownerOf(1, names...)
			after, _ = ownerOf(many, names...)
		}
		peers := map[string]*peer{names[0]: join(t, m, p, openSub(names[0])), names[1]: join(t, m, p, openSub(names[1]))}
		time.Sleep(settle)
		require.True(t, peers[before].look().active)
		partitions = many
		m.Reassign()
		require.Equal(t, "revoke", last(peers[before].look().log))
	})
}

func TestCloseEndsAllStreams(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		a := join(t, m, p, openSub("a"))
		time.Sleep(settle)
		m.Close()
		got := a.look()
		require.ErrorIs(t, got.err, protocol.ErrShuttingDown)
		require.NotContains(t, got.log, protocol.KindDeactivated.String(), "its turn goes on under the next leader")
		_, _, err := m.Open(t.Context(), p, openSub("b"))
		require.ErrorIs(t, err, protocol.ErrShuttingDown)
		m.Close()
	})
}

// TestRandomHistories lets consumers come, go, die, acknowledge and release at random and checks that no two
// of them are ever active, that the cursor never goes back, and that in the end the right one is active.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(60) {
		bubble(t, 3, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			peers := map[string]*peer{}
			var cursor protocol.Offset
			p.Fill(5, 10, 10)
			for range 150 {
				name := string(rune('a' + rnd.IntN(4)))
				x := peers[name]
				switch op := rnd.IntN(10); {
				case op == 0 && x != nil:
					x.hangUp()
					delete(peers, name)
				case op <= 2 && x == nil:
					peers[name] = join(t, m, p, openSub(name))
				case op == 3:
					p.Fill(1, 10, 10)
				case op <= 7 && x != nil:
					if got := x.look(); got.active && got.next > got.from {
						to := got.from + protocol.Offset(rnd.Uint64N(uint64(got.next-got.from)))
						require.NoError(t, x.ack(to), "seed %d", seed)
					}
				case op == 8 && x != nil:
					if got := x.look(); got.active && last(got.log) == "revoke" {
						require.NoError(t, x.c.Release(got.activation))
					}
				default:
					time.Sleep(time.Duration(rnd.IntN(400)) * time.Millisecond)
				}
				active := 0
				for _, y := range peers {
					if y.look().active {
						active++
					}
				}
				require.LessOrEqual(t, active, 1, "seed %d", seed)
				c, _ := p.Cursor("sub")
				require.GreaterOrEqual(t, c.Offset, cursor, "seed %d", seed)
				cursor = c.Offset
			}
			time.Sleep(2 * time.Second)
			checkOwner(t, peers)
		})
	}
}

func checkOwner(t *testing.T, peers map[string]*peer) {
	var names []string
	for _, n := range []string{"a", "b", "c", "d"} {
		if peers[n] != nil {
			names = append(names, n)
		}
	}
	for i, n := range names {
		should := feed.Assign(tp.Topic, "sub", 3, names)[tp.Partition] == i
		got := peers[n].look()
		require.Equal(t, should, got.active, "%s of %v: %v %v", n, names, got.log, got.err)
	}
}

// slowOpener is a partition whose answer about the leadership is taken at once and reaches its caller late.
type slowOpener struct {
	*feedtest.Partition
	asked, release chan struct{}
}

func (p slowOpener) Leading() (protocol.Epoch, <-chan struct{}, bool) {
	epoch, lost, ok := p.Partition.Leading()
	close(p.asked)
	<-p.release
	return epoch, lost, ok
}

// TestLateJoinerOfAnOlderLeadership must not take the place of the group of the current one: two groups of one
// leadership would have two active consumers.
func TestLateJoinerOfAnOlderLeadership(t *testing.T) {
	bubble(t, 1, func(t *testing.T, m *feed.Manager, p *feedtest.Partition) {
		_, err := p.CursorOpen(t.Context(), "sub", 0)
		require.NoError(t, err)
		slow := slowOpener{p, make(chan struct{}), make(chan struct{})}
		late := make(chan error)
		go func() {
			_, _, err := m.Open(t.Context(), slow, openSub("late"))
			late <- err
		}()
		<-slow.asked
		p.Lose()
		p.Lead()
		a := join(t, m, p, openSub("a"))
		time.Sleep(settle)
		require.True(t, a.look().active)
		close(slow.release)
		require.ErrorIs(t, <-late, protocol.ErrNotLeader)
		synctest.Wait()

		b := join(t, m, p, openSub("b"))
		time.Sleep(2 * time.Second)
		active, all := m.View(tp, "sub")
		require.Equal(t, []string{"a", "b"}, all)
		require.Equal(t, active == "a", a.look().active)
		require.Equal(t, active == "b", b.look().active)
	})
}

func last(log []string) string {
	if len(log) == 0 {
		return ""
	}
	return log[len(log)-1]
}
