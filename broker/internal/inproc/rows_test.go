package inproc

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/lni/dragonboat/v4/raftpb"
	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
)

// TestRow03KilledAtOnce kills all brokers at once, again and again.
func TestRow03KilledAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, options{})
	c.allEnd(func(int) ending { return killed })
}

// TestRow06PowerCutAtOnce takes the power from all brokers at once, again and again.
func TestRow06PowerCutAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 6, options{compactEntries: 100})
	c.allEnd(func(i int) ending { return powerCut(c.seed + uint64(i)) })
}

func (c *cluster) allEnd(how func(int) ending) {
	u := c.publish(100)
	for i := range 6 {
		u.progress(40)
		c.pause(0, 20*time.Millisecond)
		var left []remains
		for j, id := range brokers {
			left = append(left, c.end(id, how(i*len(brokers)+j)))
		}
		for j, id := range brokers {
			c.start(id, left[j])
		}
	}
	u.progress(40)
	c.check(u)
}

// TestLostSyncsAreFound gives all brokers an older disk, as if their syncs had been for nothing: the checks must see it.
func TestLostSyncsAreFound(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, options{})
	c.leader()
	c.settle()
	old := map[protocol.BrokerID]*storefs.Mem{}
	for _, id := range brokers {
		old[id] = c.life(id).has.disk.CrashClone(nil)
	}
	u := c.publish(100)
	u.progress(100)
	u.finish()
	for _, id := range brokers {
		c.end(id, killed)
	}
	for _, id := range brokers {
		c.start(id, remains{old[id], t.TempDir()})
	}
	c.settle()
	require.Contains(t, c.findings(u)[0], "is lost (I1)")
}

// TestRow08StoppedLeader stops the leader in the middle of its work, until another one has begun an epoch and acknowledged, and
// lets it go on: what it says then of its own epoch must be true in the new one.
func TestRow08StoppedLeader(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 8, options{})
	u := c.publish(100)
	for range 4 {
		u.progress(40)
		old := c.leader()
		epoch, _ := old.m.Leader()
		both := append(c.net.into(old.id), c.net.outOf(old.id)...)
		c.net.set(weather{hold: true}, both...)
		old.held.close()
		c.eventually("nobody takes over from a stopped leader", func() bool { return c.serving(old.id) != nil })
		u.progress(40)
		pending := old.p.Status().Pending
		c.net.set(weather{}, both...)
		old.held.open()
		c.eventually("a woken leader learns nothing of its successor", func() bool {
			now, _ := old.m.Leader()
			return now > epoch && old.p.Status().Pending == 0
		})
		t.Logf("broker %d woke with %d operations of epoch %d", old.id, pending, epoch)
	}
	u.progress(40)
	c.check(u)
}

// TestRow11OneWay makes the leader deaf and then mute.
func TestRow11OneWay(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 11, options{})
	u := c.publish(100)
	for i := range 4 {
		u.progress(40)
		old := c.leader()
		links := c.net.into(old.id)
		if i%2 == 1 {
			links = c.net.outOf(old.id)
		}
		before := c.net.lost(links)
		term := old.p.Status().Term
		c.net.set(weather{cut: true}, links...)
		c.eventually("nobody takes over from a leader that is deaf or mute", func() bool { return c.serving(old.id) != nil })
		u.progress(40)
		require.Greater(t, c.net.lost(links), before)
		c.net.set(weather{}, links...)
		t.Logf("%d terms later", c.leader().p.Status().Term-term)
	}
	u.progress(40)
	c.check(u)
}

// TestWeather publishes while every link loses, delays and stands still as the seed says, and brokers are killed.
func TestWeather(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 13, options{compactEntries: 200})
	u := c.publish(100)
	for i := range 12 {
		for _, d := range c.net.all() {
			w := weather{loss: c.random.Float64() * 0.1, jitter: time.Duration(1 + c.random.IntN(10e6))}
			w.hold = c.random.IntN(6) == 0
			c.net.set(w, d)
		}
		if i%4 == 3 {
			c.again(brokers[c.random.IntN(3)], powerCut(c.random.Uint64()))
		}
		c.pause(50*time.Millisecond, 200*time.Millisecond)
	}
	require.Positive(t, c.net.lost(c.net.all()))
	c.net.set(weather{}, c.net.all()...)
	u.progress(100)
	c.check(u)
}

// TestHandOverOfFarBrokers: one that nobody has asked for does not begin where publishers would wait for it longer than they may, and one
// that was asked for succeeds however far the target is.
func TestHandOverOfFarBrokers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 40, options{tick: 100 * time.Millisecond})
	u := c.publish(100)
	u.progress(40)
	old, to := c.leader(), c.follower().id
	term := old.p.Status().Term
	c.net.set(weather{delay: 300 * time.Millisecond}, c.net.all()...)

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	before := u.acknowledged()
	require.Error(t, old.p.Transfer(ctx, to, 400*time.Millisecond))
	require.Equal(t, term, old.p.Status().Term, "nobody was told to stand")
	require.Greater(t, u.acknowledged(), before, "and nobody waited")

	require.NoError(t, old.p.Transfer(t.Context(), to, 0))
	require.Equal(t, to, c.leader().id)
	require.Equal(t, term+1, c.leader().p.Status().Term, "nobody else stood")
	c.net.set(weather{}, c.net.all()...)
	u.progress(40)
	c.check(u)
}

// TestRow26Lagging keeps a follower away until the Raft log that it needs is compacted, so that it must be sent a snapshot, and
// kills the sender in the middle of that and the receiver before it installs it.
func TestRow26Lagging(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 26, options{segmentBytes: 256 << 10})
	const kills = 2
	var killedSenders, installs atomic.Int32
	c.onChunk = func(l *life, chunk pb.Chunk) {
		if chunk.ChunkId == 1 && killedSenders.Load() < kills {
			killedSenders.Add(1)
			l.end(killed, nil)
		}
	}
	u := c.publish(8 << 10)
	u.progress(30)
	away := c.follower().id
	left := c.end(away, killed)
	u.progress(160) // more than one piece of a snapshot
	for _, l := range c.running() {
		require.NoError(t, l.node.Compact(t.Context(), shard, l.m.Applied()))
	}
	watch := func(l *life) {
		l.spy.Store(&spy{point: func(l *life, name string) {
			switch {
			case name == "beforeInstall" && installs.Add(1) == 1:
				l.end(killed, nil)
			case name == "afterInstall":
				installs.Add(1)
			}
		}})
	}
	watch(c.start(away, left))
	c.eventually("no snapshot is installed", func() bool {
		for _, id := range brokers {
			if l := c.life(id); l.dead.Load() {
				l = c.start(id, c.bury(l))
				if id == away {
					watch(l)
				}
			}
		}
		return installs.Load() >= 3
	})
	require.EqualValues(t, kills, killedSenders.Load())
	u.progress(40)
	c.check(u)
}

// TestRow36Clocks sets the leader's wall clock an hour ahead and back, with a retention of half an hour: order and offsets do not
// follow it, and nothing goes that is younger than that by the leader's time.
func TestRow36Clocks(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 36, options{segmentBytes: 8 << 10, retain: 30 * time.Minute})
	u := c.publish(100)
	u.progress(150)
	start := func() protocol.Offset { s, _ := c.leader().m.Bounds(); return s }
	require.Zero(t, start(), "everything is young")
	lead := c.leader()
	c.clocks[lead.id].off.Store(-int64(time.Hour))
	u.progress(150)
	require.Zero(t, start(), "everything is younger than the leader's clock")
	c.clocks[lead.id].off.Store(int64(time.Hour))
	c.eventually("nothing is dropped by the leader's time", func() bool { return start() > 0 })
	u.progress(150)
	c.clocks[lead.id].off.Store(0)
	kept := start() // from now on everything is stamped an hour ahead: append times never fall
	c.again(lead.id, killed)
	u.progress(150)
	require.Equal(t, kept, start(), "what is stamped ahead of the clock is young")
	c.check(u)
}
