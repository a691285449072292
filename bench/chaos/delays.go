package chaos

import (
	"sync"
	"sync/atomic"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Delays are percentiles, in milliseconds, of how long publishes took from the moment at which they were due.
type Delays struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99_9"`
	Max   float64 `json:"max"`
}

// delays keeps how long the publishes of some time took, while it is on. It is safe for concurrent use. Memory: one histogram of three
// digits, about 150 KiB; what takes longer than slowest counts as that.
type delays struct {
	on atomic.Bool

	mu sync.Mutex
	of *hdr.Histogram // guarded by mu; microseconds
}

const slowest = 2 * time.Minute

func newDelays() *delays { return &delays{of: hdr.New(1, slowest.Microseconds(), 3)} }

func (d *delays) note(took time.Duration) {
	if !d.on.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.of.RecordValue(min(max(took, time.Microsecond), slowest).Microseconds()) // it is within the range
}

func (d *delays) get() Delays {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sum()
}

// take is get, and forgets them.
func (d *delays) take() Delays {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.of.Reset()
	return d.sum()
}

// sum computes the percentiles. mu is held.
func (d *delays) sum() Delays {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Delays{
		Count: d.of.TotalCount(), P50: ms(d.of.ValueAtQuantile(50)), P99: ms(d.of.ValueAtQuantile(99)),
		P999: ms(d.of.ValueAtQuantile(99.9)), Max: ms(d.of.Max()),
	}
}
