package liveness

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// Defaults and bounds.
const (
	DefaultPingInterval = 50 * time.Millisecond
	DefaultSilentAfter  = 400 * time.Millisecond
	// MaxPayload bounds what Broadcast carries; longer ones are dropped and counted.
	MaxPayload = 64 << 10
	// maxEvents bounds the changes that wait for OnChange and the log; at the bound they are dropped and counted.
	maxEvents = 1024
	// maxDeaths bounds the deaths that wait for a Takeover; at the bound the oldest is forgotten.
	maxDeaths = 64
)

// Port carries small payloads between brokers: unreliable, in order, never blocking. raftnet.Port implements it.
type Port interface {
	Send(to protocol.BrokerID, payload []byte) bool
	Receive(fn func(from protocol.BrokerID, payload []byte))
	// RoundTrip is how long a payload to a broker and the answer take at best, as lately measured; 0 if it is not known.
	RoundTrip(to protocol.BrokerID) time.Duration
}

// State is what this broker believes about another one. Never renumber: the numbers are in metrics.
type State uint8

// The states.
const (
	Unknown State = 0 // never heard
	Alive   State = 1 // heard within SilentAfter
	Suspect State = 2 // not heard for SilentAfter by this broker
	Dead    State = 3 // its process is known to be gone
)

// String returns the state in one lower-case word.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Dead:
		return "dead"
	}
	return "unknown"
}

// View is what this broker believes about another one, with the times.
type View struct {
	Broker      protocol.BrokerID
	State       State
	Since       time.Time // when State began
	Heard       time.Time // zero if never
	Missed      time.Time // since when more than half of the brokers that tell, this one included, do not hear it; zero if they do
	StalledDisk bool      // it says that its disk hangs
	ShortDisk   bool      // it says that its disk is nearly full
	Starved     bool      // it says that it gets too little of the processors
	BootID      [16]byte
}

// Config describes a Detector. Self, BootID, Peers and Port are required.
type Config struct {
	Self         protocol.BrokerID
	BootID       [16]byte
	Peers        []protocol.BrokerID // those to watch at first, see SetPeers
	Port         Port
	PingInterval time.Duration // default DefaultPingInterval
	SilentAfter  time.Duration // default DefaultSilentAfter; at least 4 PingIntervals
	DiskStalled  func() bool   // called for each ping; must not block; may be nil
	DiskShort    func() bool   // publishes are refused for want of space; called for each ping; must not block; may be nil
	Starved      func() bool   // too little of the processors; called for each ping; must not block; may be nil
	// OnChange is told of every change of a belief, OnTick is called each PingInterval. They are called from
	// one goroutine that is not the pinging one, so they may take their time. Both may be nil.
	OnChange func(View)
	OnTick   func(now time.Time)
	// OnPayload gets what other brokers broadcast. It must not block and must not keep the payload. It may be nil.
	OnPayload  func(from protocol.BrokerID, payload []byte)
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Detector watches the other brokers.
type Detector struct {
	cfg Config
	met *metrics

	mu     sync.Mutex
	core   *core   // guarded by mu
	deaths []death // guarded by mu; not yet taken by the Takeover

	closed  atomic.Bool
	made    time.Time
	pinged  atomic.Int64  // when pingLoop last went round, in nanoseconds since made: steps of the wall clock do not count
	urgent  chan struct{} // a change that the others should hear of now
	changed chan struct{} // a change that the Takeover should look at now
	events  chan event
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	once    sync.Once
}

// death is one incarnation that is gone.
type death struct {
	broker protocol.BrokerID
	boot   [16]byte
}

// New returns a Detector that does nothing until Start.
func New(cfg Config) *Detector {
	if cfg.PingInterval <= 0 {
		cfg.PingInterval = DefaultPingInterval
	}
	if cfg.SilentAfter <= 0 {
		cfg.SilentAfter = DefaultSilentAfter
	}
	cfg.SilentAfter = max(cfg.SilentAfter, 4*cfg.PingInterval)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Starved == nil {
		cfg.Starved = func() bool { return false }
	}
	if cfg.DiskShort == nil {
		cfg.DiskShort = func() bool { return false }
	}
	if cfg.DiskStalled == nil {
		cfg.DiskStalled = func() bool { return false }
	}
	d := &Detector{
		cfg:     cfg,
		core:    newCore(&cfg, time.Now()),
		urgent:  make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		events:  make(chan event, maxEvents),
		made:    time.Now(),
	}
	d.met = newMetrics(cfg.Registerer, d)
	cfg.Port.Receive(d.receive)
	return d
}

// Start begins to ping. The Detector ends with ctx or by Close.
func (d *Detector) Start(ctx context.Context) {
	ctx, d.cancel = context.WithCancel(ctx)
	d.mu.Lock()
	d.core.start(time.Now())
	d.mu.Unlock()
	d.pinged.Store(int64(time.Since(d.made)))
	d.wg.Go(func() { d.pingLoop(ctx) })
	d.wg.Go(func() { d.notifyLoop(ctx) })
}

// Close ends all goroutines and waits for them. It is idempotent.
func (d *Detector) Close() {
	d.once.Do(func() {
		d.closed.Store(true)
		if d.cancel != nil {
			d.cancel()
		}
		d.wg.Wait()
	})
}

// pingLoop is the goroutine that must never wait (Inv6).
func (d *Detector) pingLoop(ctx context.Context) {
	t := time.NewTicker(d.cfg.PingInterval)
	defer t.Stop()
	var buf []byte
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.urgent:
		case <-t.C:
			is := condition{stalled: d.cfg.DiskStalled(), short: d.cfg.DiskShort(), starved: d.cfg.Starved()}
			d.update(func(now time.Time) []event { return d.core.tick(now, is) })
			poke(d.changed)
		}
		d.mu.Lock()
		m, ids := d.core.next(time.Now()), d.core.ids
		d.mu.Unlock()
		buf = m.append(buf[:0])
		for _, id := range ids {
			if d.cfg.Port.Send(id, buf) {
				d.met.sent.Inc()
			}
		}
		d.pinged.Store(int64(time.Since(d.made)))
	}
}

// SincePing returns how long ago this broker pinged all that it is connected to, or was started. It takes no lock. Much above
// PingInterval it says that the pinging goroutine is held up, which by Inv6 takes a defect or a process that does not run.
func (d *Detector) SincePing() time.Duration {
	return time.Since(d.made) - time.Duration(d.pinged.Load())
}

// notifyLoop calls the hooks and logs, and may wait for whatever they wait for.
func (d *Detector) notifyLoop(ctx context.Context) {
	t := time.NewTicker(d.cfg.PingInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-d.events:
			d.notify(ev)
		case now := <-t.C:
			if d.cfg.OnTick != nil {
				d.cfg.OnTick(now)
			}
		}
	}
}

func (d *Detector) notify(ev event) {
	if ev.call != nil {
		ev.call()
		return
	}
	if ev.pause > 0 {
		d.met.pauses.Inc()
		d.cfg.Log.Warn("this broker did not run for a while, silence is counted anew", "late", ev.pause)
		return
	}
	v := ev.view
	level := slog.LevelInfo
	if v.State != Alive || v.StalledDisk || v.Starved {
		level = slog.LevelWarn
	}
	d.count(v)
	d.cfg.Log.Log(context.Background(), level, "broker is believed "+v.State.String(), "peer", uint64(v.Broker),
		"was", ev.was.String(), "reason", ev.reason, "stalled_disk", v.StalledDisk, "starved", v.Starved, "boot", bootHead(v.BootID))
	if d.cfg.OnChange != nil {
		d.cfg.OnChange(v)
	}
}

// count counts a change, unless its broker is watched no more: its series has ended.
func (d *Detector) count(v View) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.core.peers[v.Broker] != nil {
		d.met.changes.WithLabelValues(peerLabel(v.Broker), v.State.String()).Inc()
	}
}

// SetPeers says which brokers to watch from now on, at most MaxPeers, more are left out; Self is ignored. It never
// blocks. Of those that stay all beliefs stay. One that is new is Unknown until it is heard, and its silence counts
// only after 2 SilentAfter. One that is left out is forgotten: whoever asks about it is told that it is not heard, and
// nobody that it died. Call it before raftnet hears of the same brokers, else the first handshake is not taken in, but
// the first ping is.
func (d *Detector) SetPeers(ids []protocol.BrokerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.core.setPeers(time.Now(), ids) {
		d.met.changes.DeletePartialMatch(prometheus.Labels{"peer": peerLabel(id)})
	}
}

// update runs fn on the core and passes on what changed.
func (d *Detector) update(fn func(now time.Time) []event) {
	d.mu.Lock()
	evs := fn(time.Now())
	for _, ev := range evs {
		if ev.died {
			if len(d.deaths) == maxDeaths {
				d.deaths = d.deaths[1:]
			}
			d.deaths = append(d.deaths, death{ev.view.Broker, ev.boot})
		}
		d.push(ev) // inside the lock, so that changes stay in order
	}
	d.mu.Unlock()
	if len(evs) > 0 {
		poke(d.urgent)
		poke(d.changed)
	}
}

// push hands ev to notifyLoop, which may be waiting for a disk: at the bound it is dropped.
func (d *Detector) push(ev event) {
	select {
	case d.events <- ev:
	default:
		d.met.dropped.Inc()
	}
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// receive is called by the Port for every payload.
func (d *Detector) receive(from protocol.BrokerID, payload []byte) {
	if d.closed.Load() || len(payload) == 0 {
		return
	}
	if payload[0] == framePayload {
		if d.cfg.OnPayload != nil {
			d.cfg.OnPayload(from, payload[1:])
		}
		return
	}
	m, err := parsePing(payload)
	if err != nil {
		d.met.malformed.Inc()
		return
	}
	d.met.received.Inc()
	d.update(func(now time.Time) []event { return d.core.ping(now, from, m) })
}

// PeerDown is for raftnet's hook: the incarnation boot of b is gone. It never blocks.
func (d *Detector) PeerDown(b protocol.BrokerID, boot [16]byte, cause string) {
	d.update(func(now time.Time) []event { return d.core.down(now, b, boot, cause) })
}

// PeerLost takes in that a connection with the incarnation boot of b broke.
func (d *Detector) PeerLost(b protocol.BrokerID, boot [16]byte) {
	d.update(func(now time.Time) []event {
		d.core.lost(now, b, boot)
		return nil
	})
}

// PeerUp is for raftnet's hook: the incarnation boot of b was met. It never blocks.
func (d *Detector) PeerUp(b protocol.BrokerID, boot [16]byte) {
	d.update(func(now time.Time) []event { return d.core.up(now, b, boot) })
}

// Views returns what is believed of every peer, by broker ID.
func (d *Detector) Views() []View {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]View, 0, len(d.core.ids))
	for _, id := range d.core.ids {
		out = append(out, d.core.peers[id].view())
	}
	return out
}

// View returns what is believed of b; ok is false if it is not watched.
func (d *Detector) View(b protocol.BrokerID) (v View, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.core.peers[b]
	if !ok {
		return View{}, false
	}
	return p.view(), true
}

// Alive reports whether b was heard within SilentAfter and is not known to be dead. Self is alive.
func (d *Detector) Alive(b protocol.BrokerID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.alive(time.Now(), b)
}

// Roomy reports whether b is alive, its disk neither hangs nor is nearly full, and it gets its share of the processors: it would take
// publishes if it led, and answer them in time.
func (d *Detector) Roomy(b protocol.BrokerID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.roomy(time.Now(), b)
}

// Deposed reports whether leadership may be taken from leader in a shard with these replicas (brokers, leader
// included), for one of the causes of the package comment. It is false for Self and for a leader that is not watched. A
// replica that is not watched is one that is not heard and says nothing.
func (d *Detector) Deposed(leader protocol.BrokerID, replicas []protocol.BrokerID) bool {
	_, ok := d.deposed(leader, replicas)
	return ok
}

func (d *Detector) deposed(leader protocol.BrokerID, replicas []protocol.BrokerID) (cause string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.deposed(time.Now(), leader, replicas)
}

// HearsMajority reports whether this broker hears a majority of replicas; itself counts if it is one of them.
func (d *Detector) HearsMajority(replicas []protocol.BrokerID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.hearsMajority(time.Now(), replicas)
}

// Broadcast sends payload to every connected peer, at once and in order with other broadcasts. It never blocks;
// who is not connected does not get it.
func (d *Detector) Broadcast(payload []byte) {
	if len(payload) > MaxPayload {
		d.met.malformed.Inc()
		return
	}
	b := make([]byte, 0, len(payload)+1)
	b = append(append(b, framePayload), payload...)
	d.mu.Lock()
	ids := d.core.ids
	d.mu.Unlock()
	for _, id := range ids {
		d.cfg.Port.Send(id, b)
	}
}
