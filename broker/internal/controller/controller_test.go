package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/liveness"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/broker/internal/storefs"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// rig is broker 1 with fakes around it.
type rig struct {
	t    require.TestingT
	mem  *storefs.Mem
	meta *fakeMeta
	host *fakeHost
	c    *Controller

	fuse atomic.Int64 // operations on the disk until the power fails; see blown

	mu    sync.Mutex
	sent  [][]byte // guarded by mu
	fatal error    // guarded by mu
}

// always is a fuse that never blows.
const always = 1 << 40

var errPower = errors.New("the power failed")

// blown fails every operation once the fuse is used up, as if the process had died there.
func (r *rig) blown() error {
	if r.fuse.Add(-1) < 0 {
		return errPower
	}
	return nil
}

func newRig(t require.TestingT) *rig {
	r := &rig{t: t, mem: storefs.NewMem(), meta: newFakeMeta(nil)}
	r.fuse.Store(always)
	r.host = newFakeHost(r)
	return r
}

func (r *rig) disk() storefs.FS {
	return storefs.Faulty(r.mem, func(storefs.Op, string) error { return r.blown() })
}

func (r *rig) config() Config {
	cfg := Config{
		Self: 1, Dir: "/partitions", Meta: r.meta.service, Leaders: r.meta.service.Leaders(), FS: r.disk(),
		Founders: []protocol.BrokerID{1, 2, 3},
		Broadcast: func(b []byte) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sent = append(r.sent, b)
		},
		OnFatal: func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.fatal = err
		},
	}
	cfg.DirID[0] = 1
	return cfg
}

func (r *rig) start(cfg Config) {
	c, err := newController(cfg)
	require.NoError(r.t, err)
	c.host = r.host
	r.c = c
	require.NoError(r.t, c.Start(context.Background()))
	synctest.Wait()
}

// restart continues as a new process: with the disk as after a power cut if cut is not nil, and with metadata that
// has replayed n entries of its log.
func (r *rig) restart(cut *rand.Rand, n int) {
	r.c.Close()
	if cut != nil {
		r.mem = r.mem.CrashClone(cut)
	}
	r.fuse.Store(always)
	r.fatal = nil
	r.host = r.host.reboot(r)
	r.meta = newFakeMeta(r.meta.log)
	r.meta.replay(n)
	r.start(r.config())
}

func (r *rig) announced() []wire.Leader {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []wire.Leader
	for _, b := range r.sent {
		ls, err := meta.DecodeLeaders(b)
		require.NoError(r.t, err)
		out = append(out, ls...)
	}
	r.sent = nil
	return out
}

func (r *rig) running() []uint64 {
	r.host.mu.Lock()
	defer r.host.mu.Unlock()
	var out []uint64
	for s := range r.host.runs {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// placed returns the shards that the newest image places on broker 1.
func (r *rig) placed() []uint64 {
	var out []uint64
	for _, t := range r.meta.service.Image().Topics() {
		for i := range t.Partitions {
			if _, _, ok := t.Partitions[i].Placed(1); ok {
				out = append(out, t.Partitions[i].Shard)
			}
		}
	}
	slices.Sort(out)
	return out
}

// tidy checks that exactly what the metadata places here runs and is on disk.
func (r *rig) tidy() {
	r.mu.Lock()
	fatal := r.fatal
	r.mu.Unlock()
	require.NoError(r.t, fatal)
	require.Empty(r.t, r.host.wrong)
	placed := r.placed()
	require.Equal(r.t, placed, r.running())
	require.Equal(r.t, placed, slices.Sorted(maps.Keys(r.host.stored())))
	found, err := r.c.dirs.scan()
	require.NoError(r.t, err)
	require.Len(r.t, found, len(placed), "%v", found)
	for _, s := range placed {
		require.Equal(r.t, onDisk{dir: true}, found[s])
	}
	require.True(r.t, r.c.Ready())
}

func TestControllerFollowsTheMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start(r.config())
		require.False(t, r.c.Ready(), "metadata is not known to be current")
		r.meta.catchUp()
		synctest.Wait()
		require.True(t, r.c.Ready())
		r.meta.register(4)
		orders := r.meta.create("orders", 8, 3)
		r.meta.create("logs", 3, 1)
		synctest.Wait()
		r.tidy()
		n, leading := r.c.Counts()
		require.Equal(t, len(r.placed()), n)
		require.Zero(t, leading)
		require.Len(t, r.c.All(), n)
		for i := range orders.Partitions {
			_, here := orders.Partitions[i].On(1)
			_, ok := r.c.Get(protocol.TopicPartition{Topic: orders.ID, Partition: protocol.Partition(i)})
			require.Equal(t, here, ok)
		}
		replica := r.host.replica(r.placed()[0])
		require.Contains(t, replica.spec.brokers(), protocol.BrokerID(1))

		_, err := r.meta.service.AlterTopic(t.Context(), wire.AlterTopic{Name: "orders", Partitions: ptr(uint32(12))})
		require.NoError(t, err)
		synctest.Wait()
		r.tidy()
		r.meta.delete("orders")
		synctest.Wait()
		r.tidy()
		_, ok := r.c.Get(protocol.TopicPartition{Topic: orders.ID})
		require.False(t, ok)
		again := r.meta.create("orders", 8, 3)
		require.NotEqual(t, orders.ID, again.ID)
		synctest.Wait()
		r.tidy()
		r.c.Close()
		r.c.Close()
		require.Empty(t, r.running())
		require.Error(t, r.c.Start(t.Context()))
	})
}

func ptr[T any](v T) *T { return &v }

func TestControllerAppliesConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(1)
		topic := r.meta.create("a", 1, 1)
		shard := topic.Partitions[0].Shard
		r.host.hold = make(chan struct{})
		r.start(r.config())
		for _, ms := range []uint64{5, 9, 0, 7, 0} { // the first while the replica starts
			_, err := r.meta.service.AlterTopic(t.Context(), wire.AlterTopic{Name: "a", RetentionMillis: ptr(ms)})
			require.NoError(t, err)
			synctest.Wait()
			if ms == 5 {
				close(r.host.hold)
				synctest.Wait()
			}
			require.Equal(t, ms, r.host.replica(shard).config.RetentionMillis)
		}
		r.c.Close()
	})
}

// Many replicas start side by side, but no more than the bound.
func TestControllerStartsInParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(1)
		r.meta.create("a", 200, 1)
		r.host.hold = make(chan struct{})
		cfg := r.config()
		cfg.Parallel = 7
		r.start(cfg)
		r.host.mu.Lock()
		require.Equal(t, 7, r.host.working)
		r.host.mu.Unlock()
		require.False(t, r.c.Ready())
		close(r.host.hold)
		synctest.Wait()
		r.tidy()
		require.Len(t, r.running(), 200)
		r.c.Close()
	})
}

// A topic deleted while its replicas start, or wait for their turn, leaves nothing.
func TestControllerDeletesWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(1)
		r.meta.create("a", 20, 1)
		r.host.hold = make(chan struct{})
		cfg := r.config()
		cfg.Parallel = 2
		r.start(cfg)
		r.meta.delete("a")
		synctest.Wait()
		close(r.host.hold)
		synctest.Wait()
		r.tidy()
		require.Empty(t, r.running())
		r.c.Close()
	})
}

func TestControllerRetriesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(1)
		shard := r.meta.create("a", 2, 1).Partitions[1].Shard
		r.host.fail[shard] = errors.New("disk on fire")
		reg := prometheus.NewRegistry()
		cfg := r.config()
		cfg.Registerer = reg
		r.start(cfg)
		time.Sleep(5 * time.Second)
		require.False(t, r.c.Ready())
		require.Len(t, r.running(), 1)
		r.host.mu.Lock()
		delete(r.host.fail, shard)
		r.host.mu.Unlock()
		time.Sleep(2 * retryMax)
		r.tidy()
		families, err := reg.Gather()
		require.NoError(t, err)
		require.NotEmpty(t, families)

		r.host.mu.Lock()
		r.host.fail[shard] = errors.New("busy") // the removal
		r.host.mu.Unlock()
		r.meta.delete("a")
		time.Sleep(time.Second)
		r.host.mu.Lock()
		delete(r.host.fail, shard)
		r.host.mu.Unlock()
		time.Sleep(2 * retryMax)
		r.tidy()
		r.c.Close()
	})
}

// After a restart replicas whose log is here start at once, from old metadata; new ones wait until it is current.
func TestControllerStartsFromOldMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(1)
		r.meta.create("kept", 2, 1)
		r.meta.create("gone", 2, 1)
		r.start(r.config())
		before := len(r.meta.log)
		r.meta.delete("gone")
		synctest.Wait()
		r.tidy()
		kept := r.running()

		r.restart(nil, before) // an image in which "gone" still exists
		require.Equal(t, kept, r.running(), "only what has a log here is started")
		require.False(t, r.c.Ready())
		r.meta.catchUp()
		synctest.Wait()
		r.tidy()

		r.restart(nil, 0)
		require.Empty(t, r.running())
		require.Equal(t, kept, slices.Sorted(maps.Keys(r.host.stored())), "empty metadata does not delete anything")
		r.meta.catchUp()
		synctest.Wait()
		r.tidy()
		r.c.Close()
	})
}

func TestControllerRemovesLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(1)
		r.meta.create("a", 3, 1)
		r.start(r.config())
		r.c.Close()
		r.meta.delete("a") // while this broker is down
		future := uint64(900)
		require.NoError(t, r.mem.MkdirAll(r.c.dirs.data(future)))
		require.NoError(t, r.mem.MkdirAll("/partitions/notes"))
		r.start(r.config())
		require.Empty(t, r.host.stored())
		found, err := r.c.dirs.scan()
		require.NoError(t, err)
		require.Equal(t, map[uint64]onDisk{future: {dir: true}}, found, "what was never assigned is left alone")
		_, err = r.mem.Stat("/partitions/notes")
		require.NoError(t, err)
		r.c.Close()
	})
}

func TestControllerRefusesBrokenDirectories(t *testing.T) {
	identity := func(c *Controller, s *spec) string { return c.dirs.path(s.shard) + "/identity" }
	cases := map[string]struct {
		damage func(r *rig, s *spec) error
		text   string
	}{
		"directory wiped": {func(r *rig, s *spec) error { return r.mem.RemoveAll(r.c.dirs.path(s.shard)) }, "wiped"},
		"data wiped":      {func(r *rig, s *spec) error { return r.mem.RemoveAll(r.c.dirs.data(s.shard)) }, "its data is gone"},
		"identity damaged": {func(r *rig, s *spec) error {
			f, err := r.mem.Create(identity(r.c, s))
			return errors.Join(err, f.Close())
		}, "cannot be read"},
		"other directory": {func(r *rig, s *spec) error {
			other := *s
			other.tp.Partition, other.shard = 9, 99
			return r.c.dirs.write(identity(r.c, s), r.c.dirs.identity(&other))
		}, "it belongs to"},
		"raft log gone": {func(r *rig, s *spec) error { delete(r.host.logs, s.shard); return nil }, "Raft log is gone"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.meta.catchUp()
				r.meta.register(1)
				r.meta.create("a", 2, 1)
				r.start(r.config())
				shard := r.placed()[0]
				s := r.host.replica(shard).spec
				r.c.Close()
				require.NoError(t, c.damage(r, s))
				r.start(r.config())
				r.mu.Lock()
				defer r.mu.Unlock()
				var broken *BrokenError
				require.ErrorAs(t, r.fatal, &broken)
				require.ErrorContains(t, r.fatal, c.text)
				require.ErrorContains(t, r.fatal, "never used")
				require.False(t, r.c.Ready())
				require.Equal(t, []uint64{r.placed()[1]}, r.running(), "the others run")
				r.c.Close()
			})
		})
	}
}

// Over any history of topics, power cuts, failing disks and restarts on old metadata, nothing deleted comes back,
// nothing kept is lost or called broken, and in the end exactly what the metadata says is there.
func TestControllerSurvivesPowerCuts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		steps := rapid.SliceOfN(rapid.IntRange(0, 6), 1, 25).Draw(rt, "steps")
		w := &witness{}
		synctest.Test(t, func(*testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				powerCuts(w, seed, steps)
			}()
			<-done
		})
		if w.said != "" {
			rt.Fatal(w.said)
		}
	})
}

// witness carries a failure out of a synctest bubble, where rapid's own panic would end the process.
type witness struct{ said string }

func (w *witness) Errorf(format string, args ...any) { w.said += fmt.Sprintf(format, args...) }
func (w *witness) FailNow()                          { runtime.Goexit() }

// moveSomething begins a move of a random partition, or ends the one that is under way.
func (r *rig) moveSomething(rnd *rand.Rand) {
	topics := r.meta.service.Image().Topics()
	if len(topics) == 0 {
		return
	}
	t := topics[rnd.IntN(len(topics))]
	i := rnd.IntN(len(t.Partitions))
	p := &t.Partitions[i]
	if p.Move != nil {
		r.meta.end(p.Move.ID, rnd.IntN(2) == 0)
		return
	}
	add := protocol.BrokerID(1 + rnd.IntN(3))
	if _, there := p.On(add); !there {
		r.meta.move(t, i, add, p.Replicas[rnd.IntN(len(p.Replicas))].Broker)
	}
}

// TestControllerFollowsMoves: a replica comes, goes when its move is finished, and comes back as another one.
func TestControllerFollowsMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		topic := r.meta.create("a", 3, 1)
		away := slices.IndexFunc(topic.Partitions, func(p meta.Partition) bool { _, here := p.On(1); return !here })
		r.start(r.config())
		shard, owner := topic.Partitions[away].Shard, topic.Partitions[away].Replicas[0].Broker

		move := r.meta.move(topic, away, 1, owner)
		synctest.Wait()
		r.tidy()
		first := r.host.replica(shard).spec
		require.True(t, first.joins())
		require.Equal(t, []protocol.BrokerID{owner}, first.brokers(), "the one that is added has no vote yet")

		r.meta.end(move, false)
		synctest.Wait()
		r.tidy()
		require.Equal(t, []protocol.BrokerID{1}, r.host.replica(shard).placed.brokers(), "it is told who the others are")

		r.meta.end(r.meta.move(topic, away, owner, 1), false)
		synctest.Wait()
		r.tidy()
		require.NotContains(t, r.running(), shard)

		r.c.Close() // while it is down the replica returns, as another one
		r.meta.end(r.meta.move(topic, away, 1, owner), false)
		gone := len(r.meta.log)
		r.restart(nil, gone)
		r.meta.catchUp()
		synctest.Wait()
		r.tidy()
		require.Greater(t, r.host.replica(shard).spec.replica, first.replica)
		r.c.Close()
	})
}

// TestControllerReplacesAReplicaThatLeftMeanwhile: a replica moved away and back while its broker was down; the log that is here is that
// of the old one, and old metadata must not make anything of it.
func TestControllerReplacesAReplicaThatLeftMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(2)
		topic := r.meta.create("a", 2, 1)
		here := slices.IndexFunc(topic.Partitions, func(p meta.Partition) bool { _, here := p.On(1); return here })
		shard := topic.Partitions[here].Shard
		r.start(r.config())
		old := r.host.stored()[shard]
		r.c.Close()
		r.meta.end(r.meta.move(topic, here, 2, 1), false)
		between := len(r.meta.log)
		r.meta.end(r.meta.move(topic, here, 1, 2), false)

		r.restart(nil, between) // an image in which it has moved away
		require.Equal(t, old, r.host.stored()[shard], "old metadata removes nothing")
		r.meta.catchUp()
		synctest.Wait()
		r.tidy()
		require.Greater(t, r.host.stored()[shard], old)
		r.c.Close()
	})
}

func powerCuts(t require.TestingT, seed uint64, steps []int) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	r := newRig(t)
	defer func() { r.c.Close() }()
	r.meta.catchUp()
	r.meta.register(3)
	r.start(r.config())
	for _, step := range steps {
		if rnd.IntN(3) == 0 {
			r.moveSomething(rnd)
		}
		name := fmt.Sprintf("t%d", rnd.IntN(3))
		_, exists := r.meta.service.Image().TopicNamed(name)
		switch {
		case step <= 1 && !exists:
			r.meta.create(name, uint32(1+rnd.IntN(4)), uint32(1+rnd.IntN(2)))
		case step <= 1:
			r.meta.delete(name)
		case step == 2:
			synctest.Wait()
		case step == 3: // soon, in the middle of whatever it does then
			r.fuse.Store(rnd.Int64N(25))
		case step == 4:
			synctest.Wait()
			r.restart(rnd, rnd.IntN(len(r.meta.log)+1))
			r.meta.catchUp()
		case step == 5: // twice, without getting far
			r.restart(rnd, rnd.IntN(len(r.meta.log)+1))
			r.fuse.Store(rnd.Int64N(25))
			r.meta.catchUp()
			synctest.Wait()
			r.restart(rnd, rnd.IntN(len(r.meta.log)+1))
			r.meta.catchUp()
		case step == 6:
			time.Sleep(time.Second)
		}
	}
	r.restart(rnd, rnd.IntN(len(r.meta.log)+1))
	r.meta.catchUp()
	time.Sleep(2 * retryMax)
	r.tidy()
}

func TestControllerAnnounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		topic := r.meta.create("a", 4, 3)
		r.start(r.config())
		for i := range topic.Partitions {
			r.host.lead(topic.Partitions[i].Shard, 5, protocol.BrokerID(i%3+1))
		}
		synctest.Wait()
		want := []wire.Leader{{Topic: 1, Partition: 0, Leader: 1, Epoch: 5}, {Topic: 1, Partition: 3, Leader: 1, Epoch: 5}}
		require.ElementsMatch(t, want, r.announced(), "at once")
		leaders := r.meta.service.Leaders()
		require.Len(t, leaders.All(), 2)
		time.Sleep(1100 * time.Millisecond)
		require.ElementsMatch(t, want, r.announced(), "and again")
		require.Len(t, leaders.All(), 4, "followers learn from their logs")
		_, n := r.c.Counts()
		require.Equal(t, 2, n)
		require.Empty(t, r.c.followerLag(), "nobody has answered yet")
		lost := topic.Partitions[1].Shard
		r.host.mu.Lock()
		was := r.host.leaders[lost]
		r.host.leaders[lost] = raftnode.Leadership{Term: was.Term + 1, Last: was.Leader}
		r.host.mu.Unlock()
		require.True(t, slices.ContainsFunc(r.c.Led(was.Leader), func(s liveness.Shard) bool { return s.ID == lost }), "led last, by nobody since")
		require.Equal(t, protocol.BrokerID(2), was.Leader)
		r.host.mu.Lock()
		r.host.leaders[lost] = was
		r.host.mu.Unlock()
		r.host.mu.Lock()
		r.host.matches = map[protocol.BrokerID]uint64{1: 1, 2: 60, 3: 120}
		r.host.mu.Unlock()
		require.Equal(t, map[protocol.BrokerID]uint64{2: 40, 3: 0}, r.c.followerLag())

		r.host.lead(topic.Partitions[0].Shard, 6, 2)
		time.Sleep(1100 * time.Millisecond)
		require.Equal(t, want[1:], r.announced(), "what is led no more is not announced")
		b, e := leaders.Leader(protocol.TopicPartition{Topic: 1})
		require.Equal(t, protocol.BrokerID(2), b)
		require.Equal(t, protocol.Epoch(6), e)
		r.c.Close()
	})
}

func TestControllerIsShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		topic := r.meta.create("a", 3, 3)
		r.start(r.config())
		shard := func(i int) uint64 { return topic.Partitions[i].Shard }
		r.host.lead(shard(0), 3, 2)
		r.host.lead(shard(1), 4, 3)
		r.host.lead(raftnode.MetaShard, 9, 2)
		ids := func(by protocol.BrokerID) map[uint64]uint64 {
			out := map[uint64]uint64{}
			for _, s := range r.c.Led(by) {
				out[s.ID] = s.Term
				require.Len(t, s.Replicas, 3)
			}
			return out
		}
		require.Equal(t, map[uint64]uint64{shard(0): 3, raftnode.MetaShard: 9}, ids(2))
		require.Equal(t, map[uint64]uint64{shard(1): 4}, ids(3))
		require.Equal(t, map[uint64]uint64{shard(2): 0}, ids(0))
		b, term, ok := r.c.Leader(shard(1))
		require.Equal(t, []any{protocol.BrokerID(3), uint64(4), true}, []any{b, term, ok})
		_, _, ok = r.c.Leader(777)
		require.False(t, ok)
		r.c.Campaign(shard(1))
		r.c.Campaign(raftnode.MetaShard)
		r.c.Campaign(777)
		require.Equal(t, []uint64{shard(1), raftnode.MetaShard}, r.host.asked)

		r.c.UpdateQuorum(func(bs []protocol.BrokerID) bool { return false })
		r.c.SetDiskReserve(true)
		require.False(t, r.host.replica(shard(0)).quorum)
		require.True(t, r.host.replica(shard(0)).diskLow)
		late := r.meta.create("b", 1, 3)
		synctest.Wait()
		require.True(t, r.host.replica(late.Partitions[0].Shard).diskLow, "also replicas started later")
		r.c.Close()
	})
}

func TestControllerDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		topic := r.meta.create("a", 30, 3)
		alone := r.meta.create("b", 3, 1)
		r.host.moves = func(shard uint64, to protocol.BrokerID) error { r.host.lead(shard, 2, to); return nil }
		cfg := r.config()
		cfg.Alive = func(b protocol.BrokerID) bool { return b != 3 }
		r.start(cfg)
		r.host.lead(raftnode.MetaShard, 1, 1)
		for _, p := range append(slices.Clone(topic.Partitions), alone.Partitions...) {
			if _, ok := p.On(1); ok {
				r.host.lead(p.Shard, 1, 1)
			}
		}
		require.NoError(t, r.c.Drain(t.Context()))
		for _, p := range topic.Partitions {
			require.Equal(t, protocol.BrokerID(2), r.host.leaders[p.Shard].Leader, "only living brokers take over")
		}
		require.Equal(t, protocol.BrokerID(2), r.host.leaders[raftnode.MetaShard].Leader)
		_, leading := r.c.Counts()
		require.Equal(t, 1, leading, "a single replica cannot be handed over")
		r.c.Close()
	})
}

func TestControllerDrainTriesOthersAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		shard := r.meta.create("a", 1, 3).Partitions[0].Shard
		cfg := r.config()
		cfg.Founders = nil
		r.start(cfg)
		r.host.lead(shard, 1, 1)
		replica := r.host.replica(shard)
		replica.refuses = []protocol.BrokerID{2, 3}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := r.c.Drain(ctx)
		require.ErrorContains(t, err, "1 partitions")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Contains(t, replica.tried, protocol.BrokerID(2))
		require.Contains(t, replica.tried, protocol.BrokerID(3))
		replica.refuses = []protocol.BrokerID{2}
		require.NoError(t, r.c.Drain(t.Context()))
		require.Equal(t, protocol.BrokerID(3), r.host.leaders[shard].Leader)
		r.c.Close()
	})
}

func TestControllerRelieves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.meta.catchUp()
		r.meta.register(3)
		shard := r.meta.create("a", 1, 3).Partitions[0].Shard
		r.host.moves = func(shard uint64, to protocol.BrokerID) error { r.host.lead(shard, 2, to); return nil }
		cfg := r.config()
		roomy := map[protocol.BrokerID]bool{}
		cfg.Roomy = func(b protocol.BrokerID) bool { return roomy[b] }
		r.start(cfg)
		r.host.lead(raftnode.MetaShard, 1, 1)
		r.host.lead(shard, 1, 1)
		require.NoError(t, r.c.Relieve(t.Context()))
		require.Empty(t, r.host.replica(shard).tried, "nobody would do better")
		roomy[3] = true
		require.NoError(t, r.c.Relieve(t.Context()))
		require.Equal(t, protocol.BrokerID(3), r.host.leaders[shard].Leader)
		require.Equal(t, []protocol.BrokerID{3}, r.host.replica(shard).tried)
		require.Equal(t, protocol.BrokerID(1), r.host.leaders[raftnode.MetaShard].Leader, "the metadata stays")
		r.c.Close()
	})
}

func TestSuccessors(t *testing.T) {
	r := newRig(t)
	c, err := newController(r.config())
	require.NoError(t, err)
	first := map[protocol.BrokerID]int{}
	for shard := range uint64(10) {
		s := c.successors([]protocol.BrokerID{1, 2, 3}, shard, c.cfg.Alive)
		require.Len(t, s, 2)
		first[s[0]]++
	}
	require.Equal(t, map[protocol.BrokerID]int{2: 5, 3: 5}, first, "the leaderships of a leaving broker spread")
	require.Equal(t, protocol.BrokerID(3), c.successors([]protocol.BrokerID{3, 2, 1}, 1, c.cfg.Alive)[0], "the preferred leader first")
	require.Empty(t, c.successors([]protocol.BrokerID{1}, 1, c.cfg.Alive))
	c.cfg.Roomy = func(b protocol.BrokerID) bool { return b == 2 }
	require.Equal(t, []protocol.BrokerID{2, 3}, c.successors([]protocol.BrokerID{3, 2, 1}, 1, c.cfg.Alive), "room before preference")
}

func TestConfigIsChecked(t *testing.T) {
	good := newRig(t).config()
	_, err := New(good)
	require.ErrorContains(t, err, "no node")
	for _, change := range []func(*Config){
		func(c *Config) { c.Self = 0 }, func(c *Config) { c.Dir = "" }, func(c *Config) { c.Meta = nil },
	} {
		bad := good
		change(&bad)
		_, err := New(bad)
		require.Error(t, err)
	}
}
