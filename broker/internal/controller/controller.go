package controller

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/trunkline/trunkline/broker/internal/fsm"
	"github.com/trunkline/trunkline/broker/internal/liveness"
	"github.com/trunkline/trunkline/broker/internal/partition"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

var _ liveness.Shards = (*Controller)(nil)

// Controller runs the replicas of this broker. Its methods may be called from any goroutine.
type Controller struct {
	cfg     Config
	host    host
	dirs    directory
	log     *slog.Logger
	metrics *metrics
	scrub   *scrubber

	mu      sync.RWMutex
	byTP    map[protocol.TopicPartition]*replica // running; guarded by mu
	byShard map[uint64]*replica                  // the same; guarded by mu
	diskLow bool                                 // guarded by mu

	ready    atomic.Bool   // see Ready
	missing  atomic.Int64  // replicas placed here that do not run
	metaMark atomic.Uint64 // as replica.mark, of the metadata shard
	fatal    sync.Once
	pending  announcements

	lifeMu sync.Mutex         // keeps Start and Close apart
	cancel context.CancelFunc // guarded by lifeMu; nil before Start
	closed bool               // guarded by lifeMu
	done   sync.WaitGroup
}

// replica is one running replica.
type replica struct {
	running
	placed atomic.Pointer[spec]                // as the newest image has it; see spec
	lead   atomic.Pointer[raftnode.Leadership] // newest news; nil before the first
	mark   atomic.Uint64                       // last index at the last look of follow while it led, or 0
	lost   atomic.Int64                        // Unix nanoseconds since which each look of follow found no leader, or 0
	vain   atomic.Pointer[failures]            // hand-overs to the preferred leader that failed since one succeeded; nil: none
}

// spec returns what the metadata says of the replica and of the others of its partition. Only the latter changes in its life.
func (r *replica) spec() *spec { return r.placed.Load() }

// New returns a controller that does nothing until Start.
func New(cfg Config) (*Controller, error) {
	c, err := newController(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Node == nil {
		return nil, fmt.Errorf("controller: config: no node")
	}
	c.host = &raftHost{
		cfg: &c.cfg, node: cfg.Node, fetch: newFetcher(cfg.FetchFrom),
		moves: rate.NewLimiter(rate.Limit(c.cfg.MoveRate), max(fsm.ThrottlePiece, c.cfg.MoveRate/20)),
	}
	return c, nil
}

// newController returns a controller without a host.
func newController(cfg Config) (*Controller, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Controller{
		cfg: cfg, log: cfg.Log,
		dirs:    directory{fs: cfg.FS, root: cfg.Dir, self: cfg.Self, id: cfg.DirID},
		byTP:    make(map[protocol.TopicPartition]*replica),
		byShard: make(map[uint64]*replica),
	}
	c.pending.init()
	c.scrub = newScrubber(c)
	c.metrics = newMetrics(cfg.Registerer, c)
	return c, nil
}

// Start looks at what is on disk and begins to reconcile, until Close. The node must be running; the metadata shard may
// still be catching up. The end of ctx after Start returned means nothing.
func (c *Controller) Start(ctx context.Context) error {
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	if c.closed || c.cancel != nil {
		return fmt.Errorf("controller: started twice or closed")
	}
	found, err := c.dirs.scan()
	if err != nil {
		return fmt.Errorf("controller: start: %w", err)
	}
	ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r := newReconciler(c, found, c.host.stored())
	c.done.Go(func() { r.run(ctx) })
	c.done.Go(func() { c.announce(ctx) })
	c.done.Go(func() { c.scrub.run(ctx) })
	c.done.Go(func() { c.prefer(ctx) })
	c.done.Go(func() { c.follow(ctx) })
	return nil
}

// Close ends the goroutines and stops every replica; their data stays. It waits and is idempotent. Call it before the
// node is closed.
func (c *Controller) Close() {
	c.lifeMu.Lock()
	defer c.lifeMu.Unlock()
	c.closed = true
	if c.cancel != nil {
		c.cancel()
	}
	c.done.Wait()
	c.ready.Store(false)
	g := errgroup.Group{}
	g.SetLimit(c.cfg.Parallel)
	for _, r := range c.running() {
		g.Go(func() error {
			if err := r.stop(); err != nil {
				c.log.Warn("replica did not stop in order", "partition", r.spec().tp.String(), "err", err)
			}
			c.remove(r)
			return nil
		})
	}
	_ = g.Wait() // the functions return nil
	c.metrics.unregister()
}

// Get returns the local replica of a partition, if it runs.
func (c *Controller) Get(tp protocol.TopicPartition) (*partition.Partition, bool) {
	c.mu.RLock()
	r, ok := c.byTP[tp]
	c.mu.RUnlock()
	if !ok {
		return nil, false
	}
	return r.partition(), true
}

// All returns every local replica that runs, in no order.
func (c *Controller) All() []*partition.Partition {
	running := c.running()
	out := make([]*partition.Partition, len(running))
	for i, r := range running {
		out[i] = r.partition()
	}
	return out
}

// Ready reports whether all replicas that the metadata placed here were started, once it was known to be current.
// Later it is false only while a replica fails to start.
func (c *Controller) Ready() bool { return c.ready.Load() }

// Counts returns how many replicas run here and how many of them serve as leaders.
func (c *Controller) Counts() (replicas, leading int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, r := range c.byShard {
		if _, ok := r.serving(); ok {
			leading++
		}
	}
	return len(c.byShard), leading
}

// UpdateQuorum asks hears for the replicas of every partition here and tells the partition the answer. Call it
// whenever liveness may have changed its mind; partitions with the same brokers are asked about once.
func (c *Controller) UpdateQuorum(hears func(replicas []protocol.BrokerID) bool) {
	type key [protocol.MaxReplicas]protocol.BrokerID
	known := make(map[key]bool)
	for _, r := range c.running() {
		var k key
		brokers := r.spec().brokers()
		copy(k[:], brokers)
		answer, ok := known[k]
		if !ok {
			answer = hears(brokers)
			known[k] = answer
		}
		r.setQuorum(answer)
	}
}

// SetDiskReserve tells all partitions, also those started later, whether the disk is nearly full.
func (c *Controller) SetDiskReserve(low bool) {
	c.mu.Lock()
	c.diskLow = low
	c.mu.Unlock()
	for _, r := range c.running() {
		r.setDiskReserve(low)
	}
}

func (c *Controller) running() []*replica {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*replica, 0, len(c.byShard))
	for _, r := range c.byShard {
		out = append(out, r)
	}
	return out
}

func (c *Controller) add(r *replica) {
	c.mu.Lock()
	c.byTP[r.spec().tp], c.byShard[r.spec().shard] = r, r
	low := c.diskLow
	c.mu.Unlock()
	r.setDiskReserve(low)
}

func (c *Controller) remove(r *replica) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byTP, r.spec().tp)
	delete(c.byShard, r.spec().shard)
}

// stopOn tells the broker, once, that it must not go on.
func (c *Controller) stopOn(err error) {
	c.fatal.Do(func() { c.cfg.OnFatal(err) })
}

// ledBy reports whether by leads, or led last and nobody does now: of a leader's death two survivors may learn at different
// times, and when the first one campaigns the other knows no leader any more. It must stand for election all the same,
// for it may be the only one whose log is good enough.
func ledBy(l raftnode.Leadership, by protocol.BrokerID) bool {
	return l.Leader == by || by != 0 && l.Leader == 0 && l.Last == by
}

// Led implements liveness.Shards.
func (c *Controller) Led(by protocol.BrokerID) []liveness.Shard {
	var out []liveness.Shard
	c.mu.RLock()
	for id, r := range c.byShard {
		if l := r.lead.Load(); l == nil && by == 0 || l != nil && ledBy(*l, by) {
			out = append(out, liveness.Shard{ID: id, Replicas: r.spec().brokers()})
		}
	}
	c.mu.RUnlock()
	if c.hasMeta() {
		out = append(out, liveness.Shard{ID: raftnode.MetaShard, Replicas: c.metaVoters()})
	}
	// The news that chose these may be a moment old; the node knows.
	kept := out[:0]
	for _, s := range out {
		if l, _ := c.host.leader(s.ID); ledBy(l, by) {
			s.Term, s.Last = l.Term, l.Last
			kept = append(kept, s)
		}
	}
	return kept
}

// Leader implements liveness.Shards.
func (c *Controller) Leader(shard uint64) (leader protocol.BrokerID, term uint64, ok bool) {
	if !c.has(shard) {
		return 0, 0, false
	}
	l, _ := c.host.leader(shard)
	return l.Leader, l.Term, true
}

// Campaign implements liveness.Shards.
func (c *Controller) Campaign(shard uint64) {
	if c.has(shard) {
		c.host.campaign(shard)
	}
}

// Petition implements liveness.Shards.
func (c *Controller) Petition(shard uint64, voters []protocol.BrokerID) {
	if c.has(shard) {
		c.host.petition(shard, voters)
	}
}

// Leads returns the ID of the local replica of a shard, the metadata shard included, if it leads it.
func (c *Controller) Leads(shard uint64) (replica uint64, ok bool) {
	l, known := c.host.leader(shard)
	if !known || !l.Self {
		return 0, false
	}
	if shard == raftnode.MetaShard {
		return uint64(c.cfg.Self), true
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	r := c.byShard[shard]
	if r == nil {
		return 0, false
	}
	return r.spec().replica, true
}

// HandOver hands the leadership of a shard that this broker leads to one of the brokers, the first that takes it.
func (c *Controller) HandOver(ctx context.Context, shard uint64, to []protocol.BrokerID) error {
	if shard == raftnode.MetaShard {
		return c.handOverMeta(ctx, to)
	}
	c.mu.RLock()
	r := c.byShard[shard]
	c.mu.RUnlock()
	if r == nil {
		return nil // it is gone, and somebody else leads
	}
	return c.handOver(ctx, r, to)
}

func (c *Controller) has(shard uint64) bool {
	if shard == raftnode.MetaShard {
		return c.hasMeta()
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byShard[shard] != nil
}

func (c *Controller) hasMeta() bool { return slices.Contains(c.metaVoters(), c.cfg.Self) }

// metaVoters returns who votes in the metadata shard, the preferred leader first: what the metadata says as soon as all founding
// brokers have registered there.
func (c *Controller) metaVoters() []protocol.BrokerID {
	if known := c.cfg.Meta.Image().Meta.Brokers(); len(known) >= len(c.cfg.Founders) {
		return known
	}
	return c.cfg.Founders
}

// leading is called by a partition that serves in a new epoch. It does not block.
func (c *Controller) leading(tp protocol.TopicPartition, epoch protocol.Epoch) {
	c.cfg.Leaders.Observe(tp, c.cfg.Self, epoch)
	c.pending.add(wire.Leader{Topic: tp.Topic, Partition: tp.Partition, Leader: c.cfg.Self, Epoch: epoch})
}
