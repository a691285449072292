package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/verify/history"
	"github.com/trunkline/trunkline/client"
)

const (
	topic = "chaos"
	// backlog is how many messages of a partition may wait for the slowest subscription; then its lanes wait. It keeps
	// consumers far from the records that retention removes.
	backlog     = 4000
	backlogPoll = 2 * time.Millisecond
	// keepBytes is the retention of a partition.
	keepBytes = 16 << 20
	// segmentBytes is the size of its segments.
	segmentBytes = 4 << 20

	connectLimit = 30 * time.Second
)

// load publishes as fast as answers come and its pace allows, and consumes. A lane is one producer on one partition: it numbers its own messages,
// has its own window and goes on whatever happens to other partitions.
//
// Goroutines: one a lane and two a subscription. Messages under way: lanes x Options.InFlight.
type load struct {
	partitions int
	window     int // of a lane: messages that wait for an answer
	pace       *rate.Limiter
	beat       atomic.Int64 // ns from one message of a lane to its next; 0: as fast as answers come and pace allows
	ledger     *verify.Ledger
	trail      *verify.Trail
	pauses     *pause.Meter
	realTime   *verify.RealTime
	live       *verify.Liveness
	quiet      *delays // publishes before the first fault, with Options.Load; lately those since it was last said, others as in PartLoad
	grown      *delays
	changing   *delays
	lately     *delays
	begun      time.Time        // from which live counts
	acked      []atomic.Int64   // by partition
	delivered  [][]atomic.Int64 // by subscription and partition

	books     []*books // by subscription
	positions *positions
	ring      *history.Ring
	alert     atomic.Bool // a promise was broken: the ring takes nothing more

	clients   []*client.Client
	producers []*client.Producer
	subs      []*client.Subscription
	stopLanes context.CancelFunc
	stopSubs  context.CancelFunc
	lanes     sync.WaitGroup
	consumers sync.WaitGroup

	mu      sync.Mutex
	trouble []string // guarded by mu; what no client may ever see, at most maxTrouble
}

const maxTrouble = 20

// newLoad returns a load that has not begun.
func newLoad(o *Options, h *health) *load {
	l := &load{
		pace:       rate.NewLimiter(paceOf(o.Rows), 1),
		partitions: o.Partitions,
		window:     o.InFlight,
		ledger:     verify.NewLedger(o.Producers*o.Partitions, o.Subscriptions),
		trail:      verify.NewTrail(o.Partitions),
		pauses:     pause.New(),
		quiet:      newDelays(),
		grown:      newDelays(),
		changing:   newDelays(),
		lately:     newDelays(),
		realTime:   verify.NewRealTime(o.Partitions),
		acked:      make([]atomic.Int64, o.Partitions),
		delivered:  make([][]atomic.Int64, o.Subscriptions),
		live:       h.live,
		begun:      h.begun,
		positions:  newPositions(h.begun),
		ring:       history.NewRing(o.Partitions, keptOps/o.Partitions),
	}
	for s := range o.Subscriptions {
		l.delivered[s] = make([]atomic.Int64, o.Partitions)
		l.books = append(l.books, newBooks(fmt.Sprintf("s%d", s), o.Partitions))
	}
	return l
}

// startLoad connects every producer and subscription by a client of its own, and begins. It is ended by close, also if
// startLoad failed.
func startLoad(ctx context.Context, connect func(context.Context) (*client.Client, error), o *Options, h *health) (*load, error) {
	l := newLoad(o, h)
	lanes, stopLanes := context.WithCancel(ctx)
	subs, stopSubs := context.WithCancel(ctx)
	l.stopLanes, l.stopSubs = stopLanes, stopSubs
	open, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	for s := range l.delivered {
		c, err := l.client(open, connect)
		if err != nil {
			return l, err
		}
		sub, err := c.Subscribe(open, topic, l.books[s].name, client.StartAt(client.Earliest()),
			client.OnGap(func(g client.Gap) { l.note("subscription %d: %+v was removed before it was delivered", s, g) }),
			client.OnRebalance(l.books[s].rebalanced))
		if err != nil {
			return l, err
		}
		l.subs = append(l.subs, sub)
		l.consumers.Go(func() { l.consume(subs, s, sub) })
		l.consumers.Go(func() { l.books[s].commit(subs, sub, l.positions, s) })
	}
	for range o.Producers {
		c, err := l.client(open, connect)
		if err != nil {
			return l, err
		}
		p, err := c.Producer(open, topic)
		if err != nil {
			return l, err
		}
		l.producers = append(l.producers, p)
	}
	for i, p := range l.producers {
		for part := range o.Partitions {
			l.lanes.Go(func() { l.publish(lanes, p, uint32(i*o.Partitions+part), int32(part)) })
		}
	}
	return l, nil
}

func (l *load) client(ctx context.Context, connect func(context.Context) (*client.Client, error)) (*client.Client, error) {
	c, err := connect(ctx)
	if err == nil {
		l.clients = append(l.clients, c)
	}
	return c, err
}

// publish is one lane.
func (l *load) publish(ctx context.Context, p *client.Producer, lane uint32, part int32) {
	window := make(chan struct{}, l.window)
	var due time.Time
	for seq := uint64(0); ; seq++ {
		var ok bool
		if due, ok = l.turn(ctx, part, due); !ok {
			return
		}
		select {
		case window <- struct{}{}:
		case <-ctx.Done():
			return
		}
		l.ledger.Sent(lane, seq)
		asked := time.Now()
		l.pauses.Sent(part, asked)
		floor, due := l.realTime.Began(part), due
		answered := func(r client.Receipt, err error) {
			took := time.Since(due)
			for _, d := range []*delays{l.quiet, l.grown, l.changing, l.lately} {
				d.note(took)
			}
			l.answered(lane, seq, part, asked, floor, r, err)
			<-window
		}
		rec := client.Record{Value: payload.Encode(verify.ID{Producer: lane, Seq: seq}), Partition: client.OnPartition(int(part))}
		// A message that was begun is never given up: what becomes of it must be known in the end.
		if err := p.Send(context.WithoutCancel(ctx), rec, answered); err != nil {
			answered(client.Receipt{}, err)
		}
	}
}

// awaitConsumers waits while too much of a partition is not delivered, and returns for how long; false if ctx ended.
func (l *load) awaitConsumers(ctx context.Context, part int32) (waited time.Duration, ok bool) {
	var held time.Time
	defer func() {
		if !held.IsZero() {
			waited = time.Since(held)
			l.live.Held(part, held.Sub(l.begun), time.Since(l.begun))
		}
	}()
	for ctx.Err() == nil {
		slowest := l.delivered[0][part].Load()
		for s := range l.delivered {
			slowest = min(slowest, l.delivered[s][part].Load())
		}
		if l.acked[part].Load()-slowest < backlog {
			return 0, true
		}
		if held.IsZero() {
			held = time.Now()
		}
		if sleep(ctx, backlogPoll) != nil {
			return 0, false
		}
	}
	return 0, false
}

func (l *load) answered(lane uint32, seq uint64, part int32, asked time.Time, floor verify.Floor, r client.Receipt, err error) {
	now := time.Now()
	l.pauses.Answered(part, now)
	l.published(lane, seq, part, asked, now, r, err)
	l.live.Answered(part, asked.Sub(l.begun), now.Sub(l.begun))
	if err == nil {
		l.ledger.Answered(lane, seq, verify.Acked, int32(r.Partition), int64(r.Offset))
		l.realTime.Acked(part, floor, int64(r.Offset))
		l.acked[part].Add(1)
		return
	}
	l.ledger.Answered(lane, seq, outcomeOf(err), -1, -1)
	l.note("producer %d message %d: %v", lane, seq, err)
}

// outcomeOf returns what is known of a publish that failed.
func outcomeOf(err error) verify.Outcome {
	var perr *client.PublishError
	if errors.As(err, &perr) && perr.Outcome == client.NotAppended {
		return verify.NotAppended
	}
	return verify.Unknown
}

// consume receives and acknowledges everything.
func (l *load) consume(ctx context.Context, s int, sub *client.Subscription) {
	for m, err := range sub.Messages(ctx) {
		if err == nil {
			l.take(s, m)
			err = sub.Ack(m)
			l.books[s].acknowledged(m)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, client.ErrPartitionLost) {
			l.note("subscription %d ended: %v", s, err)
			return
		}
	}
}

func (l *load) take(s int, m *client.Message) {
	id, ok := payload.Decode(m.Value)
	if !ok {
		l.ledger.Foreign(fmt.Sprintf("subscription %d partition %d offset %d: damaged", s, m.Partition, m.Offset))
		return
	}
	part := int32(m.Partition)
	l.books[s].delivered(m)
	l.received(s, id, part, int64(m.Offset))
	l.ledger.Delivered(s, verify.Arrival{Producer: id.Producer, Seq: id.Seq, Partition: part, Offset: int64(m.Offset)})
	l.trail.Delivered(part, uint64(m.Offset), id)
	l.delivered[s][part].Add(1)
}

// counts returns how many messages were acknowledged, by partition.
func (l *load) counts() []int64 {
	out := make([]int64, l.partitions)
	for p := range out {
		out[p] = l.acked[p].Load()
	}
	return out
}

// totalDelivered returns how many messages were delivered, over all subscriptions.
func (l *load) totalDelivered() (n int64) {
	for s := range l.delivered {
		for p := range l.delivered[s] {
			n += l.delivered[s][p].Load()
		}
	}
	return n
}

// lostTurns returns how often a consumer was told that a partition went away from it.
func (l *load) lostTurns() (n int) {
	for s := range l.books {
		n += l.books[s].lostTurns()
	}
	return n
}

// turns returns what was found of the turns of all subscriptions.
func (l *load) turns() (sum verify.Findings) {
	for _, b := range l.books {
		f := b.turns.Findings()
		sum.Checked, sum.Broken = sum.Checked+f.Checked, sum.Broken+f.Broken
		for _, e := range f.Examples {
			sum.Examples = append(sum.Examples, "subscription "+b.name+": "+e)
		}
	}
	return sum
}

func (l *load) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.trouble) < maxTrouble {
		l.trouble = append(l.trouble, fmt.Sprintf(format, args...))
	}
}

func (l *load) notes() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.trouble...)
}

// settle stops publishing and waits until every message is answered, at most until ctx ends.
func (l *load) settle(ctx context.Context) error {
	l.stopLanes()
	l.lanes.Wait()
	err := closeAll(ctx, l.producers)
	l.producers = nil
	return err
}

// closeAll closes producers side by side: each waits until all that it published is answered.
func closeAll(ctx context.Context, producers []*client.Producer) error {
	errs := make([]error, len(producers))
	var all sync.WaitGroup
	for i, p := range producers {
		all.Go(func() { errs[i] = p.Close(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// close ends everything, also a load that has not settled: its lanes may wait for room that only the end of their client makes.
func (l *load) close(ctx context.Context) error {
	l.stopLanes()
	var errs []error
	for _, s := range l.subs {
		errs = append(errs, s.Close(ctx))
	}
	l.stopSubs()
	for _, c := range l.clients {
		errs = append(errs, c.Close(ctx))
	}
	l.lanes.Wait()
	l.consumers.Wait()
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
