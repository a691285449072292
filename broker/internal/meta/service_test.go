package meta

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testShard is the log of a metadata shard that several machines apply, without Raft.
type testShard struct {
	mu  sync.Mutex
	log [][]byte // guarded by mu, as everything here
	// late are commands that will come into the log behind the next one.
	late   [][]byte
	rand   *rand.Rand
	bad    int // of 10 proposals so many go wrong
	leader protocol.BrokerID
}

// testNode is one broker's way to the shard.
type testNode struct {
	shard   *testShard
	machine *Machine
	applied int // entries of the log; guarded by shard.mu
}

func newTestShard(seed uint64, bad int) *testShard {
	return &testShard{rand: rand.New(rand.NewPCG(seed, 1)), bad: bad, leader: 1}
}

func (s *testShard) service(id protocol.BrokerID) (*Service, *testNode) {
	n := &testNode{shard: s, machine: NewMachine()}
	return New(Config{Self: id, Node: n, Machine: n.machine}), n
}

// catchUp applies the log as far as it goes and returns the answer to its last command. shard.mu is held.
func (n *testNode) catchUp() []byte {
	var data []byte
	for ; n.applied < len(n.shard.log); n.applied++ {
		var err error
		if data, _, err = n.machine.Apply(n.shard.log[n.applied]); err != nil {
			panic(err)
		}
	}
	return data
}

// commit appends a command and what is late, and returns the command's answer.
func (n *testNode) commit(cmd []byte) []byte {
	n.shard.log = append(n.shard.log, cmd)
	data := n.catchUp()
	n.shard.log = append(n.shard.log, n.shard.late...)
	n.shard.late = nil
	n.catchUp()
	return data
}

func (n *testNode) Propose(ctx context.Context, cmd []byte) ([]byte, error) {
	n.shard.mu.Lock()
	lost, data, err := n.propose(cmd)
	n.shard.mu.Unlock()
	if lost {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return data, err
}

// propose does one of the things that happen to proposals. lost means that nobody will ever say.
func (n *testNode) propose(cmd []byte) (lost bool, data []byte, err error) {
	s := n.shard
	if s.leader == 0 {
		return false, nil, fmt.Errorf("%w: no leader", ErrNotProposed)
	}
	if s.rand.IntN(10) >= s.bad {
		return false, n.commit(cmd), nil
	}
	switch s.rand.IntN(5) {
	case 0:
		return false, nil, fmt.Errorf("%w: dropped", ErrNotProposed)
	case 1: // a forwarded proposal vanished
		return true, nil, nil
	case 2: // committed, but the answer is lost
		n.commit(cmd)
		return true, nil, nil
	case 3: // on its way for a long time, and then there twice
		s.late = append(s.late, cmd, cmd)
		return true, nil, nil
	default:
		n.commit(cmd)
		return false, nil, errors.New("terminated")
	}
}

func (n *testNode) Leader() protocol.BrokerID {
	n.shard.mu.Lock()
	defer n.shard.mu.Unlock()
	return n.shard.leader
}

func (n *testNode) Barrier(context.Context) error {
	n.shard.mu.Lock()
	defer n.shard.mu.Unlock()
	if n.shard.leader == 0 {
		return errors.New("no leader")
	}
	n.catchUp()
	return nil
}

func register(t *testing.T, ctx context.Context, s *Service, n int) {
	for i := range n {
		require.NoError(t, s.RegisterBroker(ctx, *testBroker(i + 1)))
	}
}

// Whatever happens to proposals, every call takes effect exactly once and is visible when it returns.
func TestServiceOverALossyShard(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			t.Logf("seed %d", seed)
			ctx := t.Context()
			shard := newTestShard(seed, 7)
			one, _ := shard.service(1)
			two, node2 := shard.service(2)
			register(t, ctx, one, 3)
			epochs := uint64(0)
			for i := range 30 {
				s := []*Service{one, two}[i%2]
				name := fmt.Sprintf("t%d", i)
				topic, err := s.CreateTopic(ctx, wire.CreateTopic{Name: name, Partitions: 3, Replicas: 3})
				require.NoError(t, err)
				require.Equal(t, protocol.TopicID(i+1), topic.ID, "created once")
				got, ok := s.Image().TopicNamed(name)
				require.True(t, ok)
				require.Same(t, topic, got)

				altered, err := s.AlterTopic(ctx, wire.AlterTopic{Name: name, Partitions: ptr(uint32(5))})
				require.NoError(t, err)
				require.Len(t, altered.Partitions, 5)
				if i%3 == 0 {
					id, err := s.DeleteTopic(ctx, wire.DeleteTopic{Name: name})
					require.NoError(t, err)
					require.Equal(t, topic.ID, id)
					_, ok = s.Image().TopicNamed(name)
					require.False(t, ok)
				}
				p, err := s.InitProducer(ctx, "billing")
				require.NoError(t, err)
				require.Greater(t, uint64(p.Epoch), epochs, "no epoch is given twice")
				epochs = uint64(p.Epoch)
			}
			require.NoError(t, two.Sync(ctx))
			require.NoError(t, one.Sync(ctx))
			require.Equal(t, one.Image(), two.Image())
			require.Equal(t, len(shard.log), node2.applied)
			require.Equal(t, uint64(30), epochs, "every opening counted once")
			require.Len(t, one.Image().Topics(), 20)
		})
	}
}

// Moves and states of brokers take effect exactly once, too.
func TestMembershipOverALossyShard(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			t.Logf("seed %d", seed)
			ctx := t.Context()
			s, _ := newTestShard(seed, 7).service(1)
			register(t, ctx, s, 4)
			topic, err := s.CreateTopic(ctx, wire.CreateTopic{Name: "a", Partitions: 1, Replicas: 2})
			require.NoError(t, err)
			tp := protocol.TopicPartition{Topic: topic.ID}
			v := NewView(s)
			for i := range uint64(10) {
				p, _ := s.Image().Partition(tp)
				on := p.Brokers()
				add := protocol.BrokerID(1)
				for slices.Contains(on, add) {
					add++
				}
				id, err := s.BeginMove(ctx, MoveSpec{TP: tp, Add: add, Remove: on[0], Brokers: on})
				require.NoError(t, err)
				require.Equal(t, i+1, id, "begun once")
				require.Equal(t, []wire.Move{{Topic: topic.ID, Shard: p.Shard, ID: id, Add: add, Remove: on[0]}}, v.Moves())
				p, _ = s.Image().Partition(tp)
				require.Equal(t, on, p.Brokers(), "the voters before the move")
				want := []protocol.BrokerID{add, on[1]}
				if i%2 == 0 {
					require.NoError(t, s.UndoMove(ctx, id))
					require.NoError(t, s.UndoneMove(ctx, id))
					want = on
				} else {
					require.NoError(t, s.FinishMove(ctx, id))
				}
				p, _ = s.Image().Partition(tp)
				require.Equal(t, want, p.Brokers())
				require.NoError(t, s.PreferLeader(ctx, tp, want[1]))
			}
			require.Equal(t, FirstReplica+10, s.Image().NextReplica)
			require.NoError(t, s.SetBrokerState(ctx, 4, Active, Leaving))
			require.ErrorContains(t, s.SetBrokerState(ctx, 4, Drained, Active), "nothing was changed")
			p, _ := s.Image().Partition(tp)
			if _, has := p.On(4); has {
				require.ErrorContains(t, s.RetireBroker(ctx, 4), "moved away first")
				_, err = s.DeleteTopic(ctx, wire.DeleteTopic{Name: "a"})
				require.NoError(t, err)
			}
			require.NoError(t, s.RetireBroker(ctx, 4))
			require.True(t, s.Image().Retired(4))
		})
	}
}

func TestServiceWithoutALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shard := newTestShard(1, 0)
		s, _ := shard.service(1)
		register(t, t.Context(), s, 1)
		shard.leader = 0
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := s.CreateTopic(ctx, wire.CreateTopic{Name: "a", Partitions: 1, Replicas: 1})
		require.ErrorIs(t, err, protocol.ErrUnavailable)
		require.ErrorContains(t, err, "nothing was changed")
		require.Equal(t, 3*time.Second, time.Since(begun), "a call ends with its context")
		require.ErrorIs(t, s.Sync(ctx), protocol.ErrUnavailable)

		// As soon as there is a leader, waiting calls go on.
		done := make(chan error)
		go func() {
			_, err := s.CreateTopic(t.Context(), wire.CreateTopic{Name: "a", Partitions: 1, Replicas: 1})
			done <- err
		}()
		time.Sleep(time.Second)
		shard.mu.Lock()
		shard.leader = 1
		shard.mu.Unlock()
		require.NoError(t, <-done)
	})
}

func TestServiceGivesUpWithUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Self: 1, Node: silentNode{}})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := s.InitProducer(ctx, "p")
		require.ErrorIs(t, err, protocol.ErrTimeout)
	})
}

// silentNode has a leader that never answers.
type silentNode struct{}

func (silentNode) Propose(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (silentNode) Leader() protocol.BrokerID         { return 2 }
func (silentNode) Barrier(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// TestServiceWaitsForSlowAnswers: between far brokers an answer takes longer than a first attempt.
func TestServiceWaitsForSlowAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shard := newTestShard(1, 0)
		s, node := shard.service(1)
		register(t, t.Context(), s, 1)
		s.Attach(slowNode{node, 2 * attemptTimeout})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begun := time.Now()
		require.NoError(t, s.Sync(ctx))
		require.Less(t, time.Since(begun), 4*attemptTimeout)
		_, err := s.CreateTopic(ctx, wire.CreateTopic{Name: "a", Partitions: 1, Replicas: 1})
		require.NoError(t, err)
		require.Less(t, time.Since(begun), 8*attemptTimeout)
	})
}

// slowNode answers so much later.
type slowNode struct {
	*testNode
	after time.Duration
}

func (n slowNode) Propose(ctx context.Context, cmd []byte) ([]byte, error) {
	if err := n.wait(ctx); err != nil {
		return nil, err
	}
	return n.testNode.Propose(ctx, cmd)
}

func (n slowNode) Barrier(ctx context.Context) error {
	if err := n.wait(ctx); err != nil {
		return err
	}
	return n.testNode.Barrier(ctx)
}

func (n slowNode) wait(ctx context.Context) error {
	select {
	case <-time.After(n.after - time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestServiceRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		shard := newTestShard(1, 0)
		s, _ := shard.service(1)
		register(t, ctx, s, 2)
		req := wire.CreateTopic{Name: "orders", Partitions: 2, Replicas: 2, RequestID: 42}
		first, err := s.CreateTopic(ctx, req)
		require.NoError(t, err)
		again, err := s.CreateTopic(ctx, req)
		require.NoError(t, err, "a repeat with the same request ID succeeds")
		require.Same(t, first, again)

		_, err = s.CreateTopic(ctx, wire.CreateTopic{Name: "orders", Partitions: 2, Replicas: 2})
		require.ErrorIs(t, err, protocol.ErrTopicExists)
		_, err = s.AlterTopic(ctx, wire.AlterTopic{Name: "nope"})
		require.ErrorIs(t, err, protocol.ErrTopicNotFound)
		_, err = s.DeleteTopic(ctx, wire.DeleteTopic{Name: "nope"})
		require.ErrorIs(t, err, protocol.ErrTopicNotFound)
		wiped := testBroker(2)
		wiped.DirID[3] = 77
		err = s.RegisterBroker(ctx, *wiped)
		require.ErrorContains(t, err, "wiped")

		// What is wrong in itself is refused without a quorum.
		shard.leader = 0
		_, err = s.CreateTopic(ctx, wire.CreateTopic{Name: "..", Partitions: 1, Replicas: 1})
		require.ErrorIs(t, err, protocol.Errorf(protocol.CodeInvalidName, ""))
		_, err = s.AlterTopic(ctx, wire.AlterTopic{Name: "a", RetentionMillis: ptr(uint64(1) << 62)})
		require.ErrorIs(t, err, protocol.Errorf(protocol.CodeInvalidConfig, ""))
		_, err = s.DeleteTopic(ctx, wire.DeleteTopic{})
		require.Error(t, err)
		_, err = s.InitProducer(ctx, "a b")
		require.Error(t, err)
		require.Error(t, s.RegisterBroker(ctx, Broker{}))
		require.ErrorIs(t, s.SetBrokerState(ctx, 1, 0, 9), protocol.Errorf(protocol.CodeInvalidRequest, ""))
		_, err = s.BeginMove(ctx, MoveSpec{})
		require.ErrorIs(t, err, protocol.Errorf(protocol.CodeInvalidRequest, ""))
	})
}

func TestServiceBeforeItHasANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{Self: 1})
		require.Zero(t, s.Leader())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.RegisterBroker(ctx, *testBroker(1)), protocol.ErrUnavailable)
		n := &testNode{shard: newTestShard(1, 0), machine: s.Machine()}
		s.Attach(n)
		require.NoError(t, s.RegisterBroker(t.Context(), *testBroker(1)))
		require.Equal(t, protocol.BrokerID(1), s.Leader())
	})
}

func TestServiceKeepsLeadersOfLivingTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		reg := prometheus.NewRegistry()
		n := &testNode{shard: newTestShard(1, 0), machine: NewMachine()}
		s := New(Config{Self: 1, Node: n, Machine: n.machine, Registerer: reg})
		s.Start(ctx)
		s.Start(ctx)
		register(t, ctx, s, 1)
		topic, err := s.CreateTopic(ctx, wire.CreateTopic{Name: "a", Partitions: 2, Replicas: 1})
		require.NoError(t, err)
		tp := protocol.TopicPartition{Topic: topic.ID, Partition: 1}
		require.True(t, s.Leaders().Observe(tp, 1, 1))
		_, err = s.DeleteTopic(ctx, wire.DeleteTopic{Name: "a"})
		require.NoError(t, err)
		synctest.Wait()
		_, ok := s.Leaders().Get(tp)
		require.False(t, ok)
		require.False(t, s.Leaders().Observe(tp, 1, 2), "late news of a deleted topic")

		families, err := reg.Gather()
		require.NoError(t, err)
		require.NotEmpty(t, families)
		s.Close()
		s.Close()
		families, err = reg.Gather()
		require.NoError(t, err)
		require.Empty(t, families)
	})
}

func TestView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		s, _ := newTestShard(1, 0).service(1)
		v := NewView(s)
		require.Zero(t, v.Metadata().Version)
		changed := v.Changed()
		register(t, ctx, s, 3)
		<-changed
		info, err := v.CreateTopic(ctx, wire.CreateTopic{Name: "b", Partitions: 3, Replicas: 2})
		require.NoError(t, err)
		_, err = v.CreateTopic(ctx, wire.CreateTopic{Name: "a", Partitions: 1, Replicas: 3})
		require.NoError(t, err)
		grown, err := v.AlterTopic(ctx, wire.AlterTopic{Name: "b", Partitions: ptr(uint32(4))})
		require.NoError(t, err)
		require.Len(t, grown.Partitions, 4)
		require.Equal(t, info.Partitions, grown.Partitions[:3])

		m := v.Metadata()
		require.Equal(t, s.Image().Version, m.Version)
		require.Len(t, m.Brokers, 3)
		require.Equal(t, "h2:7400", m.Brokers[1].Listen)
		require.Equal(t, Active, m.Brokers[1].State)
		require.Equal(t, []string{"a", "b"}, []string{m.Topics[0].Name, m.Topics[1].Name})
		require.Equal(t, grown, m.Topics[1])
		for i, p := range grown.Partitions {
			require.Equal(t, protocol.Partition(i), p.Partition)
			require.Len(t, p.Replicas, 2)
		}
		got, ok := v.Topic(info.ID)
		require.True(t, ok)
		require.Equal(t, grown, got)
		_, err = v.DeleteTopic(ctx, wire.DeleteTopic{Name: "b"})
		require.NoError(t, err)
		_, ok = v.Topic(info.ID)
		require.False(t, ok)
		_, err = v.AlterTopic(ctx, wire.AlterTopic{Name: "b"})
		require.ErrorIs(t, err, protocol.ErrTopicNotFound)
		_, err = v.InitProducer(ctx, "p")
		require.NoError(t, err)
	})
}
