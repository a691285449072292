package feed

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	consumers   prometheus.Gauge
	groups      prometheus.Gauge
	active      prometheus.Gauge
	activations prometheus.Counter
	revoked     prometheus.Counter
	acks        prometheus.Counter
	stale       prometheus.Counter
	gaps        prometheus.Counter
	bytes       prometheus.Counter
	records     prometheus.Counter
	frames      prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "trunkline_feed_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "trunkline_feed_" + name + "_total", Help: help})
	}
	m := &metrics{
		consumers:   gauge("consumers", "Consume streams, readers included."),
		groups:      gauge("groups", "Subscriptions with consumers, counted once for each partition led here."),
		active:      gauge("active_consumers", "Consumers that are the active one of their partition."),
		activations: counter("activations", "Activations that were committed."),
		revoked:     counter("revokes", "Active consumers asked to release."),
		acks:        counter("ack_proposals", "Acknowledgements proposed, after coalescing."),
		stale:       counter("stale_acks", "Acknowledgements refused because their activation was over."),
		gaps:        counter("gaps", "Deliveries that began after records removed by retention."),
		bytes:       counter("delivered_bytes", "Bytes of record batches delivered."),
		records:     counter("delivered_records", "Records delivered; the first batch may hold some from before the cursor."),
		frames:      counter("delivered_frames", "Deliver frames."),
	}
	if reg != nil {
		reg.MustRegister(m.consumers, m.groups, m.active, m.activations, m.revoked, m.acks, m.stale, m.gaps,
			m.bytes, m.records, m.frames)
	}
	return m
}

func (m *metrics) delivered(bytes int, records uint64, gap bool) {
	m.bytes.Add(float64(bytes))
	m.records.Add(float64(records))
	m.frames.Inc()
	if gap {
		m.gaps.Inc()
	}
}
