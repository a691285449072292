package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/vitals"
	"github.com/trunkline/trunkline/client"
)

const (
	gaugeRate = 500 // messages a second of the traffic whose times are measured
	gaugeName = "fast"
	settling  = 2 * time.Second // from a change to what counts as after it
	baseline  = 8 * time.Second
	lookRSS   = 100 * time.Millisecond
)

// measured is what the faults have in common that must not slow others down. Each injection has steady traffic of its own, a producer
// and a subscription of everything, whose times the gauge keeps. Rows of it have a pace: beside a load that takes all that the machine
// has, everything is slow whatever is done to it.
type measured struct {
	clients
	rate    int // of the traffic, messages a second; 0: gaugeRate
	clock   *gauge
	own     []*client.Client
	traffic *client.Producer
	calms   []window // without harm
	calm    tail     // deliveries then
	calmAck tail
	hush    context.CancelFunc // ends taking
	taking  sync.WaitGroup
	brokers []cluster.Broker

	memory sync.Mutex
	peak   map[int]int64 // guarded by memory; the highest resident memory by broker since it was last asked, bytes
}

func newMeasured(name string, partitions int) measured {
	return measured{clients: newClients(name, partitions), peak: map[int]int64{}}
}

// open makes the topic and starts the traffic. Lanes from partitions on are free for others that publish to the
// topic. Everything is ended by finish or Cleanup.
func (m *measured) open(ctx context.Context, cl *cluster.Cluster, lanes int, on func(worker.Report)) (context.Context, error) {
	acting, err := m.begin(ctx, cl, on)
	if err != nil {
		return nil, err
	}
	m.ledger = verify.NewLedger(lanes, 1)
	m.brokers = cl.Brokers()
	reader, err := m.connect(ctx, cl)
	if err != nil {
		return nil, err
	}
	sub, err := reader.Subscribe(ctx, m.topic, gaugeName, client.StartAt(client.Earliest()), client.OnRebalance(m.rebalanced),
		client.OnGap(func(g client.Gap) { m.violation("%+v was removed before it was delivered", g) }))
	if err != nil {
		return nil, err
	}
	writer, err := m.connect(ctx, cl)
	if err != nil {
		return nil, err
	}
	if m.traffic, err = writer.Producer(ctx, m.topic); err != nil {
		return nil, err
	}
	taking, hush := context.WithCancel(context.WithoutCancel(ctx))
	m.hush = hush
	m.clock, m.calms = newGauge(cmp.Or(m.rate, gaugeRate)), nil
	m.taking.Go(func() { m.take(taking, sub) })
	m.acts.Go(func() { m.clock.run(acting, func(k int) { m.send(acting, k) }) })
	m.acts.Go(func() { m.lookMemory(acting) })
	return acting, nil
}

// rebalanced counts the turns that the steady traffic's only consumer lost: what it had not committed is delivered again.
func (m *measured) rebalanced(r client.Rebalance) {
	if r.Kind == client.Lost {
		m.count("turns_lost", 1)
	}
}

func (m *measured) connect(ctx context.Context, cl *cluster.Cluster) (*client.Client, error) {
	c, err := connectTo(ctx, cl, "trunkline-chaos-"+m.name)
	if err == nil {
		m.own = append(m.own, c)
	}
	return c, err
}

// send publishes message k of the steady traffic.
func (m *measured) send(ctx context.Context, k int) {
	id := verify.ID{Producer: uint32(k % m.partitions), Seq: uint64(k / m.partitions)}
	m.publish(ctx, m.traffic, int(id.Producer), id, payload.Encode(id), func(err error) {
		if err == nil {
			m.clock.ackedNow(k)
			return
		}
		m.violation("message %d of the steady traffic: %v", k, err)
	})
}

// publish sends a message and enters it into the ledger. done is told how it ended, perhaps before publish returns.
func (m *measured) publish(ctx context.Context, p *client.Producer, part int, id verify.ID, value []byte, done func(error)) {
	m.ledger.Sent(id.Producer, id.Seq)
	answered := func(r client.Receipt, err error) {
		outcome := verify.Acked
		var perr *client.PublishError
		switch {
		case errors.As(err, &perr) && perr.Outcome == client.NotAppended:
			outcome = verify.NotAppended
		case err != nil:
			outcome = verify.Unknown
		}
		if outcome == verify.Acked {
			m.ledger.Answered(id.Producer, id.Seq, outcome, int32(r.Partition), int64(r.Offset))
		} else {
			m.ledger.Answered(id.Producer, id.Seq, outcome, -1, -1)
		}
		done(err)
	}
	rec := client.Record{Value: value, Partition: client.OnPartition(part)}
	if err := p.Send(context.WithoutCancel(ctx), rec, answered); err != nil {
		answered(client.Receipt{}, err)
	}
}

// take is the fast subscription.
func (m *measured) take(ctx context.Context, sub *client.Subscription) {
	for msg, err := range sub.Messages(ctx) {
		if err == nil {
			m.got(msg)
			err = sub.Ack(msg)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, client.ErrPartitionLost) {
			m.violation("the fast subscription ended: %v", err)
			return
		}
	}
}

func (m *measured) got(msg *client.Message) {
	id, ok := payload.Decode(msg.Value)
	if !ok {
		m.ledger.Foreign(fmt.Sprintf("partition %d offset %d: damaged", msg.Partition, msg.Offset))
		return
	}
	m.ledger.Delivered(0, verify.Arrival{Producer: id.Producer, Seq: id.Seq, Partition: int32(msg.Partition), Offset: int64(msg.Offset)})
	if int(id.Producer) < m.partitions {
		m.clock.deliveredNow(int(id.Seq)*m.partitions + int(id.Producer))
	}
}

// learnCalm lets things settle and measures for d what the traffic is like without harm. Called again, it is what it was like in all
// those times together.
func (m *measured) learnCalm(ctx context.Context, d time.Duration) error {
	if err := sleep(ctx, settling); err != nil {
		return err
	}
	from := time.Now()
	if err := sleep(ctx, d); err != nil {
		return err
	}
	m.calms = append(m.calms, window{from, time.Now()})
	m.calmAck, m.calm = m.clock.tails(m.calms...)
	return nil
}

// grain is what a p99 may be longer with the harm whatever the ratio allows: about twice what quiet runs differ by on a fast machine
// (docs/adr/0010-fault-harness.md).
const grain = 5 * time.Millisecond

// compare judges tails of a time with the harm: they may be so many times as long as without, or longer by grain.
func (m *measured) compare(acks, deliveries tail, times float64) {
	m.most("calm_p99_us", m.calm.P99.Microseconds())
	m.most("calm_ack_p99_us", m.calmAck.P99.Microseconds())
	m.most("p99_us", deliveries.P99.Microseconds())
	m.most("ack_p99_us", acks.P99.Microseconds())
	m.most("max_ms", deliveries.Max.Milliseconds())
	for _, c := range []struct {
		what        string
		calm, since time.Duration
	}{{"delivery", m.calm.P99, deliveries.P99}, {"acknowledgement", m.calmAck.P99, acks.P99}} {
		if float64(c.since) > times*float64(c.calm) && c.since > c.calm+grain {
			m.violation("%s p99 %v, it was %v without harm: %.2f times, allowed are %.1f, or %v more", c.what, c.since.Round(10*time.Microsecond),
				c.calm.Round(10*time.Microsecond), float64(c.since)/float64(c.calm), times, grain)
		}
	}
}

// lookMemory keeps the peaks.
func (m *measured) lookMemory(ctx context.Context) {
	for sleep(ctx, lookRSS) == nil {
		m.memory.Lock()
		for _, b := range m.brokers {
			if n, err := vitals.RSS(b); err == nil { // a broker that ended is found by the run
				m.peak[b.ID] = max(m.peak[b.ID], n)
			}
		}
		m.memory.Unlock()
	}
}

// peaks returns the highest resident memory of each broker since it was last asked, bytes.
func (m *measured) peaks() map[int]int64 {
	m.memory.Lock()
	defer m.memory.Unlock()
	p := m.peak
	m.peak = map[int]int64{}
	return p
}

// close ends the traffic, judges what became of it, and removes the topic.
func (m *measured) close(ctx context.Context) error {
	m.still()
	err := m.traffic.Close(ctx)
	m.settle(ctx)
	return errors.Join(err, m.hangUp(ctx), m.finish(ctx))
}

// hangUp ends the clients of this process.
func (m *measured) hangUp(ctx context.Context) error {
	if m.hush != nil {
		m.hush()
	}
	var errs []error
	for _, c := range m.own {
		errs = append(errs, c.Close(ctx))
	}
	m.taking.Wait()
	m.own, m.hush, m.traffic = nil, nil, nil
	return errors.Join(errs...)
}

// Cleanup ends what an injection left that was interrupted.
func (m *measured) Cleanup(keep bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // there is nobody to wait for
	if m.stop != nil {
		m.stop()
	}
	return errors.Join(m.hangUp(ctx), m.clients.Cleanup(keep)) // senders that wait for room go with their clients
}
