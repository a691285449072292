package mover

import (
	"github.com/prometheus/client_golang/prometheus"
)

// String returns the action in one word.
func (a action) String() string {
	return [...]string{"wait", "add", "promote", "yield", "remove", "finish", "give_up", "bar", "undone"}[a]
}

type metrics struct {
	steps    *prometheus.CounterVec
	failures prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_mover_steps_total", Help: "Steps of replica moves that this broker did.",
		}, []string{"step"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_mover_failures_total", Help: "Steps of replica moves that did not succeed and were tried again.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.steps, m.failures)
	}
	return m
}
