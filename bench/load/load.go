// Package load puts a cluster under publish load and measures rate and acknowledgement latency.
//
// It is a closed loop: each producer sends as fast as its buffer lets it (Window > 0 bounds the records that one producer may have
// unacknowledged; 1 is one in flight), so latency under full load is that of a full buffer, not of an offered rate.
// Latencies go into an HDR histogram of microseconds, 1 us to 10 min, three digits. Memory does not grow with time.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"

	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// Options say what to do.
type Options struct {
	Topic      string // created if missing
	Producers  int
	Partitions int
	Replicas   int
	Size       int           // bytes of a record's value
	Window     int           // unacknowledged records of one producer; 0: what the SDK's buffer holds
	Warmup     time.Duration // not measured
	Duration   time.Duration
	Progress   io.Writer
}

// Result is what was measured.
type Result struct {
	Producers     int     `json:"producers"`
	Partitions    int     `json:"partitions"`
	Replicas      int     `json:"replicas"`
	Size          int     `json:"size_bytes"`
	Window        int     `json:"window"`
	Seconds       float64 `json:"seconds"`
	Acked         int64   `json:"acked"`
	Failed        int64   `json:"failed"`
	Rate          float64 `json:"acked_per_second"`
	MBps          float64 `json:"mb_per_second"`
	P50           float64 `json:"ack_ms_p50"`
	P99           float64 `json:"ack_ms_p99"`
	P999          float64 `json:"ack_ms_p999"`
	Max           float64 `json:"ack_ms_max"`
	LeaderChanges int     `json:"leader_changes"`
	FirstError    string  `json:"first_error,omitempty"`
}

const highest = int64(10 * time.Minute / time.Microsecond)

// meter counts answers. Safe for concurrent use.
type meter struct {
	mu     sync.Mutex
	hist   *hdr.Histogram
	on     bool
	acked  int64
	failed int64
	err    error
}

func (m *meter) answered(sent time.Time, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.on:
	case err != nil:
		m.failed++
		if m.err == nil {
			m.err = err
		}
	default:
		m.acked++
		_ = m.hist.RecordValue(min(time.Since(sent).Microseconds(), highest)) // cannot be out of range
	}
}

func (m *meter) set(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.on = on
}

func (m *meter) count() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acked
}

// Run loads the cluster that connect reaches: every producer has a client of its own.
func Run(ctx context.Context, connect func(context.Context) (*client.Client, error), o Options) (*Result, error) {
	admin, err := connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = admin.Close(ctx) }() // only asked questions
	_, err = admin.Admin().CreateTopic(ctx, o.Topic, client.TopicSpec{Partitions: o.Partitions, Replicas: o.Replicas})
	if err != nil && !errors.Is(err, client.ErrTopicExists) {
		return nil, err
	}
	m := &meter{hist: hdr.New(1, highest, 3)}
	sending, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	errs := make([]error, o.Producers)
	for i := range o.Producers {
		wg.Go(func() { errs[i] = produce(sending, connect, o, m) })
	}
	sleep(ctx, o.Warmup)
	before := epochs(admin, o)
	start, end := measure(ctx, m, o)
	stop()
	wg.Wait()
	r := result(m, o, end.Sub(start))
	r.LeaderChanges = epochs(admin, o) - before
	return r, errors.Join(append(errs, ctx.Err())...)
}

// measure switches the meter on and, after the duration, off.
func measure(ctx context.Context, m *meter, o Options) (start, end time.Time) {
	m.set(true)
	start = time.Now()
	last := int64(0)
	for left := o.Duration; left > 0 && ctx.Err() == nil; left -= time.Second {
		sleep(ctx, min(left, time.Second))
		now := m.count()
		fmt.Fprintf(o.Progress, "%6.1fs  %8d records acknowledged a second\n", time.Since(start).Seconds(), now-last)
		last = now
	}
	m.set(false)
	return start, time.Now()
}

func produce(ctx context.Context, connect func(context.Context) (*client.Client, error), o Options, m *meter) error {
	c, err := connect(ctx)
	if err != nil {
		return err
	}
	closing := context.WithoutCancel(ctx)
	defer func() {
		done, cancel := context.WithTimeout(closing, 10*time.Second)
		defer cancel()
		_ = c.Close(done) // the run is over
	}()
	p, err := c.Producer(ctx, o.Topic)
	if err != nil {
		return err
	}
	value := make([]byte, o.Size)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	window := make(chan struct{}, max(o.Window, 1))
	for ctx.Err() == nil {
		if o.Window > 0 {
			select {
			case window <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
		}
		sent := time.Now()
		err := p.Send(ctx, client.Record{Value: value}, func(_ client.Receipt, err error) {
			m.answered(sent, err)
			if o.Window > 0 {
				<-window
			}
		})
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func result(m *meter, o Options, took time.Duration) *Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	ms := func(q float64) float64 { return float64(m.hist.ValueAtQuantile(q)) / 1000 }
	r := &Result{
		Producers: o.Producers, Partitions: o.Partitions, Replicas: o.Replicas, Size: o.Size, Window: o.Window,
		Seconds: took.Seconds(), Acked: m.acked, Failed: m.failed, Rate: float64(m.acked) / took.Seconds(),
		MBps: float64(m.acked) * float64(o.Size) / took.Seconds() / 1e6, P50: ms(50), P99: ms(99), P999: ms(99.9), Max: float64(m.hist.Max()) / 1000,
	}
	if m.err != nil {
		r.FirstError = m.err.Error()
	}
	return r
}

// epochs sums the leader epochs of the topic: each leader change adds one.
func epochs(c *client.Client, o Options) int {
	sum := 0
	for p := range o.Partitions {
		_, epoch := c.Leader(o.Topic, protocol.Partition(p))
		sum += int(epoch)
	}
	return sum
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
