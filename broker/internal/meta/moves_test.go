package meta

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// placements returns every placement of an image, the metadata's too.
func placements(im *Image) map[protocol.TopicPartition]*Partition {
	all := map[protocol.TopicPartition]*Partition{Metadata: &im.Meta}
	for _, t := range im.Topics() {
		for i := range t.Partitions {
			all[protocol.TopicPartition{Topic: t.ID, Partition: protocol.Partition(i)}] = &t.Partitions[i]
		}
	}
	return all
}

// spare returns an active broker that holds nothing of a partition, 0 for none.
func spare(s *state, tp protocol.TopicPartition) protocol.BrokerID {
	p, _ := s.image.Placement(tp)
	for _, b := range s.image.Brokers() {
		if _, _, ok := p.Placed(b.ID); !ok && b.State == Active {
			return b.ID
		}
	}
	return 0
}

// emptied moves everything away from a broker.
func emptied(t require.TestingT, s *state, from protocol.BrokerID) {
	all := slices.SortedFunc(maps.Keys(placements(s.image)), func(a, b protocol.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	for _, tp := range all {
		p, _ := s.image.Placement(tp)
		if _, ok := p.On(from); !ok || p.Move != nil {
			continue
		}
		r := s.apply(&command{begin: &beginMove{MoveSpec: MoveSpec{TP: tp, Add: spare(s, tp), Remove: from, Brokers: p.Brokers()}}})
		require.Zero(t, r.code, r.message)
		require.Zero(t, s.apply(&command{step: &moveStep{kind: kindFinishMove, id: r.a}}).code)
	}
}

// history is what must never happen again.
type history struct {
	gone    map[uint64]map[uint64]bool // shard -> replica IDs that were removed
	retired map[protocol.BrokerID]bool
	voted   bool // the metadata has had voters
}

// observe checks the invariants of the step from one image to the next.
func (h *history) observe(t require.TestingT, old, im *Image) {
	require.NoError(t, im.check())
	for id := range h.retired {
		_, registered := im.Broker(id)
		require.True(t, im.Retired(id) && !registered, "broker %d came back", id)
	}
	for _, b := range old.Brokers() {
		if _, ok := im.Broker(b.ID); !ok {
			require.Equal(t, Leaving, b.State)
			h.retired[b.ID] = true
		}
	}
	h.voted = h.voted || len(im.Meta.Replicas) > 0
	require.Equal(t, h.voted, len(im.Meta.Replicas) > 0, "the metadata lost its last voter")
	before, now := placements(old), placements(im)
	var moves []Moving
	for tp, p := range now {
		if p.Move != nil {
			moves = append(moves, Moving{TP: tp, Shard: p.Shard, Move: *p.Move})
		}
		for _, r := range replicaIDs(p) {
			require.False(t, h.gone[p.Shard][r], "replica %d of %v is used again", r, tp)
		}
		if was := before[tp]; was != nil {
			h.remember(tp, was, p)
		}
	}
	slices.SortFunc(moves, func(a, b Moving) int { return int(a.ID) - int(b.ID) })
	require.Equal(t, moves, im.Moves())
}

func (h *history) remember(tp protocol.TopicPartition, was, now *Partition) {
	ids := replicaIDs(now)
	for _, r := range replicaIDs(was) {
		// A learner of the metadata stays one when it is not promoted.
		learner := tp == Metadata && was.Move != nil && was.Move.Add.ReplicaID == r
		if slices.Contains(ids, r) || learner {
			continue
		}
		if h.gone[was.Shard] == nil {
			h.gone[was.Shard] = map[uint64]bool{}
		}
		h.gone[was.Shard][r] = true
	}
}

func replicaIDs(p *Partition) []uint64 {
	var ids []uint64
	for _, r := range p.Replicas {
		ids = append(ids, r.ReplicaID)
	}
	if p.Move != nil && p.Move.Add != (Replica{}) {
		ids = append(ids, p.Move.Add.ReplicaID)
	}
	return ids
}

// first returns the first broker that fits, or else.
func first(s *state, or protocol.BrokerID, fits func(Broker) bool) protocol.BrokerID {
	if i := slices.IndexFunc(s.image.Brokers(), fits); i >= 0 {
		return s.image.Brokers()[i].ID
	}
	return or
}

func drawMembership(t *rapid.T, s *state, request uint64) *command {
	broker := protocol.BrokerID(rapid.IntRange(1, 7).Draw(t, "broker"))
	tps := []protocol.TopicPartition{Metadata}
	for _, topic := range s.image.Topics() {
		for i := range topic.Partitions {
			tps = append(tps, protocol.TopicPartition{Topic: topic.ID, Partition: protocol.Partition(i)})
		}
	}
	tp := rapid.SampledFrom(tps).Draw(t, "partition")
	p, _ := s.image.Placement(tp)
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0:
		b := testBroker(int(broker))
		b.Founder = broker <= 3
		b.Zone = rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "zone")
		return &command{broker: b}
	case 1:
		return create(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "name"), rapid.Uint32Range(1, 3).Draw(t, "partitions"),
			rapid.Uint32Range(1, 3).Draw(t, "replicas"), request)
	case 2:
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			return &command{remove: &removeTopic{request, wire.DeleteTopic{Name: "a"}}}
		}
		return &command{alter: &alterTopic{request, wire.AlterTopic{Name: "a", Replicas: ptr(rapid.Uint32Range(1, 4).Draw(t, "replicas"))}}}
	case 3:
		to := rapid.SampledFrom([]BrokerState{Active, Active, Drained, Leaving, Leaving}).Draw(t, "to")
		if to == Leaving && rapid.Bool().Draw(t, "idle") {
			broker = first(s, broker, func(b Broker) bool { return s.loads[b.ID].Replicas == 0 && b.ID > 3 })
		}
		return &command{state: &setState{request: request, broker: broker, to: to}}
	case 4:
		broker = first(s, broker, func(b Broker) bool { return s.mayRetire(&b) == nil })
		return &command{retire: &retireBroker{broker: broker}}
	case 5:
		return &command{prefer: &preferLeader{request: request, tp: tp, broker: broker}}
	case 6, 7:
		m := MoveSpec{TP: tp, Brokers: p.Brokers()}
		if rapid.IntRange(0, 4).Draw(t, "add") > 0 {
			m.Add = spare(s, tp)
		}
		if len(p.Replicas) > 0 && rapid.IntRange(0, 2).Draw(t, "remove") > 0 {
			m.Remove = rapid.SampledFrom(p.Brokers()).Draw(t, "removed")
		}
		return &command{begin: &beginMove{request: request, MoveSpec: m}}
	default:
		kind := rapid.SampledFrom([]commandKind{kindFinishMove, kindFinishMove, kindUndoMove, kindUndoneMove}).Draw(t, "step")
		return &command{step: &moveStep{kind: kind, id: rapid.Uint64Range(1, s.image.NextMove).Draw(t, "move")}}
	}
}

// Whatever is asked in whatever order: the invariants of membership hold, a command that comes twice counts once, one that
// is refused changes nothing, and replicas that apply the same log are equal.
func TestMembershipInvariants(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		s, twin := newState(), newState()
		h := &history{gone: map[uint64]map[uint64]bool{}, retired: map[protocol.BrokerID]bool{}}
		for i := range 6 {
			b := testBroker(i + 1)
			b.Founder = i < 3
			require.Zero(t, s.apply(&command{broker: b}).code)
			require.Zero(t, twin.apply(&command{broker: b}).code)
		}
		for i := range rapid.IntRange(10, 80).Draw(t, "commands") {
			c, before := drawMembership(t, s, uint64(i+1)), s.image
			decoded, err := decodeCommand(c.encode())
			require.NoError(t, err)
			r := s.apply(decoded)
			if r.code == 0 {
				reached[c.label()]++
			} else {
				require.Same(t, before, s.image)
			}
			h.observe(t, before, s.image)
			require.Equal(t, loadsOf(s.image), s.loads)
			require.Equal(t, r, twin.apply(c))
			if rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				after := s.image
				require.Equal(t, r.code, s.apply(c).code)
				require.Same(t, after, s.image, "a repeat counts once")
			}
			if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
				s = roundTrip(t, s)
			}
		}
		require.Equal(t, twin.image, s.image)
	})
	t.Log(reached)
	for _, kind := range []string{"set_broker_state", "retire_broker", "begin_move", "finish_move", "undo_move", "undone_move", "prefer_leader"} {
		require.NotZero(t, reached[kind], "no %s was ever done", kind)
	}
}

// A broker can be emptied, retired and replaced while the cluster keeps what it has.
func TestBrokerLeaves(t *testing.T) {
	s := newState()
	for i := range 4 {
		b := testBroker(i + 1)
		b.Founder = i < 3
		require.Zero(t, s.apply(&command{broker: b}).code)
	}
	require.Zero(t, s.apply(create("orders", 8, 3, 1)).code)
	set := func(id protocol.BrokerID, to BrokerState) result {
		return s.apply(&command{state: &setState{broker: id, to: to}})
	}
	retire := func(id protocol.BrokerID) result { return s.apply(&command{retire: &retireBroker{broker: id}}) }

	require.Contains(t, retire(2).message, "only one that is leaving")
	require.Zero(t, set(2, Leaving).code)
	require.Contains(t, set(3, Leaving).message, `topic "orders" has 3 replicas, and 2 active brokers would stay`)
	require.Zero(t, set(2, Active).code, "leaving is taken back")
	require.Zero(t, set(2, Leaving).code)
	require.Contains(t, set(2, Drained).message, "make it active first")
	require.Contains(t, retire(2).message, "replicas are placed on it")
	s.apply(&command{remove: &removeTopic{2, wire.DeleteTopic{Name: "orders"}}})
	require.Contains(t, retire(2).message, "votes in the metadata shard")
	require.Contains(t, set(3, Leaving).message, "the metadata has 3 voters")
	require.Zero(t, s.apply(create("calls", 8, 3, 3)).code)
	emptied(t, s, 2)
	require.Equal(t, []Replica{{1, 1}, {4, 4}, {3, 3}}, s.image.Meta.Replicas, "the one that comes takes the place of the one that goes")
	require.Contains(t, set(2, Active).message, "cannot stay")
	require.Zero(t, retire(2).code)
	require.Zero(t, retire(2).code)
	require.Contains(t, set(2, Active).message, "was retired")
	require.Contains(t, s.apply(&command{broker: testBroker(2)}).message, "broker ID 2 was retired: start with an empty data_dir")
	require.Contains(t, retire(9).message, "there is no broker 9")
	require.Zero(t, s.apply(&command{broker: testBroker(5)}).code)
}

func TestMoveRefusals(t *testing.T) {
	s := newState()
	for i := range 10 {
		b := testBroker(i + 1)
		b.Founder = i < 2
		require.Zero(t, s.apply(&command{broker: b}).code)
	}
	require.Zero(t, s.apply(create("wide", 1, 7, 1)).code)
	require.Zero(t, s.apply(create("thin", 2, 1, 2)).code)
	wide, thin := protocol.TopicPartition{Topic: 1}, protocol.TopicPartition{Topic: 2}
	on := func(tp protocol.TopicPartition) []protocol.BrokerID {
		p, _ := s.image.Placement(tp)
		return p.Brokers()
	}
	has, free := on(thin)[0], spare(s, thin)
	require.Zero(t, s.apply(&command{state: &setState{broker: 10, to: Drained}}).code)
	for _, c := range []struct {
		m    MoveSpec
		code protocol.Code
		text string
	}{
		{MoveSpec{TP: thin}, protocol.CodeInvalidRequest, "neither adds nor removes"},
		{MoveSpec{TP: protocol.TopicPartition{Topic: 9}, Add: 1}, protocol.CodeTopicNotFound, "no topic with id 9"},
		{MoveSpec{TP: protocol.TopicPartition{Topic: 2, Partition: 2}, Add: 1}, protocol.CodePartitionUnknown, `"thin" has 2 partitions`},
		{MoveSpec{TP: thin, Add: free, Brokers: []protocol.BrokerID{free}}, protocol.CodeInvalidRequest, "decide again"},
		{MoveSpec{TP: thin, Add: has, Brokers: on(thin)}, protocol.CodeInvalidRequest, "has a replica on broker"},
		{MoveSpec{TP: thin, Add: 11, Brokers: on(thin)}, protocol.CodeNotFound, "no broker 11"},
		{MoveSpec{TP: thin, Add: 10, Brokers: on(thin)}, protocol.CodeInvalidRequest, "broker 10 is drained"},
		{MoveSpec{TP: thin, Remove: has, Brokers: on(thin)}, protocol.CodeInvalidRequest, "its only replica"},
		{MoveSpec{TP: thin, Add: free, Remove: free, Brokers: on(thin)}, protocol.CodeInvalidRequest, "has no replica on broker"},
		{MoveSpec{TP: wide, Add: spare(s, wide), Brokers: on(wide)}, protocol.CodeLimitExceeded, "at most 7"},
		{MoveSpec{TP: Metadata, Add: 3, Remove: 2, Brokers: on(Metadata)}, protocol.CodeInvalidRequest, "only one that is leaving"},
	} {
		r := s.apply(&command{begin: &beginMove{MoveSpec: c.m}})
		require.Equal(t, c.code.String(), r.code.String(), r.message)
		require.Contains(t, r.message, c.text)
	}
	first := s.apply(&command{begin: &beginMove{MoveSpec: MoveSpec{TP: thin, Add: free, Remove: has, Brokers: on(thin)}}})
	require.Equal(t, []uint64{1, FirstReplica}, []uint64{first.a, first.b})
	second := s.apply(&command{begin: &beginMove{MoveSpec: MoveSpec{TP: thin, Remove: has, Brokers: on(thin)}}})
	require.Contains(t, second.message, "move 1 under way")

	step := func(kind commandKind, id uint64) result {
		return s.apply(&command{step: &moveStep{kind: kind, id: id}})
	}
	p, _ := s.image.Placement(thin)
	r, joining, ok := p.Placed(free)
	require.True(t, joining && ok)
	require.Equal(t, Replica{free, FirstReplica}, r)
	_, ok = p.On(free)
	require.False(t, ok)
	require.Contains(t, step(kindUndoneMove, 1).message, "was not asked to be undone")
	require.Contains(t, step(kindFinishMove, 2).message, "never a move 2")
	require.Zero(t, step(kindUndoMove, 1).code)
	require.True(t, s.image.Moves()[0].Undo)
	require.Zero(t, step(kindUndoneMove, 1).code)
	require.Equal(t, []protocol.BrokerID{has}, on(thin))
	require.Empty(t, s.image.Moves())
	require.Zero(t, step(kindFinishMove, 1).code, "a move that is gone")
}

func TestPreferLeader(t *testing.T) {
	s := brokers(t, 4)
	require.Zero(t, s.apply(create("orders", 1, 3, 1)).code)
	tp := protocol.TopicPartition{Topic: 1}
	p, _ := s.image.Partition(tp)
	was := p.Brokers()
	prefer := func(tp protocol.TopicPartition, b protocol.BrokerID) result {
		return s.apply(&command{prefer: &preferLeader{tp: tp, broker: b}})
	}
	require.Zero(t, prefer(tp, was[2]).code)
	p, _ = s.image.Partition(tp)
	require.Equal(t, []protocol.BrokerID{was[2], was[0], was[1]}, p.Brokers())
	require.Equal(t, loadsOf(s.image), s.loads)
	version := s.image.Version
	require.Zero(t, prefer(tp, was[2]).code)
	require.Equal(t, version, s.image.Version)
	require.Contains(t, prefer(tp, spare(s, tp)).message, "has no replica on broker")
	require.Equal(t, protocol.CodeTopicNotFound, prefer(Metadata, 1).code)
}

func TestAlterReplicas(t *testing.T) {
	s := brokers(t, 4)
	require.Zero(t, s.apply(create("orders", 2, 3, 1)).code)
	alter := func(a wire.AlterTopic) result {
		a.Name = "orders"
		return s.apply(&command{alter: &alterTopic{AlterTopic: a}})
	}
	require.Equal(t, protocol.CodeTooManyReplicas, alter(wire.AlterTopic{Replicas: ptr(uint32(5))}).code)
	require.Contains(t, alter(wire.AlterTopic{Replicas: ptr(uint32(0))}).message, "replicas is 0")
	require.Zero(t, alter(wire.AlterTopic{Replicas: ptr(uint32(2)), Partitions: ptr(uint32(3))}).code)
	topic, _ := s.image.TopicNamed("orders")
	require.Equal(t, 2, topic.Replicas)
	require.Len(t, topic.Partitions[0].Replicas, 3, "what there is follows by moves")
	require.Len(t, topic.Partitions[2].Replicas, 2)
	require.EqualValues(t, 2, topic.Info().Replicas)
	require.Zero(t, s.apply(&command{state: &setState{broker: 4, to: Drained}}).code)
	require.Equal(t, protocol.CodeTooManyReplicas, alter(wire.AlterTopic{Replicas: ptr(uint32(4))}).code)
	require.Contains(t, s.apply(create("x", 1, 4, 9)).message, "make drained ones active")
}

// A drained or leaving broker gets nothing new.
func TestOnlyActiveBrokersGetReplicas(t *testing.T) {
	s := brokers(t, 5)
	require.Zero(t, s.apply(&command{state: &setState{broker: 2, to: Drained}}).code)
	require.Zero(t, s.apply(&command{state: &setState{broker: 4, to: Leaving}}).code)
	require.Zero(t, s.apply(create("orders", 30, 3, 1)).code)
	require.Zero(t, s.loads[2].Replicas+s.loads[4].Replicas)
}

func TestFoundersVote(t *testing.T) {
	s := newState()
	for _, id := range []int{3, 1} {
		b := testBroker(id)
		b.Founder = true
		require.Zero(t, s.apply(&command{broker: b}).code)
	}
	late := testBroker(2)
	require.Zero(t, s.apply(&command{broker: late}).code)
	late.Founder = true
	require.Zero(t, s.apply(&command{broker: late}).code)
	require.Equal(t, []Replica{{3, 3}, {1, 1}}, s.image.Meta.Replicas, "what a broker registers with first counts")
}

func TestRetiredAreBounded(t *testing.T) {
	s := brokers(t, 2)
	for i := range MaxRetired {
		s.image.retired = append(s.image.retired, protocol.BrokerID(1000+i))
	}
	require.Zero(t, s.apply(&command{state: &setState{broker: 2, to: Leaving}}).code)
	r := s.apply(&command{retire: &retireBroker{broker: 2}})
	require.Equal(t, protocol.CodeLimitExceeded, r.code)
	roundTrip(t, s)
}

func TestMovesAreBounded(t *testing.T) {
	s := brokers(t, 2)
	require.Zero(t, s.apply(create("orders", MaxMoves+1, 1, 1)).code)
	for i := range MaxMoves + 1 {
		tp := protocol.TopicPartition{Topic: 1, Partition: protocol.Partition(i)}
		p, _ := s.image.Partition(tp)
		r := s.apply(&command{begin: &beginMove{MoveSpec: MoveSpec{TP: tp, Add: spare(s, tp), Brokers: p.Brokers()}}})
		if i == MaxMoves {
			require.Equal(t, protocol.CodeLimitExceeded, r.code)
			break
		}
		require.Zero(t, r.code, r.message)
	}
	require.Len(t, s.image.Moves(), MaxMoves)
	roundTrip(t, s)
	require.Zero(t, s.apply(&command{remove: &removeTopic{2, wire.DeleteTopic{Name: "orders"}}}).code)
	require.Empty(t, s.image.Moves())
	require.Equal(t, loadsOf(s.image), s.loads)
}

func TestBrokerChecks(t *testing.T) {
	s := newState()
	b := testBroker(1)
	b.ID = protocol.BrokerID(MaxBrokerID + 1)
	require.Contains(t, s.apply(&command{broker: b}).message, "at most 4294967295")
	b = testBroker(1)
	b.Zone = fmt.Sprintf("%065d", 1)
	require.Contains(t, s.apply(&command{broker: b}).message, "the zone's name has 65 bytes")
	require.Contains(t, s.apply(&command{state: &setState{broker: 1, to: 4}}).message, "there is no state 4")
}
