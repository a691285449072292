package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
)

const (
	systemReader = "reader"
	// systemInFlight is how many messages of a producer may wait for an answer: so many that the rates of a run go on through
	// pauses of several seconds, and a partition that stands still holds up no other.
	systemInFlight = 16 << 10
	sendEvery      = time.Millisecond
	readQuiet      = time.Second // without any delivery when nothing is missing: what is stored twice has come by then
)

// systemLoad publishes at a fixed rate in an open loop through a driver, and reads everything back at the end: what a subscription
// had got before a power cut would say nothing about what the system still holds.
//
// A lane is one producer on one partition: it numbers its own messages. Goroutines: one a producer, and the driver's. Messages under way:
// producers x systemInFlight.
type systemLoad struct {
	system     driver.System
	partitions int
	ledger     *verify.Ledger
	pauses     *pause.Meter
	acked      []atomic.Int64 // by partition
	offered    atomic.Int64   // messages that were due when publishing ended
	arrived    atomic.Int64   // deliveries
	producers  []driver.Producer
	stop       context.CancelFunc
	lanes      sync.WaitGroup

	mu     sync.Mutex
	failed string // guarded by mu; the first answer that was an error
}

// startSystemLoad opens the producers and begins. ctx bounds the opening only.
func startSystemLoad(ctx context.Context, system driver.System, o *SystemOptions) (*systemLoad, error) {
	l := &systemLoad{
		system: system, partitions: o.Partitions, pauses: pause.New(), acked: make([]atomic.Int64, o.Partitions),
		ledger: verify.NewLedger(o.Producers*o.Partitions, 1),
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	for id := range o.Producers {
		p, err := system.Producer(ctx, driver.ProducerOptions{Topic: topic, ID: id, MaxInFlight: systemInFlight, Retry: true})
		if err != nil {
			return nil, errors.Join(err, l.close(ctx))
		}
		l.producers = append(l.producers, p)
	}
	for id, p := range l.producers {
		l.lanes.Go(func() { l.publish(life, p, id, float64(o.Rate)/float64(o.Producers)) })
	}
	return l, nil
}

// publish sends what is due, the partitions in turns, until ctx ends.
func (l *systemLoad) publish(ctx context.Context, p driver.Producer, id int, rate float64) {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	begin, due := time.Now(), 0
	for n := 0; ; {
		for ; n < due && ctx.Err() == nil; n++ {
			part := (n + id) % l.partitions
			// A message that was begun is never given up: what becomes of it must be known in the end.
			l.send(context.WithoutCancel(ctx), p, verify.ID{Producer: uint32(id*l.partitions + part), Seq: uint64(n / l.partitions)}, int32(part))
		}
		select {
		case <-ctx.Done():
			l.offered.Add(int64(due))
			return
		case <-tick.C:
			due = int(time.Since(begin).Seconds() * rate)
		}
	}
}

func (l *systemLoad) send(ctx context.Context, p driver.Producer, id verify.ID, part int32) {
	l.ledger.Sent(id.Producer, id.Seq)
	l.pauses.Sent(part, time.Now())
	p.Send(ctx, &driver.Message{Partition: part, Payload: payload.Encode(id), Producer: id.Producer, Seq: id.Seq, Done: l.answered})
}

// answered takes the answer to a message. Only an acknowledgement ends a pause.
func (l *systemLoad) answered(m *driver.Message, a driver.Ack) {
	switch {
	case a.Err == nil:
		l.pauses.Answered(m.Partition, time.Now())
		l.ledger.Answered(m.Producer, m.Seq, verify.Acked, a.Partition, a.Offset)
		l.acked[m.Partition].Add(1)
		return
	case errors.Is(a.Err, driver.ErrNotAppended):
		l.ledger.Answered(m.Producer, m.Seq, verify.NotAppended, -1, -1)
	default:
		l.ledger.Answered(m.Producer, m.Seq, verify.Unknown, -1, -1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == "" {
		l.failed = a.Err.Error()
	}
}

// firstFailure returns the first answer that was an error, or "".
func (l *systemLoad) firstFailure() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// counts returns how many messages were acknowledged, by partition.
func (l *systemLoad) counts() []int64 {
	out := make([]int64, l.partitions)
	for p := range out {
		out[p] = l.acked[p].Load()
	}
	return out
}

// close stops publishing and waits until every message is answered, at most until ctx ends. The second call does nothing.
func (l *systemLoad) close(ctx context.Context) error {
	l.stop()
	lanes := make(chan struct{})
	go func() { defer close(lanes); l.lanes.Wait() }()
	select {
	case <-lanes:
	case <-ctx.Done(): // a window is full, and only Close makes room
	}
	errs := make([]error, len(l.producers))
	var all sync.WaitGroup
	for i, p := range l.producers {
		all.Go(func() { errs[i] = p.Close(ctx) })
	}
	all.Wait()
	<-lanes
	l.producers = nil
	return errors.Join(errs...)
}

// readBack reads everything from the first message on: until nothing that was acknowledged is missing, or nothing has come for
// as long as patience.
func (l *systemLoad) readBack(ctx context.Context, patience time.Duration) error {
	failed := make(chan error, 1) // the driver tells at most one
	open, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	c, err := l.system.Consumer(open, driver.ConsumerOptions{
		Topic: topic, Subscription: systemReader, Deliver: l.take,
		Failed: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	})
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	for seen, since := l.arrived.Load(), time.Now(); ; {
		if n := l.arrived.Load(); n != seen {
			seen, since = n, time.Now()
		}
		quiet := time.Since(since)
		if quiet > patience || quiet > readQuiet && l.ledger.Missing(0) == 0 {
			break
		}
		if err = sleep(ctx, recoverPoll); err != nil {
			break
		}
		select {
		case ferr := <-failed:
			return errors.Join(fmt.Errorf("read back: %w", ferr), l.end(ctx, c))
		default:
		}
	}
	return errors.Join(err, l.end(ctx, c))
}

func (l *systemLoad) end(ctx context.Context, c driver.Consumer) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	return c.Close(ctx)
}

// take checks one message that was read.
func (l *systemLoad) take(d *driver.Delivery) {
	l.arrived.Add(1)
	id, ok := payload.Decode(d.Payload)
	if !ok {
		l.ledger.Foreign(fmt.Sprintf("partition %d offset %d: damaged", d.Partition, d.Offset))
		return
	}
	l.ledger.Delivered(0, verify.Arrival{
		Producer: id.Producer, Seq: id.Seq, Partition: d.Partition, Offset: d.Offset, Redelivered: d.Redelivered,
	})
}
