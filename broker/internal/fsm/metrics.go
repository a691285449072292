package fsm

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts for all partitions of a broker; there is nothing per partition.
type Metrics struct {
	sent      prometheus.Counter
	installed prometheus.Counter
}

// NewMetrics returns metrics registered with reg, or with nobody if it is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "trunkline_fsm_" + name + "_total", Help: help})
	}
	m := &Metrics{
		sent:      counter("snapshots_sent", "Partitions streamed whole to a replica that lagged."),
		installed: counter("snapshots_installed", "Partitions replaced by a snapshot that was received."),
	}
	if reg != nil {
		reg.MustRegister(m.sent, m.installed)
	}
	return m
}
