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

// watch registers the gauges of a peer.
func (m *metrics) watch(reg prometheus.Registerer, p *peer) {
	f := promauto.With(reg)
	for _, l := range p.links {
		labels := prometheus.Labels{"peer": label(p.id), "lane": l.lane.String()}
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "trunkline_raftnet_queue_bytes", Help: "Bytes waiting for a link.", ConstLabels: labels,
		}, func() float64 { return float64(l.queue.size()) })
		f.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "trunkline_raftnet_connected", Help: "1 if a link is connected.", ConstLabels: labels,
		}, func() float64 {
			if l.up.Load() {
				return 1
			}
			return 0
		})
	}
}
