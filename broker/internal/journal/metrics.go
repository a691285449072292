package journal

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts for the whole journal.
type metrics struct {
	reg        prometheus.Registerer // nil: nothing is exported
	saves      prometheus.Counter
	syncs      prometheus.Histogram
	bytes      prometheus.Counter
	relocated  prometheus.Counter
	cacheReads prometheus.Counter
	fileReads  prometheus.Counter
	files      prometheus.Collector
	live       prometheus.Collector
}

func newMetrics(reg prometheus.Registerer, j *Journal) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string, of func(*file) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return j.sum(of) })
	}
	return &metrics{
		reg:   reg,
		saves: counter("trunkline_journal_saves_total", "Calls that save what a Raft step worker has."),
		syncs: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "trunkline_journal_sync_seconds",
			Help:    "Time that one sync of the Raft journal took.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		bytes:      counter("trunkline_journal_written_bytes_total", "Bytes written to the Raft journal, padding included."),
		relocated:  counter("trunkline_journal_relocated_bytes_total", "Bytes copied forward to free a file."),
		cacheReads: counter("trunkline_journal_cache_reads_total", "Reads of entries that memory answered."),
		fileReads:  counter("trunkline_journal_file_reads_total", "Reads of entries that went to a file."),
		files: gauge("trunkline_journal_files", "Files of the Raft journal that hold records.",
			func(*file) float64 { return 1 }),
		live: gauge("trunkline_journal_live_bytes", "Bytes of the Raft journal that are needed.",
			func(f *file) float64 { return float64(f.live) }),
	}
}

// sum adds up over the files of all WALs.
func (j *Journal) sum(of func(*file) float64) float64 {
	total := 0.0
	for _, w := range j.wals {
		w.index.mu.RLock()
		for _, f := range w.files {
			total += of(f)
		}
		w.index.mu.RUnlock()
	}
	return total
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.saves, m.syncs, m.bytes, m.relocated, m.cacheReads, m.fileReads, m.files, m.live}
}

func (m *metrics) register() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all() {
		m.reg.MustRegister(c)
	}
}

func (m *metrics) unregister() {
	if m.reg == nil {
		return
	}
	for _, c := range m.all() {
		m.reg.Unregister(c)
	}
}

func (m *metrics) wrote(bytes int64) { m.bytes.Add(float64(bytes)) }

// syncing begins to time one sync.
func (m *metrics) syncing() (done func()) {
	begun := time.Now()
	return func() { m.syncs.Observe(time.Since(begun).Seconds()) }
}
