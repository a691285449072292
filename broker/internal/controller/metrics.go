package controller

import "github.com/prometheus/client_golang/prometheus"

// metrics are the controller's; without a registerer they count for nobody.
type metrics struct {
	reg      prometheus.Registerer
	all      []prometheus.Collector
	missing  prometheus.Gauge
	failures prometheus.Counter
	removed  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, c *Controller) *metrics {
	name := func(n string) string { return "trunkline_controller_" + n }
	m := &metrics{
		reg: reg,
		missing: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: name("replicas_missing"), Help: "Replicas placed on this broker that do not run.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: name("failures_total"), Help: "Starts and removals of replicas that failed.",
		}),
		removed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: name("replicas_removed_total"), Help: "Replicas of deleted topics whose data was removed.",
		}),
	}
	replicas := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name("replicas"), Help: "Replicas running on this broker.",
	}, func() float64 { n, _ := c.Counts(); return float64(n) })
	leading := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: name("leading"), Help: "Partitions this broker serves as the leader.",
	}, func() float64 { _, n := c.Counts(); return float64(n) })
	m.all = []prometheus.Collector{m.missing, m.failures, m.removed, replicas, leading, newLag(c)}
	m.all = append(m.all, c.scrub.collectors()...)
	if reg != nil {
		reg.MustRegister(m.all...)
	}
	return m
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all {
		m.reg.Unregister(c)
	}
}
