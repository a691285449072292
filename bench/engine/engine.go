package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/results"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/bench/workload"
)

// Options say how to run a workload.
type Options struct {
	System string // "driver:profile", as it is printed
	Round  int    // from 1
	Seed   uint64 // of payloads and keys
	// Progress, if set, is told once a second what was measured in that second. It is called from one goroutine at a time and must
	// return within that second.
	Progress func(Progress)
	// Log, if set, takes one line for each phase, and what went wrong on the way without spoiling the run.
	Log func(format string, args ...any)
}

// Progress is one second of a run.
type Progress struct {
	Phase string        // "warm up", "measure" and so on
	At    time.Duration // since the phase began
	Of    time.Duration // how long the phase is meant to last; 0: until its work is done
	Point results.Point
}

// Bounds of the phases that have no bound of their own.
const (
	setupMax   = 5 * time.Minute
	closeMax   = 30 * time.Second
	deleteMax  = 60 * time.Second
	lead       = 20 * time.Millisecond // between the making of a schedule and its beginning
	catchUpMax = 10 * time.Second      // for messages of the window that had to wait for the system
)

// Run runs one workload on one system and measures it. An error means that the run could not be made at all, or that ctx
// ended; a broken promise, a phase that did not end or a loader that lagged is a verdict of the result.
//
// The topics of the run are gone when it returns, and so are its goroutines. Several runs must not share a system at the same
// time: they would measure each other.
func Run(ctx context.Context, sys driver.System, w *workload.Workload, opts Options) (*results.Run, error) {
	r, err := newRun(ctx, sys, w, opts)
	if err != nil {
		return nil, err
	}
	return r.do(ctx)
}

func (r *run) do(ctx context.Context) (*results.Run, error) {
	defer r.cancel()
	defer r.deleteTopics(ctx)
	defer r.close(ctx)
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	if err := r.work(ctx); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("the run was ended: %w", err)
	}
	r.close(ctx)
	return r.results(), nil
}

// run is one run. Its fields are set before the first message is sent, except where a comment says otherwise.
type run struct {
	sys  driver.System
	w    *workload.Workload
	opts Options

	id      uint32    // tells the messages of this run from others
	start   time.Time // all times count from here
	began   time.Time // wall clock of the same
	sending context.Context
	cancel  context.CancelFunc // ends Sends that block

	topics    []string
	payloads  payloads
	keys      [][]byte
	producers []*producer
	consumers []*consumer // owned by the goroutine of Run

	meter   *meter
	ledger  *verify.Ledger // nil: messages are not checked
	pauses  *pauses        // nil: no faults
	notes   notes
	costs   *costs
	tempo   tempo
	drainIn patience

	// Owned by the goroutine of Run.
	offered  float64 // messages a second
	maximum  float64
	drained  rates
	faults   []strike
	timeline []results.Point // by the observer while there is one
	closed   bool
}

func newRun(ctx context.Context, sys driver.System, w *workload.Workload, opts Options) (*run, error) {
	if len(w.Faults) > 0 && len(sys.Nodes()) == 0 {
		return nil, fmt.Errorf("workload %s makes faults: %w", w.Name, driver.ErrNotOurs)
	}
	bodies, err := w.Payloads(opts.Seed)
	if err != nil {
		return nil, fmt.Errorf("workload %s: %w", w.Name, err)
	}
	if opts.Progress == nil {
		opts.Progress = func(Progress) {}
	}
	if opts.Log == nil {
		opts.Log = func(string, ...any) {}
	}
	for _, note := range w.Notes {
		opts.Log("%s", note)
	}
	now := time.Now()
	r := &run{
		sys: sys, w: w, opts: opts, id: rand.Uint32(), start: now, began: now, payloads: bodies, keys: makeKeys(),
		meter: newMeter(w.Topics*w.ProducersPerTopic, w.Topics*w.SubscriptionsPerTopic*w.ConsumerPerSubscription),
		costs: newCosts(sys), tempo: tempo{saturate: 4 * time.Second, step: 3 * time.Second, settle: time.Second},
		drainIn: patience{drainMax, drainQuiet},
	}
	subscriptions := len(r.subscriptions())
	if w.Verified() {
		r.ledger = verify.NewLedger(w.Topics*w.ProducersPerTopic, subscriptions)
	}
	if r.faulty() {
		r.pauses = newPauses(subscriptions, w.Topics*w.PartitionsPerTopic)
	}
	r.sending, r.cancel = context.WithCancel(ctx)
	return r, nil
}

// now is the time since the start of the run.
func (r *run) now() time.Duration { return time.Since(r.start) }

// faulty reports whether the workload makes faults.
func (r *run) faulty() bool { return len(r.w.Faults) > 0 }

// open creates the topics and connects to them.
func (r *run) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, setupMax)
	defer cancel()
	r.opts.Log("create %d topics of %d partitions", r.w.Topics, r.w.PartitionsPerTopic)
	for t := range r.w.Topics {
		topic := driver.Topic{
			Name: fmt.Sprintf("bench-%08x-%d", r.id, t), Partitions: r.w.PartitionsPerTopic, Replicas: r.w.Replicas,
			Subscriptions: r.subscriptions(), Payload: r.w.MessageSize, Members: r.members(),
		}
		r.topics = append(r.topics, topic.Name)
		if err := r.sys.CreateTopic(ctx, topic); err != nil {
			return fmt.Errorf("create topic %s: %w", topic.Name, err)
		}
	}
	if err := r.openProducers(ctx); err != nil {
		return err
	}
	if r.readsBack() || r.w.ConsumerBacklogSizeGB > 0 {
		return nil // consumers come later
	}
	return r.openConsumers(ctx)
}

// work does everything between the opening and the closing of the clients.
func (r *run) work(ctx context.Context) error {
	r.prime(ctx)
	r.offered = r.w.ProducerRate
	if r.w.Searches() {
		if err := r.search(ctx); err != nil {
			return err
		}
		if r.offered == 0 {
			r.notes.fail("nothing was acknowledged while the maximum was searched")
			return nil
		}
	}
	var err error
	if r.w.ConsumerBacklogSizeGB > 0 {
		err = r.buildAndDrain(ctx)
	} else {
		err = r.measure(ctx)
	}
	if err != nil {
		return err
	}
	r.drain(ctx)
	return r.readAll(ctx)
}

// measure warms up and measures on one schedule: nothing stops or starts in between.
func (r *run) measure(ctx context.Context) error {
	begin := r.now() + lead
	from := begin + r.w.WarmupTime()
	to := from + r.w.Measured()
	plan := plan{begin: begin, until: to, grace: catchUpMax, rate: r.offered}
	r.meter.window.set(from, to)
	if r.faulty() { // the last fault may end late
		plan.until = forever
		r.meter.window.set(from, forever)
	}
	ph := r.publish(ctx, plan)
	watch := r.observe(ctx, "warm up", r.w.WarmupTime(), nil)
	r.sleepUntil(ctx, from)
	watch.stop()
	r.costs.begin()
	watch = r.observe(ctx, "measure", r.w.Measured(), &r.timeline)
	var err error
	if r.faulty() {
		err = r.makeFaults(ctx, from)
		to = max(to, r.now()+returnSeen)
	}
	r.sleepUntil(ctx, to)
	if r.faulty() {
		ph.cancel()
		r.meter.window.set(from, r.now())
	}
	r.costs.end()
	watch.stop()
	r.opts.Log("measured for %v", r.meter.window.length().Round(time.Millisecond))
	return errors.Join(err, r.finish(ctx, ph))
}

// finish waits until no producer sends any more. A Send that still blocks after drainMax is given up.
func (r *run) finish(ctx context.Context, ph *publishing) error {
	select {
	case <-ph.done:
	case <-ctx.Done():
	case <-time.After(drainMax):
		r.notes.fail("a producer could not hand over a message for %v", drainMax)
		r.cancel()
	}
	<-ph.done
	return ph.err
}

// sleepUntil sleeps until a time of the run, or until ctx ends.
func (r *run) sleepUntil(ctx context.Context, t time.Duration) {
	timer := time.NewTimer(t - r.now())
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
