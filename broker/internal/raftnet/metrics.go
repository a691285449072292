package raftnet

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/trunkline/trunkline/protocol"
)

type metrics struct {
	sent, received, dropped, dials, downs, rejects *prometheus.CounterVec
	rtt                                            *prometheus.HistogramVec
}

func label(b protocol.BrokerID) string { return strconv.FormatUint(uint64(b), 10) }

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: "trunkline_raftnet_" + name, Help: help}, labels)
	}
	return &metrics{
		sent:     counter("sent_bytes_total", "Bytes sent to peers.", "peer", "lane"),
		received: counter("received_bytes_total", "Bytes received from peers.", "peer", "lane"),
		dropped: counter("dropped_total",
			"Messages dropped because the peer was not there or its queue was full.", "peer", "lane"),
		dials:   counter("dials_total", "Dials by result.", "peer", "result"),
		downs:   counter("peer_downs_total", "Times a peer's process was found to be gone.", "peer"),
		rejects: counter("rejects_total", "Inbound handshakes and messages that were refused.", "code"),
		rtt: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "trunkline_raftnet_rtt_seconds", Help: "Round trip of a small frame through a link, its queue excluded.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16),
		}, []string{"peer", "lane"}),
	}
}

// forget ends the series of a peer.
func (m *metrics) forget(b protocol.BrokerID) {
	of := prometheus.Labels{"peer": label(b)}
	for _, v := range []*prometheus.MetricVec{
		m.sent.MetricVec, m.received.MetricVec, m.dropped.MetricVec, m.dials.MetricVec, m.downs.MetricVec, m.rtt.MetricVec,
	} {
		v.DeletePartialMatch(of)
	}
}

// linkGauges are read from the links of whoever is a peer when they are asked for.
type linkGauges struct {
	n                 *Network
	queued, connected *prometheus.Desc
}

func newLinkGauges(n *Network) linkGauges {
	labels := []string{"peer", "lane"}
	return linkGauges{
		n:         n,
		queued:    prometheus.NewDesc("trunkline_raftnet_queue_bytes", "Bytes waiting for a link.", labels, nil),
		connected: prometheus.NewDesc("trunkline_raftnet_connected", "1 if a link is connected.", labels, nil),
	}
}

// Describe implements prometheus.Collector.
func (g linkGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.queued
	ch <- g.connected
}

// Collect implements prometheus.Collector.
func (g linkGauges) Collect(ch chan<- prometheus.Metric) {
	for id, p := range *g.n.book.Load() {
		for _, l := range p.links {
			up := 0.0
			if l.up.Load() {
				up = 1
			}
			peer, lane := label(id), l.lane.String()
			ch <- prometheus.MustNewConstMetric(g.queued, prometheus.GaugeValue, float64(l.queue.size()), peer, lane)
			ch <- prometheus.MustNewConstMetric(g.connected, prometheus.GaugeValue, up, peer, lane)
		}
	}
}
