package liveness

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/trunkline/trunkline/protocol"
)

// Shard is one Raft shard that has a replica on this broker.
type Shard struct {
	ID       uint64
	Term     uint64              // the term the local replica is in; 0 if not yet known
	Replicas []protocol.BrokerID // voters, the preferred leader first: the order in which they take over
	Last     protocol.BrokerID   // the newest leader ever known here, also after it was lost; 0: none
}

// Shards is what a takeover needs to know of the local replicas. Its methods must not wait for a disk.
type Shards interface {
	// Led returns the shards that the local replica believes to be led by that broker, or to have been led by it last and by
	// nobody since; Led(0) those without a leader.
	Led(by protocol.BrokerID) []Shard
	// Leader returns the leader (0 if none is known) and the term the local replica is in, also while it has no
	// leader; ok is false if the shard has no replica here any more.
	Leader(shard uint64) (leader protocol.BrokerID, term uint64, ok bool)
	// Campaign asks the local replica to campaign at once. It may be skipped in silence and is then asked again.
	Campaign(shard uint64)
	// Petition does so if a majority of the voters knows no leader. It may be in vain and is then asked again.
	Petition(shard uint64, voters []protocol.BrokerID)
}

// TakeoverConfig describes a Takeover. Detector and Shards are required.
type TakeoverConfig struct {
	Detector   *Detector
	Shards     Shards
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Takeover lets local replicas campaign for the shards of deposed leaders, in turns: the first candidate of a
// shard's replicas at once, each next one 80 ms and a round trip later, again and again until a new leader is known. A shard that
// never had a leader is claimed by its preferred one, so that its first election is fast. One that has none though nobody was deposed is
// claimed by its last leader and then by the others, who first ask whether anybody knows a leader. One Takeover per Detector.
type Takeover struct {
	d       *Detector
	log     *slog.Logger
	planner *planner // owned by run
	asks    prometheus.Counter
	claims  *prometheus.CounterVec
	pause   prometheus.Histogram

	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
}

// NewTakeover returns a Takeover that does nothing until Start.
func NewTakeover(cfg TakeoverConfig) *Takeover {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := promauto.With(cfg.Registerer)
	return &Takeover{
		d: cfg.Detector, log: cfg.Log,
		planner: newPlanner(cfg.Detector.cfg.Self, cfg.Detector, cfg.Shards),
		asks: f.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_liveness_campaigns_asked_total", Help: "Times a local replica was asked to campaign.",
		}),
		claims: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_liveness_takeovers_total", Help: "Shards of deposed leaders, by cause, and those taken up that nobody led.",
		}, []string{"cause"}),
		pause: f.NewHistogram(prometheus.HistogramOpts{
			Name: "trunkline_liveness_takeover_seconds", Help: "From the decision to the new leader.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 11),
		}),
	}
}

// Start begins to act. It ends with ctx or by Close.
func (t *Takeover) Start(ctx context.Context) {
	ctx, t.cancel = context.WithCancel(ctx)
	t.wg.Go(func() { t.run(ctx) })
}

// Close ends the goroutine and waits for it. It is idempotent.
func (t *Takeover) Close() {
	t.once.Do(func() {
		if t.cancel != nil {
			t.cancel()
		}
		t.wg.Wait()
	})
}

func (t *Takeover) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.d.changed: // also each PingInterval
		case <-timer.C:
		}
		next := t.planner.step(time.Now(), t.d.takeDeaths())
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
		t.report()
	}
}

// group is what one line of the log is about.
type group struct {
	from protocol.BrokerID
	what string
}

// report counts and logs: one line per broker and cause, not per shard, written by the detector's notifyLoop.
func (t *Takeover) report() {
	t.asks.Add(float64(t.planner.asks))
	begun, ended := make(map[group]int), make(map[group]int)
	for _, c := range t.planner.begun {
		if c.cause == causeLost {
			continue // only a question so far
		}
		begun[group{c.from, c.cause}]++
		t.claims.WithLabelValues(c.cause).Inc()
	}
	var longest time.Duration
	for _, o := range t.planner.outcomes {
		if o.claim.cause == causeLost && !t.regained(o) {
			continue
		}
		took := time.Since(o.claim.begun)
		if o.leader == 0 {
			ended[group{o.claim.from, "withdrawn"}]++
			continue
		}
		ended[group{o.claim.from, "new leader"}]++
		t.pause.Observe(took.Seconds())
		longest = max(longest, took)
	}
	if len(begun)+len(ended) == 0 {
		return
	}
	t.d.push(event{call: func() { t.logGroups(begun, ended, longest) }})
}

// regained counts a shard that nobody led and this broker took up. Whoever else leads it may have done so all along.
func (t *Takeover) regained(o outcome) bool {
	if o.leader != t.planner.self {
		return false
	}
	t.claims.WithLabelValues(causeLost).Inc()
	return true
}

func (t *Takeover) logGroups(begun, ended map[group]int, longest time.Duration) {
	for g, n := range begun {
		t.log.Warn("leadership is taken over", "from", uint64(g.from), "cause", g.what, "shards", n)
	}
	for g, n := range ended {
		t.log.Info("takeover ended", "from", uint64(g.from), "outcome", g.what, "shards", n, "longest", longest)
	}
}

// takeDeaths hands the deaths since the last call to the Takeover.
func (d *Detector) takeDeaths() []death {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.deaths
	d.deaths = nil
	return out
}

func (d *Detector) incarnationGone(b protocol.BrokerID, boot [16]byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.incarnationGone(time.Now(), b, boot)
}

func (d *Detector) candidate(b protocol.BrokerID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.candidate(time.Now(), b)
}

func (d *Detector) roundTrip(b protocol.BrokerID) time.Duration { return d.cfg.Port.RoundTrip(b) }

func (d *Detector) troubled() []protocol.BrokerID {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.troubled(time.Now())
}
