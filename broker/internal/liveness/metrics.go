package liveness

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/trunkline/trunkline/protocol"
)

type metrics struct {
	sent, received, malformed prometheus.Counter
	pauses, dropped           prometheus.Counter
	changes                   *prometheus.CounterVec
}

func peerLabel(b protocol.BrokerID) string { return strconv.FormatUint(uint64(b), 10) }

func newMetrics(reg prometheus.Registerer, d *Detector) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "trunkline_liveness_" + name, Help: help})
	}
	for _, id := range d.core.ids {
		labels := prometheus.Labels{"peer": peerLabel(id)}
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "trunkline_liveness_peer_state", ConstLabels: labels,
			Help: "What this broker believes of a peer: 0 unknown, 1 alive, 2 suspect, 3 dead.",
		}, func() float64 { return float64(d.view(id).State) })
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "trunkline_liveness_peer_silence_seconds", ConstLabels: labels,
			Help: "Time since a peer was last heard; -1 if never.",
		}, func() float64 {
			if v := d.view(id); !v.Heard.IsZero() {
				return time.Since(v.Heard).Seconds()
			}
			return -1
		})
	}
	return &metrics{
		sent:      counter("pings_sent_total", "Pings handed to the network."),
		received:  counter("pings_received_total", "Pings received."),
		malformed: counter("malformed_total", "Payloads that could not be read, or were too long to send."),
		pauses:    counter("own_pauses_total", "Times this broker found that it had not run for a while."),
		dropped:   counter("events_dropped_total", "Changes of belief that were not logged because the log did not keep up."),
		changes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_liveness_changes_total", Help: "Changes of belief by peer and new state.",
		}, []string{"peer", "state"}),
	}
}

func (d *Detector) view(b protocol.BrokerID) View {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.core.peers[b].view()
}
