package liveness

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/trunkline/trunkline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hub connects the ports of a test.
type hub struct {
	mu    sync.Mutex
	ports map[protocol.BrokerID]*hubPort
}

type hubPort struct {
	h    *hub
	id   protocol.BrokerID
	fn   func(protocol.BrokerID, []byte)
	off  bool // guarded by h.mu
	sent int  // guarded by h.mu
}

func (p *hubPort) Receive(fn func(protocol.BrokerID, []byte)) { p.fn = fn }

func (p *hubPort) RoundTrip(protocol.BrokerID) time.Duration { return 0 }

func (p *hubPort) Send(to protocol.BrokerID, b []byte) bool {
	p.h.mu.Lock()
	q := p.h.ports[to]
	ok := q != nil && q.fn != nil && !p.off && !q.off
	p.sent++
	p.h.mu.Unlock()
	if ok {
		q.fn(p.id, bytes.Clone(b))
	}
	return ok
}

func (h *hub) off(id protocol.BrokerID, off bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ports[id].off = off
}

func newHub(n int) *hub {
	h := &hub{ports: map[protocol.BrokerID]*hubPort{}}
	for i := range n {
		id := protocol.BrokerID(i + 1)
		h.ports[id] = &hubPort{h: h, id: id}
	}
	return h
}

func (h *hub) config(id protocol.BrokerID) Config {
	cfg := Config{Self: id, BootID: bootOf(id, 1), Port: h.ports[id], Registerer: prometheus.NewRegistry()}
	for p := range h.ports {
		cfg.Peers = append(cfg.Peers, p)
	}
	return cfg
}

func TestThreeDetectorsFollowASilenceAndADeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		var ds []*Detector
		var changes []View
		var ticks atomic.Int64
		for id := protocol.BrokerID(1); id <= 3; id++ {
			cfg := h.config(id)
			if id == 2 {
				cfg.OnChange = func(v View) { changes = append(changes, v) }
				cfg.OnTick = func(time.Time) { ticks.Add(1) }
			}
			ds = append(ds, New(cfg))
		}
		all := ids(1, 2, 3)
		for _, d := range ds {
			d.Start(context.Background())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		require.True(t, ds[1].Alive(1) && ds[1].Alive(2) && ds[1].Alive(3))
		require.True(t, ds[1].HearsMajority(all))
		require.InDelta(t, 20, ticks.Load(), 1)

		h.off(1, true)
		time.Sleep(600 * time.Millisecond)
		synctest.Wait()
		require.True(t, ds[1].Deposed(1, all) && ds[2].Deposed(1, all))
		require.False(t, ds[0].Deposed(2, all), "1 alone is no majority")
		require.False(t, ds[0].HearsMajority(all))
		h.off(1, false)
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		require.False(t, ds[1].Deposed(1, all))

		ds[0].Close()
		ds[1].PeerDown(1, bootOf(1, 1), "refused")
		synctest.Wait()
		require.True(t, ds[1].Deposed(1, all))
		require.False(t, ds[1].Alive(1))
		v := ds[1].Views()
		require.Len(t, v, 2)
		require.Equal(t, Dead, v[0].State)
		require.Equal(t, Alive, v[1].State)
		require.Equal(t, []State{Suspect, Alive, Dead}, statesOf(changes, 1))
		ds[1].PeerUp(1, bootOf(1, 2))
		require.True(t, ds[1].Alive(1))
		require.Equal(t, []death{{1, bootOf(1, 1)}}, ds[1].takeDeaths())
		for _, d := range ds {
			d.Close()
			d.Close()
		}
	})
}

func statesOf(vs []View, b protocol.BrokerID) (out []State) {
	for _, v := range vs {
		if v.Broker == b && (len(out) > 0 || v.State != Alive) {
			out = append(out, v.State)
		}
	}
	return out
}

func TestSincePingGrowsWhenPingsStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Self: 1, Port: deafPort{}})
		d.Start(t.Context())
		time.Sleep(time.Minute)
		require.LessOrEqual(t, d.SincePing(), DefaultPingInterval)
		d.Close()
		time.Sleep(time.Minute)
		require.GreaterOrEqual(t, d.SincePing(), time.Minute)
	})
}

// deafPort takes everything and brings nothing.
type deafPort struct{}

func (deafPort) Send(protocol.BrokerID, []byte) bool            { return true }
func (deafPort) Receive(func(from protocol.BrokerID, _ []byte)) {}
func (deafPort) RoundTrip(protocol.BrokerID) time.Duration      { return 0 }

func TestBroadcast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		var got [][]byte
		a := New(h.config(1))
		cfg := h.config(2)
		cfg.OnPayload = func(from protocol.BrokerID, b []byte) {
			require.Equal(t, protocol.BrokerID(1), from)
			got = append(got, bytes.Clone(b))
		}
		b := New(cfg)
		a.Broadcast([]byte("one"))
		a.Broadcast(make([]byte, MaxPayload+1))
		a.Broadcast([]byte("two"))
		require.Equal(t, [][]byte{[]byte("one"), []byte("two")}, got)
		b.receive(1, []byte{framePing, 1})
		b.receive(1, nil)
		b.Close()
		a.Broadcast([]byte("three"))
		require.Len(t, got, 2, "nothing is received after Close")
		a.Close()
	})
}

// blockingHandler is a log on a disk that hangs.
type blockingHandler struct {
	slog.Handler
	hang chan struct{}
}

func (b blockingHandler) Handle(context.Context, slog.Record) error {
	<-b.hang
	return nil
}

func TestPingsGoOnWhileTheLogHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(2)
		cfg := h.config(1)
		hang := make(chan struct{})
		cfg.Log = slog.New(blockingHandler{slog.NewTextHandler(&bytes.Buffer{}, nil), hang})
		d := New(cfg)
		d.Start(context.Background())
		for i := range maxEvents + 100 {
			d.PeerUp(2, [16]byte{byte(i), byte(i >> 8), 1})
			d.PeerDown(2, [16]byte{byte(i), byte(i >> 8), 1}, "test")
		}
		require.Len(t, d.takeDeaths(), maxDeaths)
		count := func() int {
			h.mu.Lock()
			defer h.mu.Unlock()
			return h.ports[1].sent
		}
		before := count()
		time.Sleep(time.Second)
		synctest.Wait()
		require.InDelta(t, 20, count()-before, 2)
		close(hang)
		d.Close()
	})
}

func TestAStalledDiskTravels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		var stalled, short atomic.Bool
		cfg := h.config(1)
		cfg.DiskStalled, cfg.DiskShort = stalled.Load, short.Load
		ds := []*Detector{New(cfg), New(h.config(2)), New(h.config(3))}
		for _, d := range ds {
			d.Start(context.Background())
		}
		time.Sleep(200 * time.Millisecond)
		require.True(t, ds[1].Roomy(1))
		short.Store(true)
		time.Sleep(110 * time.Millisecond)
		synctest.Wait()
		require.True(t, ds[1].Views()[0].ShortDisk)
		require.False(t, ds[1].Roomy(1))
		require.False(t, ds[0].Roomy(1))
		require.True(t, ds[1].Roomy(3))
		require.False(t, ds[1].Deposed(1, ids(1, 2, 3)))
		stalled.Store(true)
		time.Sleep(110 * time.Millisecond)
		synctest.Wait()
		require.True(t, ds[1].Views()[0].StalledDisk)
		require.True(t, ds[1].Deposed(1, ids(1, 2, 3)))
		for _, d := range ds {
			d.Close()
		}
	})
}

// raftSim is three replicas of many shards: a campaign wins at once, unless it is skipped.
type raftSim struct {
	mu       sync.Mutex
	shards   map[uint64]*fakeShard
	skip     map[uint64]int // campaigns to skip
	asked    map[uint64]int
	electing time.Duration
}

type raftView struct {
	*raftSim
	self protocol.BrokerID
}

func (r raftView) Led(by protocol.BrokerID) (out []Shard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, s := range r.shards {
		if s.leader == by {
			out = append(out, Shard{ID: id, Term: s.term, Replicas: s.replicas})
		}
	}
	return out
}

func (r raftView) Leader(id uint64) (protocol.BrokerID, uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.shards[id]
	return s.leader, s.term, true
}

func (r raftView) Petition(id uint64, _ []protocol.BrokerID) { r.Campaign(id) }

func (r raftView) Campaign(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked[id]++
	if r.skip[id] > 0 {
		r.skip[id]--
		return
	}
	s := r.shards[id]
	s.term++
	s.leader = 0
	term := s.term
	time.AfterFunc(r.electing, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.term == term {
			s.leader = r.self
		}
	})
}

func TestTakeoverAfterADeathIsFastAndBalanced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		sim := &raftSim{
			shards: map[uint64]*fakeShard{}, skip: map[uint64]int{3: 2}, asked: map[uint64]int{},
			electing: 10 * time.Millisecond,
		}
		for i := range uint64(30) {
			replicas := ids(1, 2, 3)
			if i%2 == 1 {
				replicas = ids(1, 3, 2)
			}
			sim.shards[i] = &fakeShard{replicas: replicas, leader: 1, term: 2}
		}
		var ds []*Detector
		var ts []*Takeover
		for id := protocol.BrokerID(1); id <= 3; id++ {
			d := New(h.config(id))
			d.Start(context.Background())
			ds = append(ds, d)
			if id > 1 {
				to := NewTakeover(TakeoverConfig{
					Detector: d, Shards: raftView{sim, id}, Registerer: prometheus.NewRegistry(),
				})
				to.Start(context.Background())
				ts = append(ts, to)
			}
		}
		time.Sleep(time.Second)
		ds[0].Close()
		h.off(1, true)
		killed := time.Now()
		ds[1].PeerDown(1, bootOf(1, 1), "refused")
		ds[2].PeerDown(1, bootOf(1, 1), "refused")
		ds[1].PeerUp(1, bootOf(1, 2)) // it is back before anybody looked
		time.Sleep(20 * time.Millisecond)
		sim.mu.Lock()
		for i, s := range sim.shards {
			if i != 3 {
				require.Equal(t, s.replicas[1], s.leader, "shard %d", i)
				require.Equal(t, 1, sim.asked[i], "one candidate was enough")
			}
		}
		sim.mu.Unlock()
		for l := protocol.BrokerID(0); l < 2; l, _, _ = (raftView{sim, 2}).Leader(3) {
			time.Sleep(time.Millisecond)
		}
		require.Less(t, time.Since(killed), 70*time.Millisecond, "the skipped ones are asked again")
		for _, to := range ts {
			to.Close()
			to.Close()
		}
		for _, d := range ds {
			d.Close()
		}
	})
}

func TestPeersChangeWhileDetectorsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(3)
		cfg := h.config(1)
		cfg.Peers = ids(2)
		reg := cfg.Registerer.(*prometheus.Registry)
		ds := []*Detector{New(cfg), New(h.config(2)), New(h.config(3))}
		for _, d := range ds {
			d.Start(context.Background())
		}
		time.Sleep(time.Second)
		require.False(t, ds[0].Alive(3))
		require.Equal(t, 1, peersIn(t, reg))
		ds[0].SetPeers(ids(1, 2, 3))
		time.Sleep(100 * time.Millisecond)
		require.True(t, ds[0].Alive(3) && ds[0].Alive(2))
		require.Len(t, ds[0].Views(), 2)
		require.Equal(t, 2, peersIn(t, reg))
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 50 {
					ds[0].SetPeers(ids(2))
					ds[0].Broadcast([]byte("x"))
					ds[0].SetPeers(ids(2, 3))
					time.Sleep(time.Millisecond)
				}
			})
		}
		all.Wait()
		ds[0].PeerDown(3, bootOf(3, 1), "refused") // its event is under way when it is forgotten
		ds[0].SetPeers(ids(2))
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, 1, peersIn(t, reg))
		require.True(t, ds[0].Alive(2), "it was never forgotten")
		require.True(t, ds[1].Alive(1))
		for _, d := range ds {
			d.Close()
		}
	})
}

// peersIn counts the brokers that the metrics name.
func peersIn(t *testing.T, reg *prometheus.Registry) int {
	t.Helper()
	families, err := reg.Gather()
	require.NoError(t, err)
	peers := map[string]bool{}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "peer" {
					peers[l.GetValue()] = true
				}
			}
		}
	}
	return len(peers)
}
