package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/client"
)

const (
	upLimit      = time.Minute
	warmUp       = time.Second
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
	begin   time.Time // of the first event's healthy time
	before  map[string]int64
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
	r.events = Plan(opts.Rows, opts.Count, opts.Brokers, opts.Partitions, opts.Seed)
	r.gear = gear{rack: &rack{images: opts.Images, size: int64(opts.ImageMB) << 20}, network: &network{}, fronts: &fronts{seed: opts.Seed}}
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
	saying, hush := context.WithCancel(ctx)
	said := make(chan struct{})
	go func() { defer close(said); r.progress(saying) }()
	err := r.injectAll(ctx)
	hush()
	<-said
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

// bringUp sets the faults up, starts brokers and load, and warms up.
func (r *run) bringUp(ctx context.Context) error {
	dir := filepath.Join(r.dir, "cluster")
	spec := cluster.Spec{Dir: dir, Brokers: r.opts.Brokers, Binary: r.opts.Binary, Config: r.opts.brokerConfig(), Tied: true}
	for _, f := range r.faults {
		if err := f.Setup(ctx, dir, r.opts.Brokers); err != nil {
			return err
		}
		if s, ok := f.(shaper); ok {
			if err := s.Shape(&spec); err != nil {
				return err
			}
		}
	}
	up, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	var err error
	if r.cluster, err = cluster.Up(up, spec); err != nil {
		return err
	}
	if r.admin, err = r.connect(up); err != nil {
		return err
	}
	wanted := client.TopicSpec{Partitions: r.opts.Partitions, Replicas: r.opts.Brokers}
	wanted.RetentionBytes = keepBytes
	if _, err := r.admin.Admin().CreateTopic(up, topic, wanted); err != nil {
		return err
	}
	if err := r.awaitTopic(up); err != nil {
		return err
	}
	if r.load, err = startLoad(ctx, r.connect, &r.opts); err != nil {
		return err
	}
	var admin []string
	for _, b := range r.cluster.Brokers() {
		admin = append(admin, b.Admin)
	}
	r.watch = observe.Start(ctx, observe.Config{Admin: admin, Acked: r.totalAcked, Delivered: r.load.totalDelivered})
	return sleep(ctx, warmUp)
}

// awaitTopic waits until every broker knows the topic: each client of the load begins at another one.
func (r *run) awaitTopic(ctx context.Context) error {
	for {
		d, err := r.describe(ctx)
		if err == nil {
			err = allAnswer(d)
		}
		if err == nil {
			return nil
		}
		if sleep(ctx, recoverPoll) != nil {
			return fmt.Errorf("topic %s: %w", topic, err)
		}
	}
}

func (r *run) connect(ctx context.Context) (*client.Client, error) {
	cf, err := client.LoadContext(r.cluster.Context())
	if err != nil {
		return nil, err
	}
	opts, err := cf.Options()
	if err != nil {
		return nil, err
	}
	return client.Connect(ctx, cf.Brokers, append(opts, client.WithName("trunkline-chaos"))...)
}

// injectAll follows the schedule. A broker that does not come back is a violation and ends it.
func (r *run) injectAll(ctx context.Context) error {
	begin := time.Now()
	r.begin, r.before = begin, r.watch.Totals()
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
	for _, b := range r.cluster.Brokers() {
		if b.PID == 0 {
			r.res.violation("fault %d: broker %d ended by itself: see %s", fault, b.ID, r.cluster.Log(b.ID))
			return false
		}
	}
	return true
}

// aim finds out whom an event hits that names a leader or a follower. With Again it is the same broker as before.
func (r *run) aim(ctx context.Context, e *Event) error {
	if e.Again {
		e.Victims = r.res.Faults[len(r.res.Faults)-1].Victims
		return nil
	}
	if e.Target != Leader && e.Target != Follower {
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
				victim = victim%r.opts.Brokers + 1
			}
			e.Victims = []int{victim}
			return nil
		}
		if sleep(ctx, recoverPoll) != nil {
			return err
		}
	}
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
	if len(r.load.notes()) > 0 {
		r.res.violation("after fault %d, %v: a client was told what it must never be", len(r.res.Faults), f.Event)
	}
	return r.res.OK()
}

// inject takes the victims out, proves it and starts them again. It returns when they were started.
func (r *run) inject(ctx context.Context, e Event) (time.Time, error) {
	fault := r.faults[e.Fault]
	limited, cancel := context.WithTimeout(ctx, injectLimit)
	defer cancel()
	if err := fault.Inject(limited, r.cluster, e.Victims); err != nil {
		return time.Time{}, err
	}
	if err := sleep(ctx, e.Hold); err != nil {
		return time.Time{}, err
	}
	if err := fault.Prove(limited, r.cluster, e.Victims); err != nil {
		return time.Time{}, err
	}
	return time.Now(), fault.Recover(limited, r.cluster, e.Victims)
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

// conclude writes the result down.
func (r *run) conclude() error {
	r.res.LostTurns = r.load.lostTurns()
	r.res.Observed = r.watch.Report(r.begin, r.load.pauses.Longer(observedPause, observedPauses))
	r.res.Observed.Totals = observe.Since(r.res.Observed.Totals, r.before)
	r.res.Counts = r.counts()
	maps.Copy(r.res.Counts, r.res.Observed.Totals)
	r.res.count(r.load.ledger.Tally(), r.load.trail.Report(), r.drained)
	for _, n := range r.load.notes() {
		r.res.violation("%s", n)
	}
	r.res.RealTime = r.load.realTime.Findings()
	for _, e := range r.res.RealTime.Examples {
		r.res.violation("real time: %s", e)
	}
	for _, f := range r.faults {
		if j, ok := f.(judge); ok {
			r.res.Violations = append(r.res.Violations, j.Violations()...)
		}
	}
	var logs []string
	for _, id := range everyone(r.opts.Brokers) {
		logs = append(logs, r.cluster.Log(id))
	}
	lines, alarms, err := readLogs(logs, r.opts.flipsSegments())
	r.res.Log = lines
	for _, a := range alarms {
		r.res.violation("%s", a)
	}
	if r.res.Acked == 0 {
		r.res.violation("nothing was acknowledged: the run shows nothing")
	}
	r.res.Seconds = time.Since(r.start).Seconds()
	r.res.summarise(r.opts.Slack)
	return errors.Join(err, writeJSON(r.dir, "result.json", r.res))
}

// counts returns what the faults and the load have counted.
func (r *run) counts() map[string]int64 {
	all := map[string]int64{"lost_turns": int64(r.load.lostTurns())}
	for _, f := range r.faults {
		if c, ok := f.(counter); ok {
			for name, n := range c.Counts() {
				all[name] += n
			}
		}
	}
	return all
}

// progress says how the load goes until ctx ends.
func (r *run) progress(ctx context.Context) {
	last := int64(0)
	for sleep(ctx, sayEvery) == nil {
		t := r.load.ledger.Tally()
		r.say("acked %d (%.0f/s), delivered %d, waiting %d", t.Acked, float64(t.Acked-last)/sayEvery.Seconds(), t.Delivered, t.Sent-t.Acked)
		last = t.Acked
	}
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
