package engine

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/workload"
)

// mirror answers and delivers inside Send: what is left is the cost of the loader itself.
type mirror struct {
	*fake
	deliver func(*driver.Delivery)
}

type mirrorProducer struct {
	m *mirror
	d driver.Delivery
}

func (m *mirror) Producer(_ context.Context, o driver.ProducerOptions) (driver.Producer, error) {
	return &mirrorProducer{m: m, d: driver.Delivery{Partition: int32(o.ID)}}, nil
}

func (m *mirror) Consumer(_ context.Context, o driver.ConsumerOptions) (driver.Consumer, error) {
	m.deliver = o.Deliver
	return m, nil
}

func (p *mirrorProducer) Send(_ context.Context, m *driver.Message) {
	p.d.Payload = m.Payload
	p.m.deliver(&p.d)
	m.Done(m, driver.Ack{Partition: p.d.Partition, Offset: p.d.Offset})
	p.d.Offset++
}

func (p *mirrorProducer) Close(context.Context) error { return nil }

func mirrored(tb testing.TB, change func(*workload.Workload)) *run {
	tb.Helper()
	w := small(func(w *workload.Workload) {
		w.ProducerRate, w.Loop, w.MessageSize = 0, workload.Closed, 256
		change(w)
	})
	r, err := newRun(tb.Context(), &mirror{fake: newFake()}, w, Options{})
	require.NoError(tb, err)
	require.NoError(tb, r.open(tb.Context()))
	return r
}

// BenchmarkLoader is what one message costs the loader: made, sent, answered, delivered, measured and checked.
func BenchmarkLoader(b *testing.B) {
	r := mirrored(b, func(*workload.Workload) {})
	p := r.producers[0]
	r.meter.window.set(0, forever)
	b.ReportAllocs()
	for b.Loop() {
		now := r.now()
		p.send(now, now, driver.AnyPartition)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func TestLoaderDoesNotAllocate(t *testing.T) {
	r := mirrored(t, func(*workload.Workload) {})
	p := r.producers[0]
	r.meter.window.set(0, forever)
	for range 20_000 { // the ledger grows by whole blocks
		p.send(r.now(), r.now(), driver.AnyPartition)
	}
	require.Zero(t, testing.AllocsPerRun(10_000, func() { p.send(r.now(), r.now(), driver.AnyPartition) }))
}
