package planner

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

var testLimits = Limits{Concurrent: 8, PerBroker: 2, RepairAfter: time.Minute, CalmAfter: time.Second}

// machineNode is a metadata shard of one replica without Raft.
type machineNode struct{ m *meta.Machine }

func (n machineNode) Propose(_ context.Context, cmd []byte) ([]byte, error) {
	data, _, err := n.m.Apply(cmd)
	return data, err
}
func (machineNode) Leader() protocol.BrokerID     { return 1 }
func (machineNode) Barrier(context.Context) error { return nil }

// sim is a cluster whose moves are made at once.
type sim struct {
	t    require.TestingT
	meta *meta.Service
	dead map[protocol.BrokerID]time.Duration
}

func newSim(t require.TestingT) *sim {
	m := meta.NewMachine()
	return &sim{t: t, meta: meta.New(meta.Config{Self: 1, Node: machineNode{m}, Machine: m}), dead: map[protocol.BrokerID]time.Duration{}}
}

func (s *sim) register(id protocol.BrokerID, zone string, founder bool) {
	b := meta.Broker{ID: id, RaftAddr: fmt.Sprintf("h%d:1", id), Zone: zone, State: meta.Active, Founder: founder}
	b.DirID[0], b.DirID[1] = byte(id), byte(id>>8)
	require.NoError(s.t, s.meta.RegisterBroker(context.Background(), b))
}

func (s *sim) topic(name string, partitions, replicas uint32) {
	_, err := s.meta.CreateTopic(context.Background(), wire.CreateTopic{Name: name, Partitions: partitions, Replicas: replicas})
	require.NoError(s.t, err)
}

func (s *sim) set(id protocol.BrokerID, state meta.BrokerState) {
	require.NoError(s.t, s.meta.SetBrokerState(context.Background(), id, 0, state))
}

func (s *sim) facts() Facts {
	return Facts{DeadFor: func(b protocol.BrokerID) time.Duration { return s.dead[b] }, Calm: time.Hour}
}

// plan makes a plan, checks it and asks for it.
func (s *sim) plan() []Action {
	im := s.meta.Image()
	actions := Plan(im, s.facts(), testLimits)
	s.check(im, actions)
	p := New(Config{Meta: s.meta})
	for _, a := range actions {
		require.NoError(s.t, p.ask(context.Background(), im, a), "%+v", a)
		im = s.meta.Image()
	}
	return actions
}

// check tests what each plan must keep.
func (s *sim) check(im *meta.Image, actions []Action) {
	seen := map[uint64]bool{}
	into, out, begun := map[protocol.BrokerID]int{}, map[protocol.BrokerID]int{}, len(im.Moves())
	for _, p := range im.Moves() {
		into[p.Add.Broker]++
		out[p.Remove.Broker]++
	}
	for _, a := range actions {
		if a.Kind == Retire {
			continue
		}
		require.False(s.t, seen[a.Shard], "two actions about shard %d", a.Shard)
		seen[a.Shard] = true
		if a.Kind != Begin {
			continue
		}
		begun++
		into[a.Add]++
		out[a.Remove]++
		if a.Add != 0 {
			b, ok := im.Broker(a.Add)
			require.True(s.t, ok && b.State == meta.Active && s.dead[a.Add] == 0, "%+v", a)
		}
	}
	require.LessOrEqual(s.t, begun, urgent*testLimits.Concurrent)
	for b, n := range into {
		require.True(s.t, b == 0 || n <= urgent*testLimits.PerBroker, "%d moves into broker %d", n, b)
	}
	for b, n := range out {
		require.True(s.t, b == 0 || n <= urgent*testLimits.PerBroker, "%d moves out of broker %d", n, b)
	}
}

// finish ends every move that is under way.
func (s *sim) finish() {
	for _, p := range s.meta.Image().Moves() {
		if p.Undo {
			require.NoError(s.t, s.meta.UndoneMove(context.Background(), p.ID))
			continue
		}
		require.NoError(s.t, s.meta.FinishMove(context.Background(), p.ID))
	}
}

// settle plans and finishes until nothing is left to do, and returns how many actions that took.
func (s *sim) settle() int {
	total := 0
	for range 1000 {
		n := len(s.plan())
		if n == 0 && len(s.meta.Image().Moves()) == 0 {
			return total
		}
		total += n
		s.finish()
	}
	require.Fail(s.t, "the plans do not come to an end")
	return 0
}

// counts returns the replicas and preferred leaderships of each broker.
func (s *sim) counts() (replicas, leaders map[protocol.BrokerID]int) {
	replicas, leaders = map[protocol.BrokerID]int{}, map[protocol.BrokerID]int{}
	for _, t := range s.meta.Image().Topics() {
		for _, p := range t.Partitions {
			leaders[p.Replicas[0].Broker]++
			for _, r := range p.Replicas {
				replicas[r.Broker]++
			}
		}
	}
	return replicas, leaders
}

func requireEven(t require.TestingT, counts map[protocol.BrokerID]int, brokers ...protocol.BrokerID) {
	low, high := counts[brokers[0]], counts[brokers[0]]
	for _, b := range brokers {
		low, high = min(low, counts[b]), max(high, counts[b])
	}
	require.LessOrEqual(t, high-low, 1, "%v", counts)
}

func cluster(t require.TestingT, n int, zone func(int) string) *sim {
	s := newSim(t)
	for i := 1; i <= n; i++ {
		s.register(protocol.BrokerID(i), zone(i), true)
	}
	return s
}

func nowhere(int) string { return "" }

func TestQuietClusterNeedsNothing(t *testing.T) {
	s := cluster(t, 3, nowhere)
	s.topic("calls", 12, 3)
	require.Empty(t, s.plan())
}

func TestGrowAndShrink(t *testing.T) {
	s := cluster(t, 3, nowhere)
	s.topic("calls", 12, 3)
	s.topic("sms", 7, 2)
	s.register(4, "", false)
	s.register(5, "", false)
	s.settle()
	replicas, leaders := s.counts()
	requireEven(t, replicas, 1, 2, 3, 4, 5)
	requireEven(t, leaders, 1, 2, 3, 4, 5)

	s.set(1, meta.Leaving)
	s.set(4, meta.Leaving)
	s.settle()
	im := s.meta.Image()
	require.Len(t, im.Brokers(), 3)
	require.True(t, im.Retired(1))
	require.ElementsMatch(t, []protocol.BrokerID{2, 3, 5}, im.Meta.Brokers(), "a voter of the metadata that leaves is replaced")
	replicas, leaders = s.counts()
	requireEven(t, replicas, 2, 3, 5)
	requireEven(t, leaders, 2, 3, 5)
}

// joined returns a cluster of five brokers, of which two joined it and got their share of a topic.
func joined(t require.TestingT, partitions uint32) *sim {
	s := cluster(t, 3, nowhere)
	s.topic("calls", partitions, 3)
	s.register(4, "", false)
	s.register(5, "", false)
	s.settle()
	return s
}

func TestALeavingBrokerIsPatientAndUndisturbed(t *testing.T) {
	s := joined(t, 8)
	s.set(3, meta.Leaving)
	for range 1000 {
		for _, a := range s.plan() {
			require.True(t, a.Kind != Begin || a.Remove == 3, "%+v while broker 3 leaves", a)
		}
		moves := s.meta.Image().Moves()
		require.LessOrEqual(t, len(moves), testLimits.PerBroker)
		if len(moves) == 0 {
			break
		}
		require.NoError(t, s.meta.FinishMove(context.Background(), moves[0].ID)) // one after the other: each ends at its own time
	}
	require.True(t, s.meta.Image().Retired(3))
	s.settle()
	replicas, _ := s.counts()
	requireEven(t, replicas, 1, 2, 4, 5)
}

// TestALostBrokerThatIsReplacedIsInAHurry: an operator need not wait until it counts as dead.
func TestALostBrokerThatIsReplacedIsInAHurry(t *testing.T) {
	s := joined(t, 16)
	s.set(3, meta.Leaving)
	require.Len(t, Plan(s.meta.Image(), s.facts(), testLimits), testLimits.PerBroker)
	s.dead[3] = time.Second
	require.Len(t, Plan(s.meta.Image(), s.facts(), testLimits), urgent*testLimits.PerBroker)
}

func TestDeadBrokerIsReplaced(t *testing.T) {
	s := cluster(t, 4, nowhere)
	s.topic("calls", 8, 3)
	s.dead[2] = testLimits.RepairAfter - time.Second
	require.Empty(t, s.plan(), "it may come back")
	s.dead[2] = testLimits.RepairAfter
	s.settle()
	replicas, _ := s.counts()
	require.Zero(t, replicas[2])
	requireEven(t, replicas, 1, 3, 4)
}

func TestMajorityGoneIsLeftAlone(t *testing.T) {
	s := cluster(t, 5, nowhere)
	s.topic("calls", 20, 3)
	s.dead[1], s.dead[2] = time.Hour, time.Hour
	for _, a := range s.plan() {
		alive := 0
		p, _ := s.meta.Image().Placement(a.TP)
		for _, r := range p.Replicas {
			if s.dead[r.Broker] == 0 {
				alive++
			}
		}
		require.Greater(t, alive, len(p.Replicas)/2, "%+v", a)
	}
}

func TestMoveToDeadBrokerIsUndone(t *testing.T) {
	s := cluster(t, 3, nowhere)
	s.topic("calls", 6, 2)
	s.register(4, "", false)
	require.NotEmpty(t, s.plan())
	s.dead[4] = testLimits.RepairAfter
	for _, a := range s.plan() {
		require.Equal(t, Undo, a.Kind)
	}
	s.finish()
	replicas, _ := s.counts()
	require.Zero(t, replicas[4])
	require.Empty(t, s.plan())
}

// TestARemovalThatWaitsForALostBrokerIsUndone: of three replicas one too many is to go, and then another is lost. The one that was to go is
// needed until the lost one was made anew or, without a broker for that, taken out in its place.
func TestARemovalThatWaitsForALostBrokerIsUndone(t *testing.T) {
	for heir, why := range map[protocol.BrokerID]string{0: "the topic wants 2 replicas, the partition has 3", 4: "is dead"} {
		s := cluster(t, 3, nowhere)
		s.topic("calls", 1, 3)
		_, err := s.meta.AlterTopic(context.Background(), wire.AlterTopic{Name: "calls", Replicas: new(uint32(2))})
		require.NoError(t, err)
		begun := s.plan()
		require.Len(t, begun, 1)
		require.Equal(t, Begin, begun[0].Kind)
		require.Zero(t, begun[0].Add)
		p, _ := s.meta.Image().Placement(begun[0].TP)
		lost := p.Replicas[0].Broker
		require.NotEqual(t, lost, begun[0].Remove)
		if heir != 0 {
			s.register(heir, "", false)
		}

		s.dead[lost] = testLimits.RepairAfter - time.Second
		require.Empty(t, s.plan(), "it may come back")
		s.dead[lost] = testLimits.RepairAfter
		undo := s.plan()
		require.Len(t, undo, 1)
		require.Equal(t, Undo, undo[0].Kind)
		require.Equal(t, begun[0].Remove, undo[0].Remove)
		require.Contains(t, undo[0].Reason, "is dead, and without the replica on broker")
		require.Empty(t, s.plan(), "it is asked for once")
		s.finish()

		next := s.plan()
		require.Len(t, next, 1)
		require.Equal(t, []protocol.BrokerID{heir, lost}, []protocol.BrokerID{next[0].Add, next[0].Remove})
		require.Contains(t, next[0].Reason, why)
		require.Empty(t, s.plan(), "this move gets on")
		s.settle()
		p, _ = s.meta.Image().Placement(begun[0].TP)
		require.Len(t, p.Replicas, 2)
		require.NotContains(t, p.Brokers(), lost)
	}
}

// TestARemovalThatGetsOnIsNotUndone: most of those that stay are alive.
func TestARemovalThatGetsOnIsNotUndone(t *testing.T) {
	s := cluster(t, 4, nowhere)
	s.topic("calls", 1, 4)
	_, err := s.meta.AlterTopic(context.Background(), wire.AlterTopic{Name: "calls", Replicas: new(uint32(3))})
	require.NoError(t, err)
	begun := s.plan()
	require.Len(t, begun, 1)
	p, _ := s.meta.Image().Placement(begun[0].TP)
	s.dead[p.Replicas[0].Broker] = time.Hour
	require.Empty(t, s.plan())
}

func TestZonesAreSpread(t *testing.T) {
	s := cluster(t, 3, func(i int) string { return []string{"a", "a", "b"}[i-1] })
	s.topic("calls", 9, 3)
	s.register(4, "c", false)
	s.settle()
	im := s.meta.Image()
	topic, _ := im.TopicNamed("calls")
	for _, p := range topic.Partitions {
		zones := map[string]bool{}
		for _, b := range p.Brokers() {
			m, _ := im.Broker(b)
			zones[m.Zone] = true
		}
		require.Len(t, zones, 3, "%v", p.Brokers())
	}
}

func TestReplicationFactorChanges(t *testing.T) {
	s := cluster(t, 4, nowhere)
	s.topic("calls", 5, 2)
	for _, want := range []uint32{3, 1} {
		_, err := s.meta.AlterTopic(context.Background(), wire.AlterTopic{Name: "calls", Replicas: &want})
		require.NoError(t, err)
		s.settle()
		topic, _ := s.meta.Image().TopicNamed("calls")
		for _, p := range topic.Partitions {
			require.Len(t, p.Replicas, int(want))
		}
		replicas, _ := s.counts()
		requireEven(t, replicas, 1, 2, 3, 4)
	}
}

// TestPlansEnd changes a cluster at random and checks that the plans of each state come to an end, keep their bounds and even out.
func TestPlansEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones := rapid.IntRange(1, 3).Draw(t, "zones")
		zone := func(i int) string { return string(rune('a' + i%zones)) }
		n := rapid.IntRange(3, 5).Draw(t, "brokers")
		s := cluster(t, n, zone)
		for i := range rapid.IntRange(1, 3).Draw(t, "topics") {
			s.topic(fmt.Sprint("t", i), uint32(rapid.IntRange(1, 9).Draw(t, "partitions")), uint32(rapid.IntRange(1, 3).Draw(t, "replicas")))
		}
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				n++
				s.register(protocol.BrokerID(n), zone(n), false)
			case 1:
				b := rapid.SampledFrom(s.meta.Image().Brokers()).Draw(t, "leaving").ID
				_ = s.meta.SetBrokerState(context.Background(), b, 0, meta.Leaving) // refused where too few would be left
			case 2:
				clear(s.dead)
				s.dead[rapid.SampledFrom(s.meta.Image().Brokers()).Draw(t, "dead").ID] = time.Hour
			case 3:
				for range rapid.IntRange(0, 3).Draw(t, "rounds") {
					s.plan()
				}
			}
		}
		clear(s.dead)
		s.settle()
		if zones > 1 {
			return // balance gives way to zones
		}
		var all []protocol.BrokerID
		for _, b := range s.meta.Image().Brokers() {
			all = append(all, b.ID)
		}
		replicas, _ := s.counts()
		requireEven(t, replicas, all...)
	})
}
