package planner

import "github.com/prometheus/client_golang/prometheus"

// String returns the kind in one word.
func (k Kind) String() string { return [...]string{"begin", "undo", "retire", "prefer"}[k] }

type metrics struct {
	asked   *prometheus.CounterVec
	refused prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		asked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_planner_actions_total", Help: "Actions that this broker asked of the metadata.",
		}, []string{"action"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trunkline_planner_refused_total", Help: "Actions that the metadata did not accept.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.asked, m.refused)
	}
	return m
}
