package meta

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

func ptr[T any](v T) *T { return &v }

func testBroker(id int) *Broker {
	b := &Broker{
		ID: protocol.BrokerID(id), Listen: fmt.Sprintf("h%d:7400", id), Admin: fmt.Sprintf("h%d:7402", id),
		RaftAddr: fmt.Sprintf("h%d:7401", id),
	}
	b.DirID[0] = byte(id)
	return b
}

// model is the metadata as simple as it can be written: what a topic is called, how many partitions it has, and
// which answers were given.
type model struct {
	brokers  map[protocol.BrokerID]Broker
	topics   map[string]*modelTopic
	nextID   protocol.TopicID
	shards   map[uint64]bool // ever used
	epochs   map[string]uint64
	answered map[uint64]result
}

type modelTopic struct {
	id         protocol.TopicID
	partitions int
	replicas   int
	config     wire.TopicConfig
}

func newModel() *model {
	return &model{
		brokers: map[protocol.BrokerID]Broker{}, topics: map[string]*modelTopic{}, nextID: 1,
		shards: map[uint64]bool{}, epochs: map[string]uint64{}, answered: map[uint64]result{},
	}
}

// apply returns the code and the two numbers that the command must be answered with.
func (m *model) apply(c *command) (code protocol.Code, a, b uint64) {
	switch {
	case c.create != nil:
		return m.once(c.create.RequestID, func() (protocol.Code, uint64, uint64) { return m.create(c.create) })
	case c.remove != nil:
		return m.once(c.remove.request, func() (protocol.Code, uint64, uint64) { return m.remove(c.remove) })
	case c.alter != nil:
		return m.once(c.alter.request, func() (protocol.Code, uint64, uint64) { return m.alter(c.alter) })
	}
	old, known := m.brokers[c.broker.ID]
	if known && old.DirID != c.broker.DirID {
		return protocol.CodeInvalidConfig, 0, 0
	}
	m.brokers[c.broker.ID] = *c.broker
	return 0, 0, 0
}

func (m *model) once(id uint64, run func() (protocol.Code, uint64, uint64)) (protocol.Code, uint64, uint64) {
	if r, ok := m.answered[id]; ok {
		return r.code, r.a, r.b
	}
	code, a, b := run()
	m.answered[id] = result{code: code, a: a, b: b}
	return code, a, b
}

func (m *model) create(r *wire.CreateTopic) (protocol.Code, uint64, uint64) {
	if m.topics[r.Name] != nil {
		return protocol.CodeTopicExists, 0, 0
	}
	if int(r.Replicas) > len(m.brokers) {
		return protocol.CodeTooManyReplicas, 0, 0
	}
	m.topics[r.Name] = &modelTopic{id: m.nextID, partitions: int(r.Partitions), replicas: int(r.Replicas), config: r.Config}
	m.nextID++
	return 0, uint64(m.nextID - 1), 0
}

func (m *model) remove(r *removeTopic) (protocol.Code, uint64, uint64) {
	t := m.topics[r.Name]
	if t == nil {
		return protocol.CodeTopicNotFound, 0, 0
	}
	delete(m.topics, r.Name)
	return 0, uint64(t.id), 0
}

func (m *model) alter(r *alterTopic) (protocol.Code, uint64, uint64) {
	t := m.topics[r.Name]
	if t == nil {
		return protocol.CodeTopicNotFound, 0, 0
	}
	if r.Partitions != nil && int(*r.Partitions) < t.partitions {
		return protocol.CodeInvalidConfig, 0, 0
	}
	if r.Partitions != nil {
		t.partitions = int(*r.Partitions)
	}
	if r.RetentionMillis != nil {
		t.config.RetentionMillis = *r.RetentionMillis
	}
	return 0, uint64(t.id), 0
}

// agree compares an image with the model and checks the package's invariants.
func (m *model) agree(t *rapid.T, s *state, before *Image) {
	im := s.image
	require.NoError(t, im.check())
	require.Equal(t, loadsOf(im), s.loads)
	require.Len(t, im.Brokers(), len(m.brokers))
	require.Len(t, im.Topics(), len(m.topics))
	require.Equal(t, m.nextID, im.NextTopic)
	total := 0
	for name, want := range m.topics {
		got, ok := im.TopicNamed(name)
		require.True(t, ok)
		byID, ok := im.Topic(want.id)
		require.True(t, ok)
		require.Same(t, got, byID)
		require.Equal(t, want.id, got.ID)
		require.Equal(t, want.config, got.Config)
		require.Len(t, got.Partitions, want.partitions)
		require.Len(t, got.Info().Partitions, want.partitions)
		total += want.partitions
		m.placed(t, im, got, want, before)
	}
	require.Equal(t, total, im.Partitions)
}

// placed checks the replicas of a topic: distinct brokers, old partitions untouched, new shards never seen before.
func (m *model) placed(t *rapid.T, im *Image, got *Topic, want *modelTopic, before *Image) {
	old, _ := before.Topic(got.ID)
	for i := range got.Partitions {
		p := &got.Partitions[i]
		require.Len(t, p.Replicas, want.replicas)
		seen := map[protocol.BrokerID]bool{}
		for _, r := range p.Replicas {
			_, ok := im.Broker(r.Broker)
			require.True(t, ok && !seen[r.Broker])
			seen[r.Broker] = true
		}
		if old != nil && i < len(old.Partitions) {
			require.Equal(t, old.Partitions[i], *p)
			continue
		}
		require.False(t, m.shards[p.Shard], "shard %d used again", p.Shard)
		require.GreaterOrEqual(t, p.Shard, before.NextShard)
		m.shards[p.Shard] = true
	}
}

func drawCommand(t *rapid.T, request uint64) *command {
	name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		return &command{create: &wire.CreateTopic{
			Name: name, Partitions: rapid.Uint32Range(1, 9).Draw(t, "partitions"),
			Replicas: rapid.Uint32Range(1, 4).Draw(t, "replicas"), RequestID: request,
		}}
	case 1:
		return &command{remove: &removeTopic{request: request, DeleteTopic: wire.DeleteTopic{Name: name}}}
	case 2:
		a := &alterTopic{request: request, AlterTopic: wire.AlterTopic{Name: name}}
		if rapid.Bool().Draw(t, "grow") {
			a.Partitions = ptr(rapid.Uint32Range(1, 12).Draw(t, "partitions"))
		}
		if rapid.Bool().Draw(t, "retain") {
			a.RetentionMillis = ptr(rapid.Uint64Range(0, 5).Draw(t, "retention"))
		}
		return &command{alter: a}
	}
	b := testBroker(rapid.IntRange(1, 5).Draw(t, "broker"))
	b.Admin = rapid.SampledFrom([]string{"x:1", "x:2"}).Draw(t, "admin")
	if rapid.IntRange(0, 4).Draw(t, "wiped") == 0 {
		b.DirID[1] = 1
	}
	return &command{broker: b}
}

// The state machine agrees with the model over any history, with commands repeated late and snapshots in between.
func TestStateAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, m := newState(), newModel()
		var history []*command
		for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
			c := drawCommand(t, uint64(i+1))
			if len(history) > 0 && rapid.IntRange(0, 5).Draw(t, "again") == 0 {
				c = rapid.SampledFrom(history).Draw(t, "repeat")
			}
			history = append(history, c)
			before := s.image
			decoded, err := decodeCommand(c.encode())
			require.NoError(t, err)
			r := s.apply(decoded)
			code, a, b := m.apply(c)
			require.Equal(t, code, r.code, "%s", r.message)
			require.Equal(t, []uint64{a, b}, []uint64{r.a, r.b})
			m.agree(t, s, before)
			if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
				s = roundTrip(t, s)
			}
		}
	})
}

func roundTrip(t require.TestingT, s *state) *state {
	var buf, again bytes.Buffer
	require.NoError(t, saveSnapshot(&buf, s, nil))
	got, err := loadSnapshot(bytes.NewReader(buf.Bytes()), nil)
	require.NoError(t, err)
	require.NoError(t, saveSnapshot(&again, got, nil))
	require.Equal(t, buf.Bytes(), again.Bytes(), "equal states give equal bytes")
	require.Equal(t, s.image, got.image)
	require.Equal(t, s.producers, got.producers)
	require.Equal(t, s.loads, got.loads)
	return got
}

// Producer epochs grow by one per opening; a repeated opening gets the epoch it got before.
func TestInitProducer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newState()
		given := map[uint64]result{}
		recent := map[string][]uint64{}
		epochs, ids := map[string]uint64{}, map[string]uint64{}
		for i := range rapid.IntRange(1, 40).Draw(t, "openings") {
			name := rapid.SampledFrom([]string{"p", "q"}).Draw(t, "name")
			nonce := uint64(i + 1)
			if last := recent[name]; len(last) > 0 && rapid.Bool().Draw(t, "again") {
				nonce = rapid.SampledFrom(last[max(0, len(last)-rememberedNonces):]).Draw(t, "nonce")
			}
			r := s.apply(&command{producer: &initProducer{nonce: nonce, name: name}})
			require.Zero(t, r.code)
			if was, ok := given[nonce]; ok {
				require.Equal(t, was, r)
				continue
			}
			given[nonce] = r
			recent[name] = append(recent[name], nonce)
			epochs[name]++
			require.Equal(t, epochs[name], r.b)
			require.True(t, protocol.ProducerID(r.a).Named())
			if id, ok := ids[name]; ok {
				require.Equal(t, id, r.a)
			}
			ids[name] = r.a
			if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
				s = roundTrip(t, s)
			}
		}
		require.NotEqual(t, append([]uint64{}, ids["p"]), append([]uint64{}, ids["q"]))
		require.Zero(t, s.image.Version, "producers are not part of the image")
	})
}

func brokers(t *testing.T, n int) *state {
	s := newState()
	for i := range n {
		require.Zero(t, s.apply(&command{broker: testBroker(i + 1)}).code)
	}
	return s
}

func create(name string, partitions, replicas uint32, request uint64) *command {
	return &command{create: &wire.CreateTopic{Name: name, Partitions: partitions, Replicas: replicas, RequestID: request}}
}

func TestCreateAgainHasNewIdentity(t *testing.T) {
	s := brokers(t, 3)
	first := s.apply(create("orders", 4, 3, 1))
	was, _ := s.image.TopicNamed("orders")
	s.apply(&command{remove: &removeTopic{request: 2, DeleteTopic: wire.DeleteTopic{Name: "orders"}}})
	require.True(t, s.image.Deleted(was.ID))
	second := s.apply(create("orders", 4, 3, 3))
	require.NotEqual(t, first.a, second.a)
	now, _ := s.image.TopicNamed("orders")
	for _, p := range now.Partitions {
		for _, q := range was.Partitions {
			require.NotEqual(t, p.Shard, q.Shard)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := brokers(t, 2)
	require.Zero(t, s.apply(create("orders", 3, 2, 1)).code)
	cases := []struct {
		name string
		c    *command
		code protocol.Code
		text string
	}{
		{"exists", create("orders", 1, 1, 2), protocol.CodeTopicExists, "exists already"},
		{"replicas", create("x", 1, 3, 3), protocol.CodeTooManyReplicas, "start more brokers"},
		{"no replicas", create("x", 1, 0, 4), protocol.CodeInvalidConfig, "replicas is 0"},
		{"no partitions", create("x", 0, 1, 5), protocol.CodeInvalidConfig, "partitions is 0"},
		{"partitions", create("x", 5000, 1, 6), protocol.CodeInvalidConfig, "1 to 4096"},
		{"name", create("a/b", 1, 1, 7), protocol.CodeInvalidName, "a name has"},
		{"request id", create("other", 1, 1, 1), protocol.CodeInvalidRequest, "another request"},
		{"fewer", &command{alter: &alterTopic{8, wire.AlterTopic{Name: "orders", Partitions: ptr(uint32(2))}}},
			protocol.CodeInvalidConfig, "cannot have fewer"},
		{"alter unknown", &command{alter: &alterTopic{9, wire.AlterTopic{Name: "x"}}}, protocol.CodeTopicNotFound, `"x"`},
		{"segment", &command{alter: &alterTopic{10, wire.AlterTopic{Name: "orders", SegmentBytes: ptr(uint64(1))}}},
			protocol.CodeInvalidConfig, "segment size"},
		{"delete unknown", &command{remove: &removeTopic{11, wire.DeleteTopic{Name: "x"}}}, protocol.CodeTopicNotFound, `"x"`},
		{"delete other id", &command{remove: &removeTopic{12, wire.DeleteTopic{Name: "x", ID: 1}}},
			protocol.CodeTopicNotFound, "nothing was deleted"},
		{"delete future id", &command{remove: &removeTopic{13, wire.DeleteTopic{ID: 77}}}, protocol.CodeTopicNotFound, "id 77"},
		{"producer", &command{producer: &initProducer{1, ""}}, protocol.CodeInvalidName, "producer name"},
		{"empty", &command{}, protocol.CodeInvalidRequest, "empty"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := s.image
			r := s.apply(c.c)
			require.Equal(t, c.code.String(), r.code.String(), r.message)
			require.Contains(t, r.message, c.text)
			require.Same(t, before, s.image)
		})
	}
	r := s.apply(&command{remove: &removeTopic{20, wire.DeleteTopic{Name: "orders", ID: 1}}})
	require.Zero(t, r.code)
	r = s.apply(&command{remove: &removeTopic{21, wire.DeleteTopic{Name: "orders", ID: 1}}})
	require.Zero(t, r.code, "deleting a deleted id succeeds")
}

func TestRegisterBroker(t *testing.T) {
	s := brokers(t, 2)
	v := s.image.Version
	require.Zero(t, s.apply(&command{broker: testBroker(1)}).code)
	require.Equal(t, v, s.image.Version, "nothing changed")

	moved := testBroker(1)
	moved.Listen = "new:7400"
	require.Zero(t, s.apply(&command{broker: moved}).code)
	b, _ := s.image.Broker(1)
	require.Equal(t, "new:7400", b.Listen)

	wiped := testBroker(1)
	wiped.DirID[5] = 9
	r := s.apply(&command{broker: wiped})
	require.Equal(t, protocol.CodeInvalidConfig, r.code)
	require.Contains(t, r.message, "wiped")
	require.Contains(t, r.message, "never used")

	copied := testBroker(3)
	copied.DirID = testBroker(2).DirID
	require.Contains(t, s.apply(&command{broker: copied}).message, "copied directory")
	same := testBroker(3)
	same.RaftAddr = testBroker(2).RaftAddr
	require.Zero(t, s.apply(&command{broker: same}).code, "a new broker may live where a dead one did")
	require.Contains(t, s.apply(&command{broker: &Broker{ID: 4}}).message, "no data directory id")
	require.Contains(t, s.apply(&command{broker: &Broker{}}).message, "broker id is 0")
}

func TestBounds(t *testing.T) {
	s := brokers(t, 1)
	n := uint64(100)
	for s.image.Partitions+protocol.MaxPartitions <= MaxTotalPartitions {
		n++
		require.Zero(t, s.apply(create(fmt.Sprintf("big%d", n), protocol.MaxPartitions, 1, n)).code)
	}
	r := s.apply(create("more", protocol.MaxPartitions, 1, 1))
	require.Equal(t, protocol.CodeLimitExceeded, r.code)
	rest := uint32(MaxTotalPartitions - s.image.Partitions)
	require.Zero(t, s.apply(create("rest", rest, 1, 2)).code)
	grow := &alterTopic{3, wire.AlterTopic{Name: "rest", Partitions: ptr(rest + 1)}}
	require.Equal(t, protocol.CodeLimitExceeded, s.apply(&command{alter: grow}).code)

	s.image = newImage().withBroker(Broker{ID: 1, State: Active})
	for i := range MaxTopics {
		name := fmt.Sprintf("t%05d", i)
		part := Partition{Shard: FirstShard + uint64(i), Replicas: []Replica{{Broker: 1, ReplicaID: 1}}}
		s.image = s.image.withTopic(&Topic{ID: s.image.NextTopic, Name: name, Replicas: 1, Partitions: []Partition{part}})
	}
	require.Equal(t, protocol.CodeLimitExceeded, s.apply(create("one.more", 1, 1, 4)).code)
	roundTrip(t, &state{image: s.image, producers: map[string]*producer{}, loads: loadsOf(s.image)})
}

func TestAnswersAreForgottenInOrder(t *testing.T) {
	var a answers
	for i := range uint64(3 * rememberedRequests) {
		a.put(answer{request: i + 1})
	}
	require.Len(t, a.ring, rememberedRequests)
	require.Len(t, a.by, rememberedRequests)
	next := uint64(2*rememberedRequests) + 1
	a.each(func(x *answer) {
		require.Equal(t, next, x.request)
		next++
	})
	_, ok := a.get(2 * rememberedRequests)
	require.False(t, ok)
}

func TestImageChanges(t *testing.T) {
	s := brokers(t, 1)
	for i := range uint64(4) {
		s.apply(create(fmt.Sprintf("t%d", i), 1, 1, i+1))
	}
	old := s.image
	s.apply(&command{remove: &removeTopic{10, wire.DeleteTopic{Name: "t1"}}})
	s.apply(&command{alter: &alterTopic{11, wire.AlterTopic{Name: "t2", RetentionMillis: ptr(uint64(5))}}})
	s.apply(create("t9", 1, 1, 12))
	var put, gone []string
	s.image.Changes(old, func(t *Topic) { put = append(put, t.Name) }, func(t *Topic) { gone = append(gone, t.Name) })
	require.Equal(t, []string{"t2", "t9"}, put)
	require.Equal(t, []string{"t1"}, gone)
	require.Len(t, old.Topics(), 4, "the old image did not change")
}

func BenchmarkCreateTopicAmongMany(b *testing.B) {
	s := newState()
	for i := range 3 {
		s.apply(&command{broker: testBroker(i + 1)})
	}
	for i := range 5000 {
		s.apply(create(fmt.Sprintf("t%d", i), 10, 3, uint64(i+1)))
	}
	n := uint64(100_000)
	for b.Loop() {
		n += 2
		s.apply(create("x", 10, 3, n))
		s.apply(&command{remove: &removeTopic{n + 1, wire.DeleteTopic{Name: "x"}}})
	}
}
