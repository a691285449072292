package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/trunkline/trunkline/broker/internal/meta"
	"github.com/trunkline/trunkline/broker/internal/raftnode"
	"github.com/trunkline/trunkline/protocol"
	"github.com/trunkline/trunkline/protocol/wire"
)

// slot is what is known of one shard. It belongs to the reconcile goroutine; while busy, a job works on the shard.
type slot struct {
	shard   uint64
	spec    *spec    // what the metadata wants, nil: nothing
	replica *replica // started, nil: not
	stored  uint64   // replica ID of the Raft log on disk, 0: none
	dir     bool     // a directory is on disk
	marked  bool     // removal was begun
	broken  bool     // never try again
	failing bool     // the last job failed
	waiting bool     // for due
	busy    bool
	queued  bool
	dirty   bool
	config  wire.TopicConfig // that replica has
	placed  *spec            // that replica has
	due     time.Time        // not before, after a failure
	pause   time.Duration    // of the last failure
}

// action is what a slot needs.
type action uint8

const (
	none action = iota
	start
	erase
)

// outcome is how a job ended.
type outcome struct {
	slot    *slot
	did     action
	replica *replica // that runs now
	err     error
}

// reconciler compares what the metadata wants with what runs and is on disk. One goroutine uses it.
type reconciler struct {
	c       *Controller
	image   *meta.Image
	current bool // image was known to hold everything committed before some moment after Start
	slots   map[uint64]*slot

	dirty   []*slot            // to be looked at, each once
	missing map[*slot]struct{} // placed here and not running
	failing map[*slot]struct{} // the last job failed
	queues  [3][]*slot         // by action: slots waiting for a job, in order
	working [3]int             // by action: jobs at work
	done    chan outcome
	latched bool // all replicas have been started once
}

func newReconciler(c *Controller, found map[uint64]onDisk, stored map[uint64]uint64) *reconciler {
	r := &reconciler{
		c: c, image: &meta.Image{}, slots: make(map[uint64]*slot), done: make(chan outcome),
		missing: make(map[*slot]struct{}), failing: make(map[*slot]struct{}),
	}
	for shard, f := range found {
		s := r.slot(shard)
		s.dir, s.marked = f.dir, f.marked
	}
	for shard, replica := range stored {
		r.slot(shard).stored = replica
	}
	return r
}

func (r *reconciler) slot(shard uint64) *slot {
	s, ok := r.slots[shard]
	if !ok {
		s = &slot{shard: shard}
		r.slots[shard] = s
	}
	return s
}

// run reconciles until ctx ends and then waits for the jobs at work.
func (r *reconciler) run(ctx context.Context) {
	defer r.finish()
	synced := make(chan error, 1)
	r.c.done.Go(func() { synced <- r.c.cfg.Meta.Sync(ctx) })
	for {
		changed := r.c.cfg.Meta.Changed()
		r.adopt(r.c.cfg.Meta.Image())
		r.consider(ctx)
		retry := r.retry()
		select {
		case <-changed:
		case err := <-synced:
			r.synced(ctx, err)
		case o := <-r.done:
			r.settle(o)
		case <-retry:
			r.wake(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

// synced notes that the image is current. Sync only fails with ctx.
func (r *reconciler) synced(ctx context.Context, err error) {
	if err != nil {
		if ctx.Err() == nil {
			r.c.stopOn(fmt.Errorf("controller: %w", err))
		}
		return
	}
	r.adopt(r.c.cfg.Meta.Image())
	r.current = true
	r.touchAll()
	r.c.log.Info("metadata is current", "version", r.image.Version, "topics", len(r.image.Topics()))
}

func (r *reconciler) finish() {
	for r.working[start]+r.working[erase] > 0 {
		r.settle(<-r.done)
	}
}

// touch has a slot looked at by the next consider.
func (r *reconciler) touch(s *slot) {
	if !s.dirty {
		s.dirty = true
		r.dirty = append(r.dirty, s)
	}
	mark(r.missing, s, s.spec != nil && s.replica == nil)
	mark(r.failing, s, s.failing)
}

func mark(set map[*slot]struct{}, s *slot, in bool) {
	if in {
		set[s] = struct{}{}
	} else {
		delete(set, s)
	}
}

func (r *reconciler) touchAll() {
	for _, shard := range slices.Sorted(maps.Keys(r.slots)) {
		r.touch(r.slots[shard])
	}
}

// adopt takes over what an image wants.
func (r *reconciler) adopt(im *meta.Image) {
	if im == r.image {
		return
	}
	old := r.image
	r.image = im
	im.Changes(old, r.put, func(t *meta.Topic) {
		for i := range t.Partitions {
			if s, ok := r.slots[t.Partitions[i].Shard]; ok {
				s.spec = nil
				r.touch(s)
			}
		}
	})
	if im.NextShard != old.NextShard { // what nobody wants may now be known to be deleted
		r.touchAll()
	}
}

func (r *reconciler) put(t *meta.Topic) {
	for i := range t.Partitions {
		want := newSpec(t, protocol.Partition(i), r.c.cfg.Self)
		if s, ok := r.slots[t.Partitions[i].Shard]; want != nil || ok {
			if !ok {
				s = r.slot(want.shard)
			}
			s.spec = want
			r.touch(s)
		}
	}
}

// configure brings the replica's configuration, and what it knows of the others, up to date.
func (r *reconciler) configure(s *slot) {
	if s.replica == nil || s.spec == nil || s.spec.replica != s.placed.replica {
		return
	}
	if s.placed != s.spec {
		s.placed = s.spec
		s.replica.placed.Store(s.spec)
		s.replica.place(s.spec)
	}
	if s.config == s.spec.config {
		return
	}
	s.config = s.spec.config
	s.replica.configure(s.config)
	r.c.log.Info("configuration changed", "topic", s.spec.topic, "partition", s.spec.tp.Partition, "shard", s.shard)
}

// consider looks at the slots that were touched, queues those that need something, and starts as many jobs as the
// bounds allow.
func (r *reconciler) consider(ctx context.Context) {
	for _, s := range r.dirty {
		s.dirty = false
		r.configure(s)
		r.enqueue(s)
		if s.spec == nil && s.replica == nil && s.stored == 0 && !s.dir && !s.marked && !s.busy && !s.queued {
			delete(r.slots, s.shard)
		}
	}
	r.dirty = r.dirty[:0]
	r.pump(ctx, start, r.c.cfg.Parallel) // may find that its slots must be erased now
	r.pump(ctx, erase, removeParallel)
	r.judge()
}

func (r *reconciler) enqueue(s *slot) {
	if a := r.needs(s); a != none && !s.queued {
		s.queued = true
		r.queues[a] = append(r.queues[a], s)
	}
}

// needs decides what a slot needs now.
func (r *reconciler) needs(s *slot) action {
	switch {
	case s.busy || s.waiting:
		return none
	case s.marked:
		return erase
	case r.abandoned(s):
		return erase
	case s.spec == nil || s.broken || s.replica != nil:
		return none
	case s.stored == s.spec.replica || s.stored == 0 && r.current:
		return start
	}
	return none
}

// abandoned reports whether what is here of the shard belongs to no replica that the metadata still wants (Inv3).
func (r *reconciler) abandoned(s *slot) bool {
	if s.replica == nil && s.stored == 0 && !s.dir {
		return false
	}
	if !r.current { // the image may be older than the replica
		return false
	}
	if s.spec == nil {
		return s.shard < r.image.NextShard
	}
	return s.stored != 0 && s.stored < s.spec.replica
}

func (r *reconciler) pump(ctx context.Context, a action, bound int) {
	for r.working[a] < bound && len(r.queues[a]) > 0 {
		s := r.queues[a][0]
		r.queues[a] = r.queues[a][1:]
		s.queued = false
		if r.needs(s) != a { // it changed while it waited
			r.enqueue(s)
			continue
		}
		s.busy = true
		r.working[a]++
		job := r.startJob
		if a == erase {
			job = r.eraseJob
		}
		// The job works on a copy: the slot belongs to this goroutine, and the outcome comes back to it.
		view := *s
		r.c.done.Go(func() {
			o := job(ctx, &view)
			o.slot, o.did = s, a
			r.done <- o
		})
	}
}

// startJob starts a replica.
func (r *reconciler) startJob(_ context.Context, s *slot) outcome {
	c := r.c
	prepare := c.dirs.create
	if s.stored != 0 {
		prepare = c.dirs.check
	}
	if err := prepare(s.spec); err != nil {
		return outcome{err: err}
	}
	started := &replica{}
	started.placed.Store(s.spec)
	run, err := c.host.start(s.spec, c.dirs.data(s.shard),
		func(l raftnode.Leadership) { started.lead.Store(&l) },
		func(e protocol.Epoch) { c.leading(s.spec.tp, e) })
	if err != nil {
		return outcome{err: err}
	}
	started.running = run
	c.add(started)
	return outcome{replica: started}
}

// eraseJob stops a replica and removes all its data.
func (r *reconciler) eraseJob(ctx context.Context, s *slot) outcome {
	c := r.c
	if err := c.dirs.condemn(s.shard); err != nil {
		return outcome{replica: s.replica, err: err}
	}
	if s.replica != nil {
		c.remove(s.replica)
		if err := s.replica.stop(); err != nil {
			c.log.Warn("replica did not stop in order", "shard", s.shard, "err", err)
		}
	}
	if err := c.host.removeData(ctx, s.shard); err != nil {
		return outcome{err: err}
	}
	if s.replica != nil {
		if err := s.replica.closeState(); err != nil {
			c.log.Warn("replica did not close in order", "shard", s.shard, "err", err)
		}
	}
	return outcome{err: c.dirs.erase(s.shard)}
}

// settle takes over the outcome of a job.
func (r *reconciler) settle(o outcome) {
	s := o.slot
	defer r.touch(s)
	s.busy = false
	r.working[o.did]--
	s.failing = o.err != nil
	s.replica = o.replica
	if o.err != nil {
		r.failed(s, o)
		return
	}
	s.pause = 0
	if o.did == erase {
		r.c.metrics.removed.Inc()
		r.c.log.Info("replica removed", "shard", s.shard)
		s.stored, s.dir, s.marked = 0, false, false
		return
	}
	started := o.replica.spec()
	s.stored, s.dir, s.config, s.placed = started.replica, true, started.config, started
	r.c.log.Info("replica started", "topic", started.topic, "partition", started.tp.Partition, "shard", s.shard)
}

func (r *reconciler) failed(s *slot, o outcome) {
	if o.did == erase {
		s.marked = true
	} else {
		s.dir = true // perhaps
	}
	var broken *BrokenError
	if errors.As(o.err, &broken) {
		s.broken = true
		r.c.log.Error("replica cannot be started", "shard", s.shard, "err", o.err)
		r.c.stopOn(o.err)
		return
	}
	s.pause = min(max(2*s.pause, retryMin), retryMax)
	s.due, s.waiting = time.Now().Add(s.pause), true
	r.c.metrics.failures.Inc()
	what := "start"
	if o.did == erase {
		what = "removal"
	}
	r.c.log.Error("replica "+what+" failed", "shard", s.shard, "retry_in", s.pause, "err", o.err)
}

// retry returns a channel that fires when the next failed slot is due, nil when there is none.
func (r *reconciler) retry() <-chan time.Time {
	var next time.Time
	for s := range r.failing {
		if s.waiting && (next.IsZero() || s.due.Before(next)) {
			next = s.due
		}
	}
	if next.IsZero() {
		return nil
	}
	return time.After(time.Until(next))
}

// wake ends the waiting of the slots that are due.
func (r *reconciler) wake(now time.Time) {
	for s := range r.failing {
		if s.waiting && !now.Before(s.due) {
			s.waiting = false
			r.touch(s)
		}
	}
}

// judge publishes whether the broker is ready.
func (r *reconciler) judge() {
	r.latched = r.latched || r.current && len(r.missing) == 0
	r.c.ready.Store(r.latched && len(r.failing) == 0)
	r.c.missing.Store(int64(len(r.missing)))
	r.c.metrics.missing.Set(float64(len(r.missing)))
}
