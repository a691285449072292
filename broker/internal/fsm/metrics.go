package fsm

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts for all partitions of a broker; there is nothing per partition.
type Metrics struct {
	sent      prometheus.Counter
	installed prometheus.Counter

	found, repaired, repairFailures, mendedBytes prometheus.Counter
	damaged                                      prometheus.Gauge
}

// NewMetrics returns metrics registered with reg, or with nobody if it is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "trunkline_fsm_" + name + "_total", Help: help})
	}
	m := &Metrics{
		sent:           counter("snapshots_sent", "Partitions streamed whole to a replica that lagged."),
		installed:      counter("snapshots_installed", "Partitions replaced by a snapshot that was received."),
		found:          counter("segments_damaged", "Segments of which damage was found, by a read, a scrub or a start."),
		repaired:       counter("segments_repaired", "Damaged segments that were repaired from another replica."),
		repairFailures: counter("repair_failures", "Tries to repair a damaged segment that failed."),
		mendedBytes:    counter("repaired_bytes", "Bytes of segments written anew from another replica's."),
		damaged: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trunkline_fsm_damaged_segments", Help: "Segments that are damaged and not repaired yet.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.sent, m.installed, m.found, m.repaired, m.repairFailures, m.mendedBytes, m.damaged)
	}
	return m
}
