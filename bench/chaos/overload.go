package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/payload"
	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
)

const (
	overloadPartitions = 8
	overloadCrowd      = 4         // producers
	overloadValue      = 4 << 10   // bytes of a message
	overloadTimes      = 3         // what is offered, measured in what the cluster carries
	overloadBuffer     = 512 << 10 // bytes of a partition that a producer buffers
	overloadPending    = "1MiB"    // of a partition that a broker takes on: less than what the crowd buffers; and so of a batch
	overloadRecord     = "256KiB"
	overloadRetention  = 64 << 20 // bytes of a partition: seconds of what a slow consumer may be behind
	capacityTime       = 6 * time.Second
	overloadGoodput    = 0.8 // of capacity, at least
	overloadMemory     = 2.0 // times the memory at capacity, at most
	calmAgain          = 1.5 // times the p99 before, which must be reached again
	calmWithin         = 30 * time.Second
	calmLook           = 3 * time.Second
)

// Metrics of a broker that say who held publishes back: the partitions, which make sessions wait, or Raft, which refused a proposal.
const (
	appendWaits = "trunkline_partition_append_waits_total"
	raftBusy    = "trunkline_partition_proposals_refused_total"
)

// overload finds out how much the cluster carries, offers three times as much for a while, and then no more than steady traffic. The
// crowd that offers it does so at fixed times and does not wait for room (client.WithMaxBlock): what the cluster does not take must be
// refused as busy, by the bounds that are meant to do it, and what it takes must be as much as without overload.
//
// Counts, each behind "overload_": capacity, offered and goodput (messages a second), shed (told as busy), waits (appends for which a
// broker made its session wait), raft_refusals, memory_percent (the most that a broker took, of what it took at capacity), calm_ms
// (until the steady traffic was as fast as before), and those of measured.
type overload struct {
	measured
	crowd    []*client.Producer
	stop     context.CancelFunc // of the crowd
	offering sync.WaitGroup
	seqs     []uint64 // by lane of the crowd: the next message; of its lane's goroutine while it runs
	acked    atomic.Int64
	offered  atomic.Int64
	shed     atomic.Int64
	wrong    atomic.Int64 // refused in another way than as busy

	capacity float64 // messages a second
	before   map[string]float64
	atCap    map[int]int64 // peaks
	since    time.Time
}

func newOverload() *overload {
	o := &overload{measured: newMeasured("overload", overloadPartitions)}
	o.retention = overloadRetention
	return o
}

// Shape lets brokers take on less of a partition than the crowd can buffer, so that their own bound is reached.
func (o *overload) Shape(spec *cluster.Spec) error {
	spec.Config["limits.partition_pending"] = overloadPending
	spec.Config["limits.max_batch"] = overloadPending
	spec.Config["limits.max_record"] = overloadRecord
	return nil
}

// Inject measures the steady traffic alone, then what the cluster carries, and begins to offer more.
func (o *overload) Inject(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	lanes := overloadPartitions * (1 + 2*overloadCrowd)
	acting, err := o.open(ctx, cl, lanes, func(worker.Report) {})
	if err != nil {
		return err
	}
	if err := o.learnCalm(ctx, baseline); err != nil {
		return err
	}
	o.most("calm_p99_us", o.calm.P99.Microseconds())
	o.seqs = make([]uint64, lanes)
	if err := o.learnCapacity(ctx, acting, cl); err != nil {
		return err
	}
	if o.before, err = o.metrics(ctx); err != nil {
		return err
	}
	if err := o.gather(ctx, cl, client.WithMaxBlock(-1)); err != nil {
		return err
	}
	o.peaks()
	o.acked.Store(0)
	o.since = time.Now()
	each := overloadTimes * o.capacity / float64(overloadPartitions*overloadCrowd)
	o.offer(acting, 1+overloadCrowd, time.Duration(float64(time.Second)/each))
	return nil
}

// learnCapacity lets the crowd publish as fast as answers come.
func (o *overload) learnCapacity(ctx, acting context.Context, cl *cluster.Cluster) error {
	if err := o.gather(ctx, cl); err != nil {
		return err
	}
	o.offer(acting, 1, 0)
	if err := sleep(ctx, settling); err != nil {
		return err
	}
	o.peaks()
	from, begin := o.acked.Load(), time.Now()
	if err := sleep(ctx, capacityTime); err != nil {
		return err
	}
	o.capacity = float64(o.acked.Load()-from) / time.Since(begin).Seconds()
	o.atCap = o.peaks()
	o.most("capacity", int64(o.capacity))
	return o.disperse(ctx)
}

// gather opens the crowd's producers, each with a client of its own.
func (o *overload) gather(ctx context.Context, cl *cluster.Cluster, opts ...client.ProducerOption) error {
	for range overloadCrowd {
		c, err := o.connect(ctx, cl)
		if err != nil {
			return err
		}
		p, err := c.Producer(ctx, o.topic, append(opts, client.WithBufferBytes(overloadBuffer))...)
		if err != nil {
			return err
		}
		o.crowd = append(o.crowd, p)
	}
	return nil
}

// offer publishes on every lane of the crowd, each lane a message every so often; 0 is as fast as there is room. The lanes in the ledger
// begin with those of the given group, of which the steady traffic is the first.
func (o *overload) offer(ctx context.Context, group int, every time.Duration) {
	ctx, o.stop = context.WithCancel(ctx)
	for i, p := range o.crowd {
		for part := range overloadPartitions {
			lane := (group+i)*overloadPartitions + part
			o.offering.Go(func() {
				next := time.Now()
				for sleep(ctx, time.Until(next)) == nil {
					o.one(ctx, p, lane, part)
					if every > 0 {
						next = next.Add(every)
					}
				}
			})
		}
	}
}

// one publishes a message of a lane.
func (o *overload) one(ctx context.Context, p *client.Producer, lane, part int) {
	id := verify.ID{Producer: uint32(lane), Seq: o.seqs[lane]}
	o.seqs[lane]++
	o.offered.Add(1)
	o.publish(ctx, p, part, id, payload.Sized(id, overloadValue), func(err error) {
		switch {
		case err == nil:
			o.acked.Add(1)
		case errors.Is(err, client.ErrBusy):
			o.shed.Add(1)
		default:
			o.wrong.Add(1)
			o.violation("lane %d message %d was not told that the partition is busy: %v", lane, id.Seq, err)
		}
	})
}

// disperse ends the crowd and waits until all that it published is answered.
func (o *overload) disperse(ctx context.Context) error {
	o.stop()
	o.offering.Wait()
	err := closeAll(ctx, o.crowd)
	o.crowd = nil
	o.offered.Store(0)
	return err
}

func (o *overload) metrics(ctx context.Context) (map[string]float64, error) {
	sums := map[string]float64{}
	for _, b := range o.brokers {
		values, err := observe.Scrape(ctx, b.Admin, appendWaits, raftBusy)
		if err != nil {
			return nil, fmt.Errorf("broker %d: %w", b.ID, err)
		}
		for name, n := range values {
			sums[name] += n
		}
	}
	return sums, nil
}

// Prove judges the time of overload. It is an error if there was none, or if what sheds first was not reached.
func (o *overload) Prove(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	lasted := time.Since(o.since).Seconds()
	offered, good := float64(o.offered.Load())/lasted, float64(o.acked.Load())/lasted
	after, err := o.metrics(ctx)
	if err != nil {
		return err
	}
	waits, refusals := after[appendWaits]-o.before[appendWaits], after[raftBusy]-o.before[raftBusy]
	o.most("offered", int64(offered))
	o.most("goodput", int64(good))
	o.count("shed", o.shed.Swap(0))
	o.count("waits", int64(waits))
	o.count("raft_refusals", int64(refusals))
	if good < overloadGoodput*o.capacity {
		o.violation("%.0f messages a second were acknowledged of %.0f offered; without overload it was %.0f, and %.0f %% of that are asked for",
			good, offered, o.capacity, 100*overloadGoodput)
	}
	for id, peak := range o.peaks() {
		o.most("memory_percent", 100*peak/o.atCap[id])
		if float64(peak) > overloadMemory*float64(o.atCap[id]) {
			o.violation("broker %d took %d MiB, %d at capacity, and %.0f times that is allowed", id, peak>>20, o.atCap[id]>>20, overloadMemory)
		}
	}
	if offered < 0.9*overloadTimes*o.capacity || waits == 0 || o.counted()["shed"] == 0 {
		return fmt.Errorf("no overload: %.0f messages a second offered, %.0f carried, %.0f appends waited, %d refused as busy",
			offered, o.capacity, waits, o.counted()["shed"])
	}
	return nil
}

// Recover ends the overload and waits until the steady traffic is as fast as before.
func (o *overload) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	ended := time.Now()
	if err := o.disperse(ctx); err != nil {
		return err
	}
	for {
		from := time.Now()
		if err := sleep(ctx, calmLook); err != nil {
			return err
		}
		_, now := o.clock.tails(window{from, time.Now()})
		if float64(now.P99) <= calmAgain*float64(o.calm.P99) {
			o.most("calm_ms", time.Since(ended).Milliseconds())
			break
		}
		if time.Since(ended) > calmWithin {
			o.violation("%v after the overload p99 is %v, before it was %v", calmWithin, now.P99, o.calm.P99)
			break
		}
	}
	return o.close(ctx)
}

// Cleanup ends what an injection left that was interrupted.
func (o *overload) Cleanup(keep bool) error {
	err := o.measured.Cleanup(keep)
	o.offering.Wait()
	return err
}
