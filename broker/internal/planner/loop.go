package planner

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/broker/internal/failpoint"
	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// lookEvery is the default of Config.Every.
	lookEvery = 500 * time.Millisecond
	// askTimeout bounds one request to the metadata. What it asked for may still happen; the next plan sees.
	askTimeout = 5 * time.Second
)

// Meta is the part of meta.Service that a planner uses.
type Meta interface {
	Image() *meta.Image
	BeginMove(ctx context.Context, m meta.MoveSpec) (id uint64, err error)
	UndoMove(ctx context.Context, move uint64) error
	RetireBroker(ctx context.Context, b protocol.BrokerID) error
	PreferLeader(ctx context.Context, tp protocol.TopicPartition, b protocol.BrokerID) error
}

// Config describes a Planner. Every, Log and Registerer are optional.
type Config struct {
	Meta    Meta
	Leads   func() bool                           // this broker leads the metadata shard
	DeadFor func(protocol.BrokerID) time.Duration // see Facts
	Limits  Limits
	Every   time.Duration // between two plans; default 500 ms
	Log     *slog.Logger
	// Registerer: nil means no metrics.
	Registerer prometheus.Registerer
}

// Planner asks for what Plan says while this broker leads the metadata shard.
type Planner struct {
	cfg     Config
	metrics *metrics
	calm    atomic.Pointer[time.Time] // since when no broker is awaited, nil: one is; set by Run
}

// New returns a planner that does nothing until Run.
func New(cfg Config) *Planner {
	if cfg.Every <= 0 {
		cfg.Every = lookEvery
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Planner{cfg: cfg, metrics: newMetrics(cfg.Registerer)}
}

// Run plans until ctx ends.
func (p *Planner) Run(ctx context.Context) {
	tick := time.NewTicker(p.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.look(ctx, now)
		case <-ctx.Done():
			return
		}
	}
}

// look asks for one plan. A plan is made of one image, and what it asks for names what it expects there: of two leaders that plan at the
// same time only one is heard.
func (p *Planner) look(ctx context.Context, now time.Time) {
	im := p.cfg.Meta.Image()
	facts := Facts{DeadFor: p.cfg.DeadFor}
	if !p.cfg.Leads() || awaited(im, facts, p.cfg.Limits) != 0 {
		p.calm.Store(nil)
	} else {
		p.calm.CompareAndSwap(nil, &now)
	}
	if !p.cfg.Leads() {
		return
	}
	if since := p.calm.Load(); since != nil {
		facts.Calm = now.Sub(*since)
	}
	for _, a := range Plan(im, facts, p.cfg.Limits) {
		failpoint.Step("beforePlanStep", a.Kind.String())
		if err := p.ask(ctx, im, a); err != nil {
			p.metrics.refused.Inc()
			p.cfg.Log.Warn("plan was not accepted", "action", a.Kind.String(), "shard", a.Shard, "reason", a.Reason, "err", err)
			return // the image is not what the plan was made of
		}
		failpoint.Step("afterPlanStep", a.Kind.String())
		p.metrics.asked.WithLabelValues(a.Kind.String()).Inc()
		p.cfg.Log.Info("planned", "action", a.Kind.String(), "topic", a.Topic, "partition", a.TP.Partition, "shard", a.Shard,
			"add", uint64(a.Add), "remove", uint64(a.Remove), "member", uint64(a.Broker), "reason", a.Reason)
	}
}

func (p *Planner) ask(ctx context.Context, im *meta.Image, a Action) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	switch a.Kind {
	case Begin:
		x, _ := im.Placement(a.TP)
		_, err := p.cfg.Meta.BeginMove(ctx, meta.MoveSpec{TP: a.TP, Add: a.Add, Remove: a.Remove, Brokers: x.Brokers()})
		return err
	case Undo:
		return p.cfg.Meta.UndoMove(ctx, a.Move)
	case Retire:
		return p.cfg.Meta.RetireBroker(ctx, a.Broker)
	default:
		return p.cfg.Meta.PreferLeader(ctx, a.TP, a.Broker)
	}
}
