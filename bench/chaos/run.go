package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/client"
)

const (
	upLimit      = time.Minute
	warmUp       = 2 * time.Second
	injectLimit  = 2 * time.Minute // twice as long as any Hold
	aimLimit     = 10 * time.Second
	cleanUpLimit = 30 * time.Second // for closing the clients
	sayEvery     = 5 * time.Second
	sayEvents    = 50

	// Of the pauses of single partitions the longest are in the result.
	observedPause  = 50 * time.Millisecond
	observedPauses = 1000
)

// run is one run under way. It belongs to one goroutine.
type run struct {
	opts    Options
	events  []Event
	faults  map[string]Fault // by name; those that the schedule uses
	gear    gear
	dir     string
	lock    *os.File
	cluster *cluster.Cluster
	admin   *client.Client
	load    *load
	watch   *observe.Observer
	health  *health
	begin   time.Time // of the first event's healthy time
	before  map[string]int64
	mark    map[string]int64 // what was counted when the last fault began
	res     *Result
	start   time.Time
	drained bool // everything that is ever delivered has been
}

// Run makes a schedule from the seed, prints it and runs it. An error means that it could not be carried out, an
// *UnavailableError that it cannot be on this machine; whether the promises held is in the Result. Unless all went well, what
// is needed to look into it stays in a directory that is told to opts.Progress.
func Run(ctx context.Context, opts Options) (res *Result, err error) {
	opts = opts.WithDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	r := &run{opts: opts, faults: map[string]Fault{}, start: time.Now()}
	r.events = Plan(opts.Rows, opts.Count, opts.Brokers, opts.Partitions, opts.Pairs, opts.Seed)
	r.gear = gear{rack: &rack{images: opts.Images, size: int64(opts.ImageMB) << 20}, network: &network{}, fronts: &fronts{seed: opts.Seed}}
	r.health = newHealth(&r.opts, r.start)
	r.res = &Result{Seed: opts.Seed, Replay: opts.Replay()}
	if err := r.available(); err != nil {
		return nil, err
	}
	r.say("%s", r.res.Replay)
	for i, e := range r.events[:min(len(r.events), sayEvents)] {
		r.say("schedule %d: %v", i+1, e)
	}
	if n := len(r.events) - sayEvents; n > 0 {
		r.say("and %d more: see schedule.json", n)
	}
	left, err := reclaim()
	for _, dir := range left {
		r.say("unmounted %s, which a run left that was ended by force", dir)
	}
	if err != nil {
		return nil, err
	}
	if r.dir, r.lock, err = claim(opts.Dir); err != nil {
		return nil, err
	}
	finished := false
	defer func() {
		// Without finished this is a panic: everything stays, and is unmounted.
		err = errors.Join(err, r.cleanUp(context.WithoutCancel(ctx), opts.Keep || !finished || err != nil || !res.OK()))
	}()
	err = r.phases(ctx)
	finished = true
	return r.res, err
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.opts.Progress, "%6.1fs  %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

// available makes the faults that the schedule uses.
func (r *run) available() error {
	for _, name := range r.opts.Rows {
		fault := rowOf(name).Fault
		if r.faults[fault] != nil {
			continue
		}
		f := makers[fault](&r.opts, r.gear)
		if err := f.Available(); err != nil {
			return err
		}
		if f, ok := f.(rests); ok {
			f.restBy(r.rest)
		}
		r.faults[fault] = f
	}
	return nil
}

// phases runs set-up, warm-up, faults, drain and checks.
func (r *run) phases(ctx context.Context) error {
	if err := writeJSON(r.dir, "schedule.json", map[string]any{"options": r.opts.Replay(), "seed": r.opts.Seed, "events": r.events}); err != nil {
		return err
	}
	if err := r.bringUp(ctx); err != nil {
		return err
	}
	beside, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	watchers.Go(func() { r.progress(beside) })
	watchers.Go(func() { r.load.watch(beside) })
	watchers.Go(func() {
		r.load.positions.ask(beside, subscribers+r.opts.Subscriptions, func(ctx context.Context) ([]client.SubscriptionState, error) {
			return r.admin.Admin().Subscriptions(ctx, topic)
		})
	})
	watchers.Go(func() { r.health.follow(beside, r.cluster.Brokers, r.describe) })
	err := r.injectAll(ctx)
	if err == nil && r.res.OK() {
		err = r.calm(ctx)
	}
	r.health.end()
	stop()
	watchers.Wait()
	r.watch.Close() // what follows is no part of the picture
	if err == nil && r.res.OK() {
		err = r.check(ctx)
	}
	if err != nil && ctx.Err() == nil && !r.res.OK() {
		r.res.violation("and then: %v", err)
		err = nil
	}
	return errors.Join(err, r.conclude())
}

// calm lets the load go on after the faults, and judges the brokers as a system.
func (r *run) calm(ctx context.Context) error {
	begun := time.Now()
	var seen [][]observe.Vitals
	for time.Since(begun) < r.opts.calm() {
		if err := sleep(ctx, observe.Interval); err != nil {
			return err
		}
		if time.Since(begun) >= settleTime {
			seen = append(seen, r.watch.Vitals())
		}
	}
	r.health.after(seen)
	r.allRun(len(r.res.Faults) + 1)
	return nil
}

// injectAll follows the schedule. A broker that does not come back is a violation and ends it.
func (r *run) injectAll(ctx context.Context) error {
	begin := time.Now()
	r.begin, r.before = begin, r.watch.Totals()
	r.mark = r.totals()
	r.health.whole()
	var ended time.Time // of the last fault: its victims were started or let go
	acked := int64(0)
	for i, e := range r.events {
		if r.opts.Time > 0 && time.Since(begin) > r.opts.Time {
			break
		}
		from := ended
		last := len(r.res.Faults) - 1
		if last >= 0 && !e.Again && !e.Rush {
			if !r.recovered(ctx, &r.res.Faults[last], ended) {
				return ctx.Err()
			}
		}
		if !e.Again && !e.Rush {
			from = time.Now()
		}
		if r.opts.Every > 0 && last >= 0 {
			from, e.Wait = r.res.Faults[last].at, r.opts.Every
		}
		if err := sleep(ctx, e.Wait-time.Since(from)); err != nil {
			return err
		}
		if !r.allRun(i + 1) {
			return nil
		}
		if err := r.aim(ctx, &e); err != nil {
			return fmt.Errorf("fault %d, %v: %w", i+1, e, err)
		}
		r.seen()
		f := Injected{Event: e, at: time.Now(), At: time.Since(begin).Seconds(), Acked: r.totalAcked() - acked}
		acked += f.Acked
		var err error
		if ended, err = r.inject(ctx, e); err != nil {
			return fmt.Errorf("fault %d, %v: %w", i+1, e, err)
		}
		f.Lasted = millis(ended.Sub(f.at))
		r.res.Faults = append(r.res.Faults, f)
	}
	r.recovered(ctx, &r.res.Faults[len(r.res.Faults)-1], ended)
	return ctx.Err()
}

// allRun reports whether no broker ended by itself.
func (r *run) allRun(fault int) bool {
	gone := r.health.exits(r.cluster.Brokers(), func(b cluster.Broker) string { return "see " + r.cluster.Log(b.ID) })
	for _, id := range gone {
		r.res.violation("before fault %d: broker %d ended by itself", fault, id)
	}
	return len(gone) == 0
}

// aim finds out whom an event hits. With Again it is the same broker as before.
func (r *run) aim(ctx context.Context, e *Event) error {
	if e.Again {
		e.Victims = r.res.Faults[len(r.res.Faults)-1].Victims
		return nil
	}
	var there []int
	for _, b := range r.cluster.Brokers() {
		there = append(there, b.ID)
	}
	if e.Target != Leader && e.Target != Follower {
		e.Victims = atPlaces(e.Victims, there)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, aimLimit)
	defer cancel()
	for {
		d, err := r.describe(ctx)
		if err == nil && d.Partitions[e.Partition].Leader == 0 {
			err = fmt.Errorf("partition %d has no leader", e.Partition)
		}
		if err == nil {
			victim := int(d.Partitions[e.Partition].Leader)
			if e.Target == Follower {
				victim = next(there, victim)
			}
			e.Victims = []int{victim}
			return nil
		}
		if sleep(ctx, recoverPoll) != nil {
			return err
		}
	}
}

// atPlaces returns the brokers at places, from 1 on, of those that there are.
func atPlaces(places, there []int) []int {
	var ids []int
	for _, p := range places {
		ids = append(ids, there[(p-1)%len(there)])
	}
	return ids
}

// next returns the broker after one of those that there are; after the last one comes the first.
func next(there []int, id int) int {
	return there[(slices.Index(there, id)+1)%len(there)]
}

// recovered reports whether the brokers came back from the last fault.
func (r *run) recovered(ctx context.Context, f *Injected, started time.Time) bool {
	if err := r.awaitRecovery(ctx, f, started); err != nil {
		if ctx.Err() == nil {
			r.res.violation("after fault %d, %v: %v", len(r.res.Faults), f.Event, err)
		}
		return false
	}
	r.say("fault %d of %d: %v: publish pause %.0f ms, restart %.0f ms, catch-up %.0f ms", len(r.res.Faults), r.opts.Count, f.Event,
		f.Pause, f.Restart, f.CatchUp)
	r.load.changing.on.Store(false)
	r.health.whole()
	if r.load.alert.Load() {
		r.res.violation("after fault %d, %v: a promise to clients was broken, see below", len(r.res.Faults), f.Event)
	}
	return r.res.OK()
}

// inject takes the victims out, proves it and starts them again. It returns when they were started.
func (r *run) inject(ctx context.Context, e Event) (time.Time, error) {
	fault, around := r.faults[e.Fault], Fault(none{})
	if e.Beside != "" {
		around = r.faults[rowOf(e.Beside).Fault]
	}
	limited, cancel := context.WithTimeout(ctx, cmp.Or(rowOf(e.Row).Patience, injectLimit))
	defer cancel()
	r.load.changing.on.Store(true)
	r.health.harmed()
	if err := around.Inject(limited, r.cluster, nil); err != nil {
		return time.Time{}, err
	}
	if err := fault.Inject(limited, r.cluster, e.Victims); err != nil {
		return time.Time{}, err
	}
	r.health.injected(e)
	if err := sleep(ctx, e.Hold); err != nil {
		return time.Time{}, err
	}
	if err := fault.Prove(limited, r.cluster, e.Victims); err != nil {
		return time.Time{}, err
	}
	r.health.harmed()
	ended := time.Now()
	err := fault.Recover(limited, r.cluster, e.Victims)
	if err == nil && e.Beside != "" {
		err = r.takeBack(limited, around, e.Victims)
	}
	r.health.recovering(e)
	return ended, err
}

// takeBack ends a fault beside which another one came, when its victims say that they are ready.
func (r *run) takeBack(ctx context.Context, around Fault, victims []int) error {
	if err := each(victims, func(id int) error { return r.cluster.WaitReady(ctx, id) }); err != nil {
		return err
	}
	if err := around.Prove(ctx, r.cluster, nil); err != nil {
		return err
	}
	return around.Recover(ctx, r.cluster, nil)
}

func (r *run) totalAcked() (n int64) {
	for _, c := range r.load.counts() {
		n += c
	}
	return n
}

// check drains and compares everything with everything.
func (r *run) check(ctx context.Context) error {
	if err := r.drain(ctx); err != nil {
		if ctx.Err() != nil {
			return err
		}
		r.res.violation("%v", err)
	}
	r.drained = true
	if err := r.readBack(ctx); err != nil {
		return err
	}
	return r.compare(ctx)
}

// cleanUp ends clients and brokers, unmounts everything and, unless it is to be kept, removes it.
func (r *run) cleanUp(ctx context.Context, keep bool) error {
	ctx, cancel := context.WithTimeout(ctx, cleanUpLimit)
	defer cancel()
	var errs []error
	if r.watch != nil {
		r.watch.Close()
	}
	if r.load != nil {
		errs = append(errs, r.load.close(ctx))
	}
	if r.admin != nil {
		errs = append(errs, r.admin.Close(ctx))
	}
	if r.cluster != nil {
		for _, b := range r.cluster.Brokers() {
			if b.PID != 0 {
				errs = append(errs, r.cluster.Kill(context.WithoutCancel(ctx), b.ID))
			}
		}
	}
	for _, f := range r.faults {
		errs = append(errs, f.Cleanup(keep))
	}
	errs = append(errs, r.gear.rack.cleanUp(keep))
	if keep {
		r.say("schedule, result, logs and data are in %s; the same again: %s", r.dir, r.res.Replay)
		for _, f := range r.faults {
			for _, line := range f.Evidence() {
				r.say("%s", line)
			}
		}
		for _, line := range r.gear.rack.evidence() {
			r.say("%s", line)
		}
	} else if errors.Join(errs...) == nil { // nothing of ours is mounted below
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(append(errs, r.lock.Close())...)
}
