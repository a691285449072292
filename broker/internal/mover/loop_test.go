package mover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a broker that leads every shard: a metadata shard of one machine, and Raft as a table.
type fake struct {
	*meta.Service
	machine *meta.Machine

	mu      sync.Mutex
	shards  map[uint64]raftnode.Membership // guarded by mu
	self    map[uint64]uint64              // by shard: the replica that leads here; guarded by mu
	asked   []string                       // what Raft was asked to change, and who to take over; guarded by mu
	forgot  map[uint64]bool                // shards whose log's beginning was dropped; guarded by mu
	working map[uint64]int                 // calls at work, by shard; guarded by mu
	most    int                            // shards that were worked on at one time; guarded by mu
	reads   int                            // of memberships; guarded by mu
	fail    func(what string) error        // before an effect; guarded by mu
	took    time.Duration                  // of a read of the membership
}

func newFake() *fake {
	f := &fake{
		machine: meta.NewMachine(), shards: map[uint64]raftnode.Membership{}, self: map[uint64]uint64{}, working: map[uint64]int{}, forgot: map[uint64]bool{},
		fail: func(string) error { return nil },
	}
	f.Service = meta.New(meta.Config{Self: 1, Node: f, Machine: f.machine})
	return f
}

func (f *fake) Propose(_ context.Context, cmd []byte) ([]byte, error) {
	data, _, err := f.machine.Apply(cmd)
	return data, err
}
func (f *fake) Leader() protocol.BrokerID     { return 1 }
func (f *fake) Barrier(context.Context) error { return nil }

// cluster registers four brokers, of which three found it, and creates a topic that broker 1 leads.
func (f *fake) cluster(t *testing.T, partitions uint32) *meta.Topic {
	t.Helper()
	for id := protocol.BrokerID(1); id <= 4; id++ {
		require.NoError(t, f.RegisterBroker(t.Context(), meta.Broker{
			ID: id, RaftAddr: "h:1", DirID: meta.DirID{byte(id)}, State: meta.Active, Founder: id < 4,
		}))
	}
	f.found(raftnode.MetaShard, f.Image().Meta.Replicas)
	topic, err := f.CreateTopic(t.Context(), wire.CreateTopic{Name: "calls", Partitions: partitions, Replicas: 3})
	require.NoError(t, err)
	for _, p := range topic.Partitions {
		f.found(p.Shard, p.Replicas)
		f.self[p.Shard] = p.Replicas[0].ReplicaID
	}
	return topic
}

func (f *fake) found(shard uint64, replicas []meta.Replica) {
	is := raftnode.Membership{Voters: map[uint64]protocol.BrokerID{}, Learners: map[uint64]protocol.BrokerID{}, Removed: map[uint64]struct{}{}}
	for _, r := range replicas {
		is.Voters[r.ReplicaID] = r.Broker
	}
	f.shards[shard] = is
}

// move begins to move a replica of a partition to the broker that has none.
func (f *fake) move(t *testing.T, topic *meta.Topic, partition int, leads bool) (shard, id uint64) {
	t.Helper()
	p := &topic.Partitions[partition]
	spec := meta.MoveSpec{TP: protocol.TopicPartition{Topic: topic.ID, Partition: protocol.Partition(partition)}, Brokers: p.Brokers()}
	for b := protocol.BrokerID(1); b <= 4; b++ {
		if !slices.Contains(spec.Brokers, b) {
			spec.Add = b
		}
	}
	spec.Remove = p.Replicas[1].Broker
	if leads {
		spec.Remove = p.Replicas[0].Broker
	}
	id, err := f.BeginMove(t.Context(), spec)
	require.NoError(t, err)
	return p.Shard, id
}

func (f *fake) Membership(ctx context.Context, shard uint64) (raftnode.Membership, error) {
	f.mu.Lock()
	f.reads++
	f.working[shard]++
	busy := f.working[shard]
	f.most = max(f.most, len(f.working))
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.working[shard]--; f.working[shard] == 0 {
			delete(f.working, shard)
		}
	}()
	if busy > 1 {
		panic("two jobs on one shard")
	}
	select {
	case <-time.After(f.took):
	case <-ctx.Done():
		return raftnode.Membership{}, raftnode.ErrUndecided
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shards[shard], f.fail("read")
}

func (f *fake) change(shard uint64, what string, effect func(is raftnode.Membership), change uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, what)
	if err := f.fail(what); err != nil {
		return err
	}
	is := f.shards[shard]
	if is.ConfigChangeID != change {
		return raftnode.ErrChanged
	}
	effect(is)
	is.ConfigChangeID++
	f.shards[shard] = is
	return nil
}

func (f *fake) AddLearner(_ context.Context, shard uint64, r raftnode.Replica, change uint64) error {
	return f.change(shard, fmt.Sprint("add ", r.Broker), func(is raftnode.Membership) { is.Learners[r.ReplicaID] = r.Broker }, change)
}

func (f *fake) Promote(_ context.Context, shard uint64, r raftnode.Replica, change uint64) error {
	return f.change(shard, fmt.Sprint("promote ", r.Broker), func(is raftnode.Membership) {
		delete(is.Learners, r.ReplicaID)
		is.Voters[r.ReplicaID] = r.Broker
	}, change)
}

func (f *fake) RemoveReplica(_ context.Context, shard, replica, change uint64) error {
	return f.change(shard, fmt.Sprint("remove ", replica), func(is raftnode.Membership) {
		delete(is.Learners, replica)
		delete(is.Voters, replica)
		is.Removed[replica] = struct{}{}
	}, change)
}

func (f *fake) ForgetBeginning(_ context.Context, shard uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgot[shard] = true
	return f.fail("forget")
}

func (f *fake) Progress(uint64, uint64) (uint64, time.Time, bool) { return 7, time.Now(), true }
func (f *fake) LastIndex(uint64) (uint64, bool)                   { return 7, true }

func (f *fake) Leads(shard uint64) (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.self[shard]
	return r, ok
}

// HandOver makes this broker lead the shard with the first heir's replica, as if it was that one.
func (f *fake) HandOver(_ context.Context, shard uint64, to []protocol.BrokerID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, fmt.Sprint("yield to ", to))
	for r, b := range f.shards[shard].Voters {
		if b == to[0] {
			f.self[shard] = r
		}
	}
	return f.fail("yield")
}

// Shows fails while the test says so of "show".
func (f *fake) Shows(context.Context, uint64, protocol.BrokerID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail("show")
}

func (f *fake) lead(shard, replica uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.self[shard] = replica
	if replica == 0 {
		delete(f.self, shard)
	}
}

func (f *fake) failing(fail func(what string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *fake) said() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// run runs a mover in the bubble until the test ends.
func (f *fake) run(t *testing.T) (m *Mover, log *bytes.Buffer) {
	t.Helper()
	log = &bytes.Buffer{}
	m = New(Config{
		Meta: f, Raft: f, Shards: f, Alive: func(protocol.BrokerID) bool { return true }, Registerer: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		m.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	synctest.Wait()
	return m, log
}

// in lets time go by.
func in(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAMoveIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		topic := f.cluster(t, 2)
		first, _ := f.move(t, topic, 0, true)
		m, _ := f.run(t)
		in(time.Second)
		require.Empty(t, f.Image().Moves())
		p, _ := f.Image().Partition(protocol.TopicPartition{Topic: topic.ID})
		added := p.Replicas[0]
		require.Equal(t, []string{
			fmt.Sprint("add ", added.Broker), fmt.Sprint("promote ", added.Broker),
			fmt.Sprintf("yield to %v", f.heirs(p, topic.Partitions[0].Replicas)), fmt.Sprint("remove ", topic.Partitions[0].Replicas[0].ReplicaID),
		}, f.said())
		require.Len(t, f.shards[first].Voters, 3)
		require.Equal(t, map[uint64]bool{first: true}, f.forgot, "what comes is a snapshot")
		require.Equal(t, added.ReplicaID, f.self[first])
		require.Empty(t, m.rounds.open, "what is over is forgotten")
		require.Zero(t, testutil.ToFloat64(m.metrics.failures))
	})
}

// leave makes the leader of a partition leave and begins to move its replica.
func (f *fake) leave(t *testing.T) *meta.Partition {
	t.Helper()
	topic := f.cluster(t, 1)
	p := &topic.Partitions[0]
	require.NoError(t, f.SetBrokerState(t.Context(), p.Replicas[0].Broker, 0, meta.Leaving))
	f.move(t, topic, 0, true)
	return p
}

// TestALeadershipThatIsHandedOverGoesFirst: a leaving broker adds no replica to what it leads, since its successor would send it a second
// snapshot. It does if nobody takes the leadership.
func TestALeadershipThatIsHandedOverGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := f.leave(t)
		m, _ := f.run(t)
		in(partingTime - 200*time.Millisecond)
		require.Empty(t, f.said())
		n, _ := m.notes.get(f.Image().Moves()[0].ID)
		require.Equal(t, "the leadership goes to another broker first", n.step)
		in(400 * time.Millisecond)
		require.NotEmpty(t, f.said(), "nobody took it")
		in(time.Second)
		require.Empty(t, f.Image().Moves())
		require.Len(t, f.shards[p.Shard].Voters, 3)
	})
}

func TestASuccessorDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := f.leave(t)
		f.lead(p.Shard, p.Replicas[1].ReplicaID)
		f.run(t)
		in(time.Second)
		require.Empty(t, f.Image().Moves())
		require.Equal(t, []string{"add", "promote", "remove"}, verbs(f.said()))
	})
}

// verbs returns the first words.
func verbs(said []string) (v []string) {
	for _, s := range said {
		v = append(v, strings.Fields(s)[0])
	}
	return v
}

// TestAReplicaIsNotPromotedBeforeItShows: it stays a learner while it has not applied what the leader has.
func TestAReplicaIsNotPromotedBeforeItShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.failing(func(what string) error {
			if what == "show" {
				return raftnode.ErrNotReady
			}
			return nil
		})
		topic := f.cluster(t, 1)
		shard, _ := f.move(t, topic, 0, false)
		f.run(t)
		in(time.Minute)
		require.Len(t, f.said(), 1, "it is added, and that is all")
		require.Len(t, f.shards[shard].Learners, 1)
		f.failing(func(string) error { return nil })
		in(time.Second)
		require.Empty(t, f.Image().Moves())
	})
}

// heirs returns the brokers that a preferred leader hands over to: its successor, then the others.
func (f *fake) heirs(now *meta.Partition, before []meta.Replica) []protocol.BrokerID {
	others := []protocol.BrokerID{before[1].Broker, before[2].Broker}
	slices.Sort(others)
	return append([]protocol.BrokerID{now.Replicas[0].Broker}, others...)
}

func TestJobsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		topic := f.cluster(t, maxJobs+8)
		for i := range topic.Partitions {
			f.move(t, topic, i, false)
		}
		f.took = 450 * time.Millisecond // longer than some looks; the fake panics if a second job begins on a shard
		f.run(t)
		in(10 * time.Second)
		require.Empty(t, f.Image().Moves(), "those that waited had their turn")
		require.Equal(t, maxJobs, f.most)
	})
}

func TestJobsThatHangEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.move(t, f.cluster(t, 1), 0, false)
		f.took = time.Hour
		m, log := f.run(t)
		in(stepTimeout - time.Millisecond)
		require.Zero(t, testutil.ToFloat64(m.metrics.failures))
		in(time.Millisecond)
		require.EqualValues(t, 1, testutil.ToFloat64(m.metrics.failures))
		require.Contains(t, log.String(), "tried again")
	})
}

func TestFailuresAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.move(t, f.cluster(t, 1), 0, false)
		f.failing(func(what string) error {
			if what[:3] == "add" {
				return errors.New("not today")
			}
			return nil
		})
		m, log := f.run(t)
		in(10*failPause - time.Millisecond)
		require.InDelta(t, 10, testutil.ToFloat64(m.metrics.failures), 1, "it rests after each")
		require.Contains(t, log.String(), "not today")
		f.failing(func(string) error { return nil })
		in(2 * time.Second)
		require.Empty(t, f.Image().Moves())
		require.Empty(t, m.rest)
	})
}

func TestElectionsAndOtherChangesAreNoFailures(t *testing.T) {
	for _, passing := range []error{raftnode.ErrChanged, raftnode.ErrNotLeader, raftnode.ErrNotReady} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.move(t, f.cluster(t, 1), 0, false)
			times := 3
			f.failing(func(string) error {
				if times--; times >= 0 {
					return fmt.Errorf("as it goes: %w", passing)
				}
				return nil
			})
			m, log := f.run(t)
			in(time.Second)
			require.Empty(t, f.Image().Moves())
			require.Zero(t, testutil.ToFloat64(m.metrics.failures))
			require.Empty(t, log.String())
		})
	}
}

// TestLeadershipIsLostInTheMiddle: who does not lead any more does nothing, and who leads again goes on where others left off.
func TestLeadershipIsLostInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		topic := f.cluster(t, 1)
		shard, _ := f.move(t, topic, 0, false)
		m, _ := f.run(t)
		leader := f.self[shard]
		f.lead(shard, 0)
		in(time.Second)
		said := f.said()
		require.Len(t, said, 1, "the first step was done")
		require.Len(t, f.Image().Moves(), 1)
		require.Empty(t, m.rounds.open)
		add := f.Image().Moves()[0].Add
		is := f.shards[shard]
		require.NoError(t, f.Promote(t.Context(), shard, raftnode.Replica{Broker: add.Broker, ReplicaID: add.ReplicaID}, is.ConfigChangeID))
		f.lead(shard, leader)
		in(time.Second)
		require.Empty(t, f.Image().Moves())
		require.Len(t, f.said(), 3)
		require.Equal(t, fmt.Sprint("remove ", topic.Partitions[0].Replicas[1].ReplicaID), f.said()[2])
	})
}

func TestAMoveIsUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		topic := f.cluster(t, 1)
		shard, id := f.move(t, topic, 0, false)
		add := f.Image().Moves()[0].Add
		require.NoError(t, f.UndoMove(t.Context(), id))
		f.run(t)
		in(time.Second)
		require.Empty(t, f.Image().Moves())
		require.Equal(t, []string{fmt.Sprint("remove ", add.ReplicaID)}, f.said(), "the fence, though it was never there")
		require.Contains(t, f.shards[shard].Removed, add.ReplicaID)
		p, _ := f.Image().Partition(protocol.TopicPartition{Topic: topic.ID})
		require.Equal(t, topic.Partitions[0].Replicas, p.Replicas)
	})
}

func TestEveryBrokerHasTheMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.cluster(t, 1)
		f.lead(raftnode.MetaShard, 1)
		m, _ := f.run(t)
		in(time.Second)
		require.Equal(t, []string{"add 4"}, f.said())
		require.Equal(t, f.Image(), m.settled.Load())
		reads := f.reads
		in(time.Minute)
		require.Equal(t, reads, f.reads, "nothing is asked while nothing changes")

		// A broker leaves that votes: it keeps the metadata until a move takes it, gets none again, and holds nobody up.
		f.withoutTopic(t)
		require.NoError(t, f.SetBrokerState(t.Context(), 2, 0, meta.Leaving))
		in(time.Second)
		require.Len(t, f.said(), 1)
		_, err := f.BeginMove(t.Context(), meta.MoveSpec{Add: 4, Remove: 2, Brokers: f.Image().Meta.Brokers()})
		require.NoError(t, err)
		in(2 * time.Second)
		require.Equal(t, []string{"add 4", "promote 4", "remove 2"}, f.said())
		require.NoError(t, f.RegisterBroker(t.Context(), meta.Broker{ID: 5, RaftAddr: "h:1", DirID: meta.DirID{5}, State: meta.Active}))
		in(time.Second)
		require.Equal(t, "add 5", f.said()[3])

		// And one that only has a copy: it loses that when it is retired, not before.
		require.NoError(t, f.SetBrokerState(t.Context(), 5, 0, meta.Leaving))
		in(time.Second)
		require.Len(t, f.said(), 4)
		require.NoError(t, f.RetireBroker(t.Context(), 5))
		in(time.Second)
		require.Equal(t, "remove 5", f.said()[4])
		require.Len(t, f.said(), 5)
	})
}

// withoutTopic deletes the only topic, which would keep brokers from leaving.
func (f *fake) withoutTopic(t *testing.T) {
	t.Helper()
	_, err := f.DeleteTopic(t.Context(), wire.DeleteTopic{Name: "calls"})
	require.NoError(t, err)
}
