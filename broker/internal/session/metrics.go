package session

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline/trunkline/protocol"
)

type metrics struct {
	connections prometheus.Gauge
	streams     *prometheus.GaugeVec
	inBytes     prometheus.Counter
	inRecords   prometheus.Counter
	inBatches   prometheus.Counter
	duplicates  prometheus.Counter
	publish     prometheus.Histogram
	requests    *prometheus.HistogramVec
	errors      *prometheus.CounterVec
	lost        prometheus.Counter
	panics      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, inFlight *budget) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "trunkline_session_" + name + "_total", Help: help})
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trunkline_session_connections", Help: "Clients whose hello was accepted.",
		}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "trunkline_session_streams", Help: "Streams being served, by kind.",
		}, []string{"kind"}),
		inBytes:    counter("published_bytes", "Bytes of record batches committed, duplicates included."),
		inRecords:  counter("published_records", "Records committed, duplicates included."),
		inBatches:  counter("published_batches", "Record batches committed, duplicates included."),
		duplicates: counter("duplicate_batches", "Record batches that were in the log already."),
		publish: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "trunkline_session_publish_seconds",
			Help:    "From a batch being read to its ack being due.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "trunkline_session_request_seconds",
			Help:    "Time to answer a request, by kind.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}, []string{"kind"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trunkline_session_errors_total",
			Help: "Batches, streams, requests and connections refused or ended, by code.",
		}, []string{"code"}),
		lost:   counter("heartbeats_lost", "Connections ended because their client was silent."),
		panics: counter("panics", "Panics that ended a connection."),
	}
	if reg != nil {
		reg.MustRegister(m.connections, m.streams, m.inBytes, m.inRecords, m.inBatches, m.duplicates, m.publish,
			m.requests, m.errors, m.lost, m.panics,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "trunkline_session_in_flight_bytes", Help: "Bytes of publishes being read or not yet answered.",
			}, func() float64 { return float64(inFlight.inUse()) }))
	}
	return m
}

func (m *metrics) refused(c protocol.Code) { m.errors.WithLabelValues(c.String()).Inc() }

func (m *metrics) published(e *ackEntry, seconds float64) {
	m.publish.Observe(seconds)
	if e.ack.Err != nil {
		m.refused(e.ack.Err.Code)
		return
	}
	m.inBytes.Add(float64(e.size))
	m.inRecords.Add(float64(e.count))
	m.inBatches.Inc()
	if e.ack.Duplicate {
		m.duplicates.Inc()
	}
}
