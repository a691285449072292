package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/client"
)

// Options say what to do. Zero fields take the defaults of WithDefaults.
type Options struct {
	Binary   string // path of trunklined
	Input    string // line file; "" is the Go distribution's list of its API
	KeyField int    // field that keys a line, counted from 1
	FieldSep string // "" is white space

	Brokers    int
	Partitions int
	Replicas   int
	Kills      int
	Rate       int           // records a second, open loop
	Hang       bool          // stop leaders with SIGSTOP instead of killing them
	Hold       time.Duration // how long a victim stays dead or stopped
	Keep       bool          // keep the cluster's directory

	Progress io.Writer // lines for people
}

// Result is the verdict.
type Result struct {
	Published    int        `json:"published"`
	Acked        int        `json:"acked"`
	Delivered    int        `json:"delivered"`
	Lost         int        `json:"lost"`
	Duplicated   int        `json:"duplicated"`
	Reordered    int        `json:"reordered"`
	LeaderKills  int        `json:"leader_kills"`
	PublishPause PauseStats `json:"publish_pause_ms"`

	DeliveryPause PauseStats `json:"delivery_pause_ms"`
	ReturnPause   PauseStats `json:"return_pause_ms"` // longest publish pause of any partition while a victim came back
	LeaderChanges int        `json:"leader_changes"`
	Failed        int        `json:"failed"`   // publishes answered with an error
	Phantom       int        `json:"phantom"`  // records that were never sent or were refused
	Diverged      int        `json:"diverged"` // replicas that differ
	Seconds       float64    `json:"seconds"`
	Hang          bool       `json:"hang"`
}

// OK reports whether every promise held.
func (r *Result) OK() bool {
	return r.Lost+r.Duplicated+r.Reordered+r.Phantom+r.Diverged == 0 && r.Acked == r.Published && r.Acked > 0
}

const topic = "demo"

// WithDefaults fills in what is zero.
func (o Options) WithDefaults() Options {
	def := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	def(&o.KeyField, 2)
	def(&o.Brokers, 3)
	def(&o.Partitions, 8)
	def(&o.Replicas, 3)
	def(&o.Kills, 5)
	def(&o.Rate, 4000)
	if o.Hold == 0 {
		o.Hold = 1500 * time.Millisecond
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// run is one demonstration under way.
type run struct {
	opts    Options
	cluster *cluster.Cluster
	client  *client.Client
	input   *input
	pub     *publisher
	sub     *subscriber
	start   time.Time
}

// Run runs the demonstration. An error means that it could not be carried out; whether the promises held is in the Result.
func Run(ctx context.Context, opts Options) (res *Result, err error) {
	opts = opts.WithDefaults()
	r := &run{opts: opts, start: time.Now()}
	if r.input, err = loadInput(ctx, opts.Input, opts.KeyField, opts.FieldSep); err != nil {
		return nil, err
	}
	r.say("input: %s, %d lines", r.input.name, len(r.input.lines))
	dir, err := os.MkdirTemp("", "trunkline-demo-")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	defer func() { err = errors.Join(err, r.cleanUp(dir, err != nil)) }()
	if err := r.bringUp(ctx, filepath.Join(dir, "cluster")); err != nil {
		return nil, err
	}
	return r.demonstrate(ctx)
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.opts.Progress, "%6.1fs  %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) bringUp(ctx context.Context, dir string) error {
	up, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var err error
	if r.cluster, err = cluster.Up(up, cluster.Spec{Dir: dir, Brokers: r.opts.Brokers, Binary: r.opts.Binary}); err != nil {
		return err
	}
	for _, b := range r.cluster.Brokers() {
		r.say("broker %d: pid %d, clients %s", b.ID, b.PID, b.Listen)
	}
	cf, err := client.LoadContext(r.cluster.Context())
	if err != nil {
		return err
	}
	opts, err := cf.Options()
	if err != nil {
		return err
	}
	if r.client, err = client.Connect(up, cf.Brokers, append(opts, client.WithName("trunkline-demo"))...); err != nil {
		return err
	}
	_, err = r.client.Admin().CreateTopic(up, topic, client.TopicSpec{Partitions: r.opts.Partitions, Replicas: r.opts.Replicas})
	if err != nil {
		return err
	}
	r.say("topic %s: %d partitions, %d replicas", topic, r.opts.Partitions, r.opts.Replicas)
	return nil
}

func (r *run) cleanUp(dir string, failed bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var errs []error
	if r.client != nil {
		errs = append(errs, r.client.Close(ctx))
	}
	if r.cluster != nil && (failed || r.opts.Keep) {
		for _, b := range r.cluster.Brokers() {
			if b.PID != 0 {
				errs = append(errs, r.cluster.Kill(ctx, b.ID))
			}
		}
		r.say("the brokers' logs and data are in %s", dir)
		return errors.Join(errs...)
	}
	if r.cluster != nil {
		errs = append(errs, r.cluster.Down(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(dir))...)
}

// demonstrate publishes, consumes and kills at once, then reads back and judges.
func (r *run) demonstrate(ctx context.Context) (*Result, error) {
	var err error
	if r.sub, err = subscribe(ctx, r.client); err != nil {
		return nil, err
	}
	if r.pub, err = publish(ctx, r.client, r.input, r.opts, r.sub.pauses); err != nil {
		return nil, errors.Join(err, r.sub.stop(ctx))
	}
	progress, stopProgress := context.WithCancel(ctx)
	ticking := make(chan struct{})
	go func() { defer close(ticking); r.showProgress(progress) }()
	kills, err := r.injectFaults(ctx)
	stopProgress()
	<-ticking
	if err := errors.Join(err, r.pub.stop(ctx)); err != nil {
		return nil, errors.Join(err, r.sub.stop(ctx))
	}
	return r.judge(ctx, kills)
}

func (r *run) showProgress(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var sent, acked, got int
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s, a, g := r.pub.sent(), r.pub.acked(), r.sub.received()
		r.say("published %7d (%5d/s)   acked %7d (%5d/s)   delivered %7d (%5d/s)   waiting %d", s, s-sent, a, a-acked, g, g-got, s-a)
		sent, acked, got = s, a, g
	}
}
