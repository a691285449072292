package partition

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts for all partitions of a broker; there is nothing per partition.
type Metrics struct {
	proposals  prometheus.Counter
	bytes      prometheus.Counter
	merged     prometheus.Histogram
	commitTime prometheus.Histogram
	claims     prometheus.Counter
	claimTime  prometheus.Histogram
	refused    prometheus.Counter
	failed     prometheus.Counter
	requeued   prometheus.Counter
	unknown    prometheus.Counter
	waits      prometheus.Counter
	pending    prometheus.Gauge
	leads      prometheus.Gauge
}

// NewMetrics returns metrics registered with reg, or with nobody if it is nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "trunkline_partition_" + name, Help: help})
		all = append(all, c)
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "trunkline_partition_" + name, Help: help})
		all = append(all, g)
		return g
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trunkline_partition_" + name, Help: help, Buckets: buckets,
		})
		all = append(all, h)
		return h
	}
	seconds := prometheus.ExponentialBuckets(0.0005, 2, 15)
	m := &Metrics{
		proposals: counter("proposals_total", "Proposals made, without those that begin an epoch."),
		bytes:     counter("proposed_bytes_total", "Bytes of these proposals."),
		merged: histogram("proposal_operations", "Operations merged into one proposal.",
			prometheus.ExponentialBuckets(1, 2, 13)),
		commitTime: histogram("commit_seconds", "Time from a proposal to its application on the leader.", seconds),
		claims:     counter("claims_total", "Epochs proposed."),
		claimTime:  histogram("claim_seconds", "Time that beginning an epoch took.", seconds),
		refused:    counter("proposals_refused_total", "Proposals that Raft did not accept at first."),
		failed:     counter("proposals_failed_total", "Proposals after which a new epoch was begun."),
		requeued:   counter("operations_requeued_total", "Operations whose proposal failed, to be proposed again."),
		unknown:    counter("operations_unknown_total", "Operations answered with an unknown outcome."),
		waits:      counter("append_waits_total", "Appends that had to wait for space."),
		pending:    gauge("pending_operations", "Operations accepted and not yet answered."),
		leads:      gauge("leading", "Partitions that this broker leads."),
	}
	if reg != nil {
		reg.MustRegister(all...)
	}
	return m
}

func (m *Metrics) proposed(ops, bytes int) {
	m.proposals.Inc()
	m.bytes.Add(float64(bytes))
	m.merged.Observe(float64(ops))
}

func (m *Metrics) leading(first bool) {
	if first {
		m.leads.Inc()
	}
}

func (m *Metrics) following() { m.leads.Dec() }
