package planner

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// looker is a planner that runs every second in the bubble, and what it believes and is told. mu guards all below it.
type looker struct {
	*Planner
	*meta.Service

	mu     sync.Mutex
	leads  bool
	dead   map[protocol.BrokerID]time.Duration
	refuse error           // of moves
	asked  []meta.MoveSpec // for moves
}

func (k *looker) BeginMove(ctx context.Context, m meta.MoveSpec) (uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, m)
	if k.refuse != nil {
		return 0, k.refuse
	}
	return k.Service.BeginMove(ctx, m)
}

func (k *looker) isLeader() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.leads
}

func (k *looker) deadFor(b protocol.BrokerID) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.dead[b]
}

// set changes what the planner believes or is told.
func (k *looker) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

func (k *looker) moves() []meta.MoveSpec {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.asked
}

func look(t *testing.T, s *sim, l Limits) *looker {
	t.Helper()
	k := &looker{Service: s.meta, leads: true, dead: map[protocol.BrokerID]time.Duration{}}
	k.Planner = New(Config{
		Meta: k, Leads: k.isLeader, DeadFor: k.deadFor, Limits: l, Every: time.Second, Registerer: prometheus.NewRegistry(),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		k.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	synctest.Wait()
	return k
}

// in lets so many looks go by.
func in(looks int) {
	time.Sleep(time.Duration(looks) * time.Second)
	synctest.Wait()
}

// grown is a cluster in which a broker has just joined that should get replicas.
func grown(t *testing.T) *sim {
	s := cluster(t, 3, nowhere)
	s.topic("calls", 12, 3)
	s.register(4, "", false)
	return s
}

var calmLimits = Limits{Concurrent: 2, PerBroker: 2, RepairAfter: time.Minute, CalmAfter: 10 * time.Second}

func TestOnlyTheLeaderOfTheMetadataActs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := look(t, grown(t), calmLimits)
		k.set(func() { k.leads = false })
		in(60)
		require.Empty(t, k.moves())
		k.set(func() { k.leads = true })
		in(9)
		require.Empty(t, k.moves(), "it does not know yet how long all have been alive")
		in(3)
		require.Len(t, k.moves(), calmLimits.Concurrent)
		in(60)
		require.Len(t, k.moves(), calmLimits.Concurrent, "no more while these are under way")
		require.EqualValues(t, 2, testutil.ToFloat64(k.Planner.metrics.asked.WithLabelValues("begin")))
	})
}

func TestNothingIsBalancedBeforeItIsCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := look(t, grown(t), calmLimits)
		in(8)
		k.set(func() { k.dead[2] = time.Second })
		in(60)
		require.Empty(t, k.moves())
		k.set(func() { k.dead[2] = 0 })
		in(9)
		require.Empty(t, k.moves(), "the clock began anew")
		in(3)
		require.Len(t, k.moves(), 2)
	})
}

// TestABrokerThatIsGivenUpIsNotAwaited: whoever buys no other machine has not to decommission the dead one before the rest is balanced.
func TestABrokerThatIsGivenUpIsNotAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := cluster(t, 4, nowhere)
		s.topic("calls", 12, 3)
		k := look(t, s, calmLimits)
		k.set(func() { k.dead[2] = 59 * time.Second })
		in(20)
		require.Empty(t, k.moves(), "it may come back")
		k.set(func() { k.dead[2] = time.Hour })
		for range 4 {
			in(1)
			s.finish()
		}
		require.False(t, hasReplicas(s.meta.Image(), 2))
		repaired := len(k.moves())
		require.Equal(t, 9, repaired, "12 partitions of 3 replicas on 4 brokers")

		s.register(5, "", false)
		in(8)
		require.Len(t, k.moves(), repaired, "not calm yet")
		in(5)
		require.Len(t, k.moves(), repaired+calmLimits.Concurrent)
		require.EqualValues(t, 5, k.moves()[repaired].Add)

		k.set(func() { k.dead[2] = 0 })
		s.finish()
		in(1)
		k.set(func() { k.dead[2] = time.Second })
		asked := len(k.moves())
		s.finish()
		in(20)
		require.Len(t, k.moves(), asked, "it came back, so it is awaited again")
	})
}

func TestSafetyDoesNotWaitForCalm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := look(t, grown(t), calmLimits)
		k.set(func() { k.dead[2] = time.Minute })
		in(1)
		require.Len(t, k.moves(), urgent*calmLimits.Concurrent)
		for _, m := range k.moves() {
			require.EqualValues(t, 2, m.Remove)
			require.EqualValues(t, 4, m.Add)
		}
	})
}

// TestAPlanEndsAtTheFirstRefusal: the image is not what it was made of.
func TestAPlanEndsAtTheFirstRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := look(t, grown(t), calmLimits)
		k.set(func() { k.refuse = errors.New("no") })
		in(12)
		asked := len(k.moves())
		require.Positive(t, asked)
		require.InDelta(t, asked, testutil.ToFloat64(k.Planner.metrics.refused), 0, "one for each plan")
		require.LessOrEqual(t, asked, 3)
		k.set(func() { k.refuse = nil })
		in(1)
		require.Len(t, k.moves(), asked+2)
	})
}

// TestTwoPlannersAreHarmless: two brokers that both believe to lead the metadata plan of the same image. What one asked for the other is
// refused.
func TestTwoPlannersAreHarmless(t *testing.T) {
	s := grown(t)
	im := s.meta.Image()
	actions := Plan(im, s.facts(), testLimits)
	require.Greater(t, len(actions), 1)
	p := New(Config{Meta: s.meta})
	for _, a := range actions {
		require.NoError(t, p.ask(t.Context(), im, a))
		version := s.meta.Image().Version
		require.Error(t, p.ask(t.Context(), im, a))
		require.Equal(t, version, s.meta.Image().Version)
	}
	require.Len(t, s.meta.Image().Moves(), len(actions))
	s.finish()
	moved := s.meta.Image()
	for _, a := range actions {
		require.Error(t, p.ask(t.Context(), im, a), "also when it is over")
	}
	require.Equal(t, moved, s.meta.Image())
}

// TestTheMetadataGoesLast: a broker that leaves keeps its replica of the metadata as long as it has others, for it must learn of their moves.
func TestTheMetadataGoesLast(t *testing.T) {
	s := grown(t)
	s.set(2, meta.Leaving)
	for range 100 {
		for _, a := range s.plan() {
			im := s.meta.Image()
			if a.Kind == Begin && a.Topic == "" {
				for _, topic := range im.Topics() {
					for i := range topic.Partitions {
						_, _, there := topic.Partitions[i].Placed(2)
						require.False(t, there)
					}
				}
			}
		}
		s.finish()
	}
	require.True(t, s.meta.Image().Retired(2))
}
