package raftnode

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts for the whole node; there is nothing per shard.
type metrics struct {
	reg        prometheus.Registerer // nil: nothing is exported
	saveTime   prometheus.Histogram
	saveBytes  prometheus.Counter
	snapshots  prometheus.Histogram
	campaigns  prometheus.Counter
	petitions  prometheus.Counter
	granted    prometheus.Counter
	greeted    prometheus.Counter
	elected    prometheus.Counter
	leaderless prometheus.Counter
	stalled    prometheus.Collector
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	}
	return &metrics{
		reg: reg,
		saveTime: histogram("trunkline_raft_log_save_seconds",
			"Time that one durable write to the Raft log took.", prometheus.ExponentialBuckets(0.0001, 2, 16)),
		saveBytes: counter("trunkline_raft_log_save_bytes_total", "Command bytes written to the Raft log."),
		snapshots: histogram("trunkline_raft_compaction_seconds",
			"Time that one log compaction took, with the sync of the state machine.",
			prometheus.ExponentialBuckets(0.001, 2, 16)),
		campaigns:  counter("trunkline_raft_campaigns_total", "Elections asked for because a leader was gone."),
		petitions:  counter("trunkline_raft_petitions_total", "Elections that others were asked for first, as there might be a leader."),
		granted:    counter("trunkline_raft_petitions_granted_total", "Those that a replica here stood for, as enough others knew none."),
		greeted:    counter("trunkline_raft_greetings_answered_total", "Replicas that asked for a leader and were told by one here."),
		elected:    counter("trunkline_raft_leader_changes_total", "Times that a replica here learned of a leader."),
		leaderless: counter("trunkline_raft_leader_losses_total", "Times that a replica here lost its leader."),
	}
}

// watch exports the metrics of an opened node. One registry serves one node at a time.
func (m *metrics) watch(n *Node) {
	m.stalled = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trunkline_raft_log_stalled_seconds",
		Help: "How long the oldest unfinished write to the Raft log has been waiting for the disk.",
	}, func() float64 { return n.StalledFor().Seconds() })
	if m.reg == nil {
		return
	}
	for _, c := range m.all() {
		m.reg.MustRegister(c)
	}
}

func (m *metrics) unwatch() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all() {
		m.reg.Unregister(c)
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.saveTime, m.saveBytes, m.snapshots, m.campaigns, m.petitions, m.granted, m.greeted, m.elected,
		m.leaderless, m.stalled,
	}
}

func (m *metrics) saved(took time.Duration, bytes int) {
	m.saveTime.Observe(took.Seconds())
	m.saveBytes.Add(float64(bytes))
}

func (m *metrics) compacted(took time.Duration) { m.snapshots.Observe(took.Seconds()) }

func (m *metrics) leadership(known bool) {
	if known {
		m.elected.Inc()
	} else {
		m.leaderless.Inc()
	}
}
