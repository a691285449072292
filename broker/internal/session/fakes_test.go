package session

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/broker/internal/feed/feedtest"
	"github.com/trunkline/trunkline/broker/internal/transport"
	"github.com/trunkline/trunkline/broker/internal/transport/transporttest"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/batch"
	"github.com/trunkline/trunkline/protocol/frame"
	"github.com/trunkline/trunkline/protocol/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// fakePartition answers appends from a goroutine of its own, in order.
type fakePartition struct {
	*feedtest.Partition
	queue chan func()

	mu    sync.Mutex
	stall chan struct{} // if not nil, Append waits for it
	hold  chan struct{} // if not nil, answers wait for it

	refusal *protocol.Error // of Append
}

func newFakePartition(t *testing.T) *fakePartition {
	p := &fakePartition{Partition: feedtest.New(), queue: make(chan func(), 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for f := range p.queue {
			f()
		}
	}()
	t.Cleanup(func() { close(p.queue); <-done })
	return p
}

func (p *fakePartition) set(field *chan struct{}) (release func()) {
	ch := make(chan struct{})
	p.mu.Lock()
	*field = ch
	p.mu.Unlock()
	return sync.OnceFunc(func() {
		p.mu.Lock()
		*field = nil
		p.mu.Unlock()
		close(ch)
	})
}

// FailAppends makes Append refuse.
func (p *fakePartition) FailAppends(err *protocol.Error) {
	p.mu.Lock()
	p.refusal = err
	p.mu.Unlock()
}

// Stall makes Append wait; Hold makes answers wait.
func (p *fakePartition) Stall() func() { return p.set(&p.stall) }
func (p *fakePartition) Hold() func()  { return p.set(&p.hold) }

func (p *fakePartition) Append(ctx context.Context, b []byte, h batch.Header, done func(Ack)) error {
	p.mu.Lock()
	stall, hold, refusal := p.stall, p.hold, p.refusal
	p.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if _, _, leads := p.Leading(); !leads {
		return protocol.Errorf(protocol.CodeNotLeader, "lost")
	}
	if refusal != nil {
		return refusal
	}
	p.queue <- func() {
		if hold != nil {
			<-hold
		}
		base, dup, err := p.Put(b)
		a := Ack{Offset: base, Epoch: p.Epoch(), Duplicate: dup}
		if err != nil {
			a.Err = asError(err)
		}
		done(a)
	}
	return nil
}

func (p *fakePartition) OpenProducer(_ context.Context, id protocol.ProducerID, e protocol.ProducerEpoch) (protocol.Sequence, protocol.Epoch, error) {
	if _, _, leads := p.Leading(); !leads {
		return 0, 0, protocol.Errorf(protocol.CodeNotLeader, "lost")
	}
	if id == panicProducer {
		panic("a defect")
	}
	return p.NextSequence(id), p.Epoch(), nil
}

func (p *fakePartition) State() wire.PartitionState {
	s := wire.PartitionState{Leading: true, Epoch: p.Epoch(), Applied: 77}
	s.Start, s.Next = p.Bounds()
	return s
}

const panicProducer = protocol.ProducerID(666)

type fakeMeta struct {
	mu      sync.Mutex
	meta    wire.Metadata
	changed chan struct{}
}

func (m *fakeMeta) Metadata() wire.Metadata {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.meta
}

func (m *fakeMeta) Topic(id protocol.TopicID) (wire.TopicInfo, bool) {
	for _, t := range m.Metadata().Topics {
		if t.ID == id {
			return t, true
		}
	}
	return wire.TopicInfo{}, false
}

func (m *fakeMeta) Deleted(id protocol.TopicID) bool { return id == 40 }

func (m *fakeMeta) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *fakeMeta) add(t wire.TopicInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.meta.Version++
	m.meta.Topics = append(m.meta.Topics[:len(m.meta.Topics):len(m.meta.Topics)], t)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *fakeMeta) CreateTopic(ctx context.Context, r wire.CreateTopic) (wire.TopicInfo, error) {
	if r.Name == "slow" {
		<-ctx.Done()
		return wire.TopicInfo{}, ctx.Err()
	}
	if _, ok := m.Topic(protocol.TopicID(r.RequestID)); ok {
		return wire.TopicInfo{}, protocol.Errorf(protocol.CodeTopicExists, "there is one")
	}
	t := wire.TopicInfo{ID: protocol.TopicID(r.RequestID), Name: r.Name, Config: r.Config, Partitions: make([]wire.PartitionInfo, r.Partitions)}
	for i := range t.Partitions {
		t.Partitions[i].Partition = protocol.Partition(i)
	}
	m.add(t)
	return t, nil
}

func (m *fakeMeta) DeleteTopic(_ context.Context, r wire.DeleteTopic) (protocol.TopicID, error) {
	return r.ID, nil
}

func (m *fakeMeta) AlterTopic(_ context.Context, r wire.AlterTopic) (wire.TopicInfo, error) {
	return wire.TopicInfo{Name: r.Name}, nil
}

func (m *fakeMeta) InitProducer(_ context.Context, name string) (wire.InitProducerOK, error) {
	return wire.InitProducerOK{Producer: protocol.NamedProducerBit | 5, Epoch: 3}, nil
}

func (m *fakeMeta) SetBrokerState(_ context.Context, r wire.SetBrokerState) error {
	if r.Broker == 9 {
		return protocol.Errorf(protocol.CodeNotFound, "there is no broker 9")
	}
	return nil
}

func (m *fakeMeta) Moves() []wire.Move {
	return []wire.Move{{Topic: 1, Partition: 2, Shard: 18, ID: 7, Add: 2}}
}

type fakeLeaders struct {
	mu    sync.Mutex
	known map[protocol.TopicPartition]wire.Leader
	log   []wire.Leader
	wake  chan struct{}
}

func (l *fakeLeaders) Leader(tp protocol.TopicPartition) (protocol.BrokerID, protocol.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[tp].Leader, l.known[tp].Epoch
}

func (l *fakeLeaders) observe(w wire.Leader) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.known[protocol.TopicPartition{Topic: w.Topic, Partition: w.Partition}] = w
	l.log = append(l.log, w)
	close(l.wake)
	l.wake = make(chan struct{})
}

func (l *fakeLeaders) Follow() LeaderChanges { return &fakeFollower{l: l} }

type fakeFollower struct {
	l  *fakeLeaders
	at int
}

func (f *fakeFollower) Ready() <-chan struct{} {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	if f.at < len(f.l.log) {
		ch := make(chan struct{})
		close(ch)
		return ch
	}
	return f.l.wake
}

func (f *fakeFollower) Take() []wire.Leader {
	f.l.mu.Lock()
	defer f.l.mu.Unlock()
	out := f.l.log[f.at:]
	f.at = len(f.l.log)
	return out
}

// world is a server and everything around it.
type world struct {
	t          *testing.T
	srv        *Server
	meta       *fakeMeta
	leaders    *fakeLeaders
	partitions map[protocol.TopicPartition]*fakePartition
	dial       func() *transporttest.Client
}

func (w *world) Partition(tp protocol.TopicPartition) (Partition, bool) {
	p, ok := w.partitions[tp]
	return p, ok
}

var tp0, tp1 = protocol.TopicPartition{Topic: 1}, protocol.TopicPartition{Topic: 1, Partition: 1}

// newWorld serves topic 1, of which partitions 0 to 2 are here and 3 is elsewhere.
func newWorld(t *testing.T, change func(*Config)) *world {
	return newWorldBehind(t, transport.Config{}, change)
}

// newWorldBehind is newWorld behind a listener with limits of its own; its certificates are the world's.
func newWorldBehind(t *testing.T, listen transport.Config, change func(*Config)) *world {
	w := &world{
		t:       t,
		meta:    &fakeMeta{changed: make(chan struct{})},
		leaders: &fakeLeaders{known: map[protocol.TopicPartition]wire.Leader{}, wake: make(chan struct{})},

		partitions: map[protocol.TopicPartition]*fakePartition{},
	}
	w.meta.meta.Brokers = []wire.BrokerInfo{{ID: 1, Listen: "here", Alive: true}, {ID: 2, Listen: "there", Alive: true}}
	info := wire.TopicInfo{ID: 1, Name: "t"}
	for i := range protocol.Partition(4) {
		info.Partitions = append(info.Partitions, wire.PartitionInfo{Partition: i, Replicas: []protocol.BrokerID{1, 2}})
		if i < 3 {
			w.partitions[protocol.TopicPartition{Topic: 1, Partition: i}] = newFakePartition(t)
		}
	}
	w.meta.add(info)
	w.leaders.observe(wire.Leader{Topic: 1, Partition: 3, Leader: 2, Epoch: 9})
	cfg := Config{
		Cluster: "test", Self: 1, Version: "v0", Meta: w.meta, Leaders: w.leaders, Partitions: w,
		Status: func() wire.ClusterStatus { return wire.ClusterStatus{Broker: 1, Cluster: "test"} },
		Plan:   func() wire.ClusterPlan { return wire.ClusterPlan{Broker: 1, LeftOut: 3} },
		RaiseLevel: func(_ context.Context, level protocol.Level) (protocol.Level, error) {
			if level > 2 {
				return 0, protocol.Errorf(protocol.CodeInvalidRequest, "broker 1 understands level 2")
			}
			return 2, nil
		},
		Registerer: prometheus.NewPedanticRegistry(),
	}
	cfg.Limits.HeartbeatLost = time.Minute
	if change != nil {
		change(&cfg)
	}
	srv, err := NewServer(cfg)
	require.NoError(t, err)
	w.srv = srv
	server, client := transporttest.Certificates(t)
	listen.TLS = server
	l := transporttest.Listen(t, listen)
	served := make(chan struct{})
	go func() {
		defer close(served)
		require.NoError(t, srv.Serve(context.Background(), l))
	}()
	t.Cleanup(func() { srv.Close(); <-served })
	w.dial = func() *transporttest.Client { return transporttest.Dial(t, l.Addr(), client) }
	return w
}

// lane is one stream of a client.
type lane struct {
	t *testing.T
	*transporttest.Stream
	r *frame.Reader
}

func (w *world) lane(c *transporttest.Client) *lane {
	s := c.Open(w.t)
	require.NoError(w.t, s.SetDeadline(time.Now().Add(patience)))
	return &lane{w.t, s, frame.NewReader(s)}
}

// half ends the client's side. It fails if the broker has said already that it reads no more, which is no harm.
func (l *lane) half() { _ = l.Close() }

type message interface{ Append([]byte) []byte }

func (l *lane) send(k protocol.Kind, m message) {
	l.t.Helper()
	_, err := l.Write(wire.AppendFrame(nil, k, m))
	require.NoError(l.t, err)
}

// want reads the next frame, which must be of kind k, into m.
func (l *lane) want(k protocol.Kind, m interface{ Decode([]byte) error }) {
	l.t.Helper()
	got, body, err := l.r.Next()
	require.NoError(l.t, err)
	if got == protocol.KindError && k != got {
		var e wire.Error
		require.NoError(l.t, e.Decode(body))
		require.Fail(l.t, "error frame", "%v", e.Err())
	}
	require.Equal(l.t, k, got)
	require.NoError(l.t, m.Decode(body))
}

// wantError reads an error frame with a code and then the end of the stream.
func (l *lane) wantError(code protocol.Code) *protocol.Error {
	l.t.Helper()
	var e wire.Error
	l.want(protocol.KindError, &e)
	require.Equal(l.t, code, e.Code, e.Message)
	l.wantEnd()
	return e.Err()
}

func (l *lane) wantEnd() {
	l.t.Helper()
	_, _, err := l.r.Next()
	require.ErrorIs(l.t, err, io.EOF)
}

var hello = wire.Hello{ClientName: "test", MinVersion: 1, MaxVersion: 1}

// connect dials and says hello.
func (w *world) connect() (*transporttest.Client, *lane) {
	c := w.dial()
	ctl := w.lane(c)
	ctl.send(protocol.KindHello, &hello)
	var ok wire.HelloOK
	ctl.want(protocol.KindHelloOK, &ok)
	require.EqualValues(w.t, 1, ok.Broker)
	return c, ctl
}

func (w *world) produce(c *transporttest.Client, tp protocol.TopicPartition, id protocol.ProducerID) *lane {
	w.t.Helper()
	l := w.lane(c)
	l.send(protocol.KindProduceOpen, &wire.ProduceOpen{Topic: tp.Topic, Partition: tp.Partition, Producer: id})
	var ok wire.ProduceOpenOK
	l.want(protocol.KindProduceOpenOK, &ok)
	return l
}

// batch sends count records of size bytes from sequence base on.
func (l *lane) batch(id protocol.ProducerID, base protocol.Sequence, count, size int) {
	l.t.Helper()
	_, err := l.Write(frame.Append(nil, protocol.KindProduce, feedtest.MakeBatch(id, base, count, size)))
	require.NoError(l.t, err)
}

func (l *lane) wantAck() wire.ProduceAck {
	l.t.Helper()
	var a wire.ProduceAck
	l.want(protocol.KindProduceAck, &a)
	return a
}

func (w *world) request(c *transporttest.Client, r *wire.Request) *wire.Response {
	w.t.Helper()
	l := w.lane(c)
	l.send(protocol.KindRequest, r)
	l.half()
	var resp wire.Response
	l.want(protocol.KindResponse, &resp)
	l.wantEnd()
	return &resp
}
