package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/driver"
)

const (
	systemNodes = 3
	openLimit   = 2 * time.Minute  // until a system serves and its topic is there
	startLimit  = 2 * time.Minute  // until nodes that were hit are healthy, by what their driver calls so
	closeLimit  = 30 * time.Second // for clients and nodes to end
)

// SystemOptions say what is done to which message system. Zero fields take the defaults of withDefaults.
type SystemOptions struct {
	Driver     driver.Driver
	Profile    string        // one of the driver's; "": its first
	Row        string        // one of SystemRows
	Count      int           // faults
	WarmUp     time.Duration // under load before the first fault: a system that syncs now and then has done so once
	Every      time.Duration // from the beginning of one fault to that of the next, unless that is not over yet; 0: the schedule's
	Seed       uint64        // the schedule follows from it, and is the same for all systems
	Rate       int           // messages a second, of all producers
	Partitions int           // or streams, or queues
	Producers  int

	Dir      string // where the run's directory is made; "": the system's temporary directory
	Images   string // where the disks' images are made; "": Dir
	ImageMB  int    // size of an image, MiB
	Progress io.Writer

	patience time.Duration // without any delivery while something is missing; 0: drainPatient
}

// SystemRows are the names of the rows that can be run on any system: SIGKILL and power cuts, whose victims are known by what every
// driver tells.
func SystemRows() []string {
	var names []string
	for _, r := range Rows {
		if (r.Fault == "kill" || r.Fault == "powercut") && r.Target != Follower && !r.Rush {
			names = append(names, r.Name)
		}
	}
	return names
}

func (o SystemOptions) withDefaults() SystemOptions {
	setDefault(&o.Profile, o.Driver.Profiles()[0].Name)
	setDefault(&o.Row, "leader")
	setDefault(&o.Count, 10)
	setDefault(&o.Seed, 1)
	setDefault(&o.WarmUp, warmUp)
	setDefault(&o.Rate, 1000)
	setDefault(&o.Partitions, 8)
	setDefault(&o.Producers, 4)
	setDefault(&o.Dir, os.TempDir())
	setDefault(&o.Images, o.Dir)
	setDefault(&o.ImageMB, 2048)
	setDefault(&o.patience, drainPatient)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

func (o *SystemOptions) validate() error {
	if !slices.Contains(SystemRows(), o.Row) {
		return fmt.Errorf("row %q is not for every system: choose of %s", o.Row, strings.Join(SystemRows(), ", "))
	}
	return errors.Join(
		within("count", o.Count, 1, maxCount),
		within("rate", o.Rate, 1, 1_000_000),
		within("partitions", o.Partitions, 1, maxPartitions),
		within("producers", o.Producers, 1, maxProducers),
		within("image-mb", o.ImageMB, minImageMB, 1<<20),
	)
}

// replay returns the command that runs the same schedule again.
func (o *SystemOptions) replay() string {
	return fmt.Sprintf("trunkbench chaos --system %s:%s --row %s --count %d --warm-up %v --every %v --seed %d --rate %d --partitions %d --producers %d --images %s --image-mb %d",
		o.Driver.Name(), o.Profile, o.Row, o.Count, o.WarmUp, o.Every, o.Seed, o.Rate, o.Partitions, o.Producers, o.Images, o.ImageMB)
}

// systemRun is one run on one system. It belongs to one goroutine.
type systemRun struct {
	opts   SystemOptions
	events []Event
	rack   *rack
	dir    string
	lock   *os.File
	system driver.System
	load   *systemLoad
	start  time.Time
	res    *SystemResult
}

// systemPlan is Plan for one row, but no brokers are hit again while they start: a driver's Start waits until its node is healthy.
func systemPlan(o *SystemOptions) []Event {
	events := Plan([]string{o.Row}, o.Count, systemNodes, o.Partitions, false, o.Seed)
	for i := range events {
		events[i].Again = false
	}
	return events
}

// RunSystem runs a row's schedule on a system, with the driver's settings and nothing else, and tells what it cost and what was lost. An error
// means that the run could not be carried out: an *UnavailableError where this machine cannot make the fault, driver.ErrNotInstalled
// where the system is not here. That a system did not come back, or broke what its driver says it promises, is in SystemResult.Broken. The end
// of ctx ends the run without a result.
func RunSystem(ctx context.Context, opts SystemOptions) (res *SystemResult, err error) {
	opts = opts.withDefaults()
	if err := errors.Join(opts.validate(), opts.Driver.Installed()); err != nil {
		return nil, err
	}
	r := &systemRun{opts: opts, events: systemPlan(&opts), start: time.Now()}
	r.rack = &rack{images: opts.Images, size: int64(opts.ImageMB) << 20}
	if r.cuts() {
		if err := r.rack.available(opts.Row); err != nil {
			return nil, err
		}
	}
	r.res = &SystemResult{Row: opts.Row, Seed: opts.Seed, Rate: opts.Rate, Partitions: opts.Partitions, Replay: opts.replay()}
	r.say("%s", r.res.Replay)
	if _, err := reclaim(); err != nil {
		return nil, err
	}
	if r.dir, r.lock, err = claim(opts.Dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.cleanUp(context.WithoutCancel(ctx))) }()
	if err := r.bringUp(ctx); err != nil {
		return nil, err
	}
	if err := r.injectAll(ctx); err != nil {
		return nil, err
	}
	r.readBack(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err() // what was not read yet is not lost
	}
	r.res.conclude(r.load, r.cuts())
	r.res.Seconds = time.Since(r.start).Seconds()
	return r.res, nil
}

func (r *systemRun) say(format string, args ...any) {
	fmt.Fprintf(r.opts.Progress, "%6.1fs  %s:%s  %s\n", time.Since(r.start).Seconds(), r.opts.Driver.Name(), r.opts.Profile, fmt.Sprintf(format, args...))
}

// cuts reports whether the row takes the power away.
func (r *systemRun) cuts() bool { return rowOf(r.opts.Row).Fault == "powercut" }

// bringUp starts the nodes, for power cuts each with its data on a disk of its own, and the load, and warms up.
func (r *systemRun) bringUp(ctx context.Context) error {
	up, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	where := driver.Options{Profile: r.opts.Profile, Nodes: systemNodes, Dir: filepath.Join(r.dir, "system")}
	if err := os.Mkdir(where.Dir, 0o700); err != nil {
		return fmt.Errorf("directory: %w", err)
	}
	if r.cuts() {
		disks := filepath.Join(r.dir, "disks")
		if err := r.rack.setup(up, disks, systemNodes); err != nil {
			return err
		}
		for _, id := range everyone(systemNodes) {
			where.Data = append(where.Data, brokerData(disks, id))
		}
	}
	var err error
	if r.system, err = r.opts.Driver.Open(up, where); err != nil {
		return err
	}
	r.res.About = r.system.About()
	t := driver.Topic{Name: topic, Partitions: r.opts.Partitions, Replicas: systemNodes, Subscriptions: []string{systemReader}, Members: 1}
	if err := r.system.CreateTopic(up, t); err != nil {
		return err
	}
	if r.load, err = startSystemLoad(up, r.system, &r.opts); err != nil {
		return err
	}
	return errors.Join(sleep(ctx, r.opts.WarmUp), inhabited(where.Data))
}

// inhabited returns an error if one of the directories is empty: a power cut of a disk that nobody uses shows nothing.
func inhabited(dirs []string) error {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err == nil && len(entries) == 0 {
			err = fmt.Errorf("%s is empty: the node keeps its data elsewhere, and would not notice its disk's end", dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// injectAll makes the faults one after the other, each when the nodes of the one before are back and every partition acknowledges. It
// ends early where that does not happen.
func (r *systemRun) injectAll(ctx context.Context) error {
	begin, last := time.Now(), time.Time{}
	for i, e := range r.events {
		if err := sleep(ctx, max(e.Wait, time.Until(last.Add(r.opts.Every)))); err != nil {
			return err
		}
		err := r.aim(ctx, &e)
		last = time.Now()
		f := Injected{Event: e, at: last, At: last.Sub(begin).Seconds()}
		if err == nil {
			err = r.inject(ctx, &f)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r.res.broken("fault %d, %v: %v", i+1, e, err)
			return nil
		}
		r.res.Faults = append(r.res.Faults, f)
		r.say("fault %d of %d: %v: publish pause %.0f ms, restart %.0f ms", i+1, len(r.events), e, f.Pause, f.Restart)
	}
	return nil
}

// aim finds out whom an event hits that names a leader, by what the system itself says.
func (r *systemRun) aim(ctx context.Context, e *Event) error {
	if e.Target != Leader {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, aimLimit)
	defer cancel()
	return await(ctx, func() error {
		leaders, err := r.system.Leaders(ctx, topic)
		if err == nil && leaders[e.Partition] == 0 {
			err = fmt.Errorf("nobody knows who leads partition %d", e.Partition)
		}
		if err == nil {
			e.Victims = []int{leaders[e.Partition]}
		}
		return err
	})
}

// inject takes the victims out, proves it, starts them again, and waits until every partition acknowledges.
func (r *systemRun) inject(ctx context.Context, f *Injected) error {
	limited, cancel := context.WithTimeout(ctx, injectLimit)
	defer cancel()
	if err := r.strike(limited, &f.Event); err != nil {
		return err
	}
	back := time.Now()
	f.Lasted = millis(back.Sub(f.at))
	starting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := each(f.Victims, func(id int) error { return r.system.Start(starting, id) }); err != nil {
		return fmt.Errorf("did not come back: %w", err)
	}
	healthy := time.Now()
	f.Restart = millis(healthy.Sub(back))
	acked := r.load.counts()
	recovering, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	if err := await(recovering, func() error { return idle(r.load.counts(), acked) }); err != nil {
		return fmt.Errorf("healthy, but not recovered within %v: %w", recoverLimit, err)
	}
	now := time.Now()
	f.CatchUp = millis(now.Sub(healthy))
	f.Pause = millis(r.load.pauses.Longest(everyPartition(r.opts.Partitions), f.at, now))
	return nil
}

// strike makes the fault for as long as it holds.
func (r *systemRun) strike(ctx context.Context, e *Event) error {
	hit, prove := killAll, func() error { return allGone(nodesOf{r.system}, e.Victims) }
	if r.cuts() {
		hit, prove = r.rack.cutPower, func() error { return r.rack.proveCut(ctx, e.Victims) }
	}
	if err := hit(ctx, nodesOf{r.system}, e.Victims); err != nil {
		return err
	}
	if err := sleep(ctx, e.Hold); err != nil {
		return err
	}
	return prove()
}

// nodesOf are the processes of a driver's system.
type nodesOf struct{ driver.System }

// Pause stops a node where it is.
func (n nodesOf) Pause(id int) error { return n.System.Pause(context.Background(), id) }

// Broker returns the ID and process of a node.
func (n nodesOf) Broker(id int) (cluster.Broker, error) {
	for _, node := range n.Nodes() {
		if node.ID == id {
			return cluster.Broker{ID: id, PID: node.PID}, nil
		}
	}
	return cluster.Broker{}, fmt.Errorf("there is no node %d", id)
}

// readBack ends publishing and reads everything.
func (r *systemRun) readBack(ctx context.Context) {
	settling, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := r.load.close(settling); err != nil {
		r.say("%v", err) // the messages concerned count as unanswered
	}
	if err := r.load.readBack(ctx, r.opts.patience); err != nil {
		r.res.broken("%v", err)
	}
}

// cleanUp ends clients and nodes, unmounts everything and removes it.
func (r *systemRun) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	var errs []error
	if r.load != nil {
		_ = r.load.close(ctx) // after readBack there is nothing left to say; after a failure that is what counts
	}
	if r.system != nil {
		errs = append(errs, r.system.Close(ctx))
	}
	errs = append(errs, r.rack.cleanUp(false))
	if errors.Join(errs...) == nil { // nothing of ours is mounted below
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(append(errs, r.lock.Close())...)
}
