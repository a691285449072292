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
	if reg != nil {
		reg.MustRegister(newPeerGauges(d))
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

// peerGauges are read from what is believed of whoever is watched when they are asked for.
type peerGauges struct {
	d              *Detector
	state, silence *prometheus.Desc
}

func newPeerGauges(d *Detector) peerGauges {
	labels := []string{"peer"}
	return peerGauges{
		d: d,
		state: prometheus.NewDesc("trunkline_liveness_peer_state",
			"What this broker believes of a peer: 0 unknown, 1 alive, 2 suspect, 3 dead.", labels, nil),
		silence: prometheus.NewDesc("trunkline_liveness_peer_silence_seconds",
			"Time since a peer was last heard; -1 if never.", labels, nil),
	}
}

// Describe implements prometheus.Collector.
func (g peerGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.state
	ch <- g.silence
}

// Collect implements prometheus.Collector.
func (g peerGauges) Collect(ch chan<- prometheus.Metric) {
	for _, v := range g.d.Views() {
		silence := -1.0
		if !v.Heard.IsZero() {
			silence = time.Since(v.Heard).Seconds()
		}
		peer := peerLabel(v.Broker)
		ch <- prometheus.MustNewConstMetric(g.state, prometheus.GaugeValue, float64(v.State), peer)
		ch <- prometheus.MustNewConstMetric(g.silence, prometheus.GaugeValue, silence, peer)
	}
}
