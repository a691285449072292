package meta

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

// metrics are the service's; without a registerer they count for nobody.
type metrics struct {
	reg     prometheus.Registerer
	all     []prometheus.Collector
	retries prometheus.Counter
	changes *prometheus.HistogramVec // seconds by kind and code
}

func newMetrics(reg prometheus.Registerer, m *Machine) *metrics {
	gauge := func(name, help string, f func(*Image) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "trunkline_meta_" + name, Help: help},
			func() float64 { return float64(f(m.Image())) })
	}
	ms := &metrics{
		reg: reg,
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_meta_proposal_retries_total", Help: "Metadata proposals that were made again.",
		}),
		changes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "trunkline_meta_change_duration_seconds", Help: "Time of a metadata change asked on this broker.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10},
		}, []string{"kind", "code"}),
	}
	ms.all = []prometheus.Collector{
		ms.retries, ms.changes,
		gauge("version", "Version of the metadata image.", func(im *Image) int { return int(im.Version) }),
		gauge("brokers", "Registered brokers.", func(im *Image) int { return len(im.brokers) }),
		gauge("topics", "Topics of the cluster.", func(im *Image) int { return len(im.byID) }),
		gauge("partitions", "Partitions of the cluster.", func(im *Image) int { return im.Partitions }),
		gauge("moves", "Moves of replicas under way.", func(im *Image) int { return len(im.moves) }),
		gauge("level", "Level of the cluster: what its brokers may write and send.", func(im *Image) int { return int(im.Level) }),
	}
	if reg != nil {
		reg.MustRegister(ms.all...)
	}
	return ms
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}

func (m *metrics) observe(c *command, started time.Time, err error) {
	code := "ok"
	var pe *protocol.Error
	if errors.As(err, &pe) {
		code = pe.Code.String()
	} else if err != nil {
		code = protocol.CodeInternal.String()
	}
	m.changes.WithLabelValues(c.label(), code).Observe(time.Since(started).Seconds())
}

func (c *command) label() string {
	switch {
	case c.create != nil:
		return "create_topic"
	case c.remove != nil:
		return "delete_topic"
	case c.alter != nil:
		return "alter_topic"
	case c.producer != nil:
		return "init_producer"
	case c.state != nil:
		return "set_broker_state"
	case c.retire != nil:
		return "retire_broker"
	case c.begin != nil:
		return "begin_move"
	case c.step != nil:
		return c.step.label()
	case c.prefer != nil:
		return "prefer_leader"
	case c.raise != nil:
		return "raise_level"
	}
	return "register_broker"
}

func (r *moveStep) label() string {
	switch r.kind {
	case kindFinishMove:
		return "finish_move"
	case kindUndoMove:
		return "undo_move"
	}
	return "undone_move"
}
