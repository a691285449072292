package demo

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/trial"
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
	trial.Verdict
	Seconds float64 `json:"seconds"`
	Hang    bool    `json:"hang"`
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
	defer func() {
		err = errors.Join(err, trial.CleanUp(r.client, r.cluster, dir, r.opts.Keep || err != nil || !res.OK(), r.say))
	}()
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
	if r.cluster, err = cluster.Up(up, cluster.Spec{Dir: dir, Brokers: r.opts.Brokers, Binary: r.opts.Binary, Tied: true}); err != nil {
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

// demonstrate publishes, consumes and kills at once, then reads back and judges.
func (r *run) demonstrate(ctx context.Context) (*Result, error) {
	t, err := trial.Start(ctx, r.cluster, r.client, trial.Options{
		Topic: topic, Partitions: r.opts.Partitions, Rate: r.opts.Rate, Record: r.record,
		Hang: r.opts.Hang, Hold: r.opts.Hold, Say: r.say,
	})
	if err != nil {
		return nil, err
	}
	progress, stopProgress := context.WithCancel(ctx)
	ticking := make(chan struct{})
	go func() { defer close(ticking); t.Progress(progress) }()
	kills, err := r.injectFaults(ctx, t)
	stopProgress()
	<-ticking
	if err != nil {
		return nil, errors.Join(err, t.Abandon(ctx))
	}
	v, err := t.Judge(ctx, kills)
	if err != nil {
		return nil, err
	}
	return &Result{Verdict: *v, Seconds: time.Since(r.start).Seconds(), Hang: r.opts.Hang}, nil
}

// record makes record n of the input, which is sent again and again.
func (r *run) record(n int) client.Record {
	l := r.input.lines[n%len(r.input.lines)]
	return client.Record{Key: l.key, Value: l.value, Partition: client.OnPartition(keyPartition(l.key, r.opts.Partitions))}
}

// keyPartition spreads keys over partitions.
func keyPartition(key []byte, partitions int) int {
	h := fnv.New32a()
	_, _ = h.Write(key) // a hash never fails
	return int(h.Sum32() % uint32(partitions))
}

// injectFaults kills (or stops) the busiest leader opts.Kills times, one at a time, and goes on until the whole input was published
// once.
func (r *run) injectFaults(ctx context.Context, t *trial.Trial) ([]trial.Kill, error) {
	what := "kill"
	if r.opts.Hang {
		what = "hang"
	}
	var kills []trial.Kill
	for len(kills) < r.opts.Kills {
		k, err := t.Strike(ctx)
		if err != nil {
			return kills, fmt.Errorf("%s %d: %w", what, len(kills)+1, err)
		}
		kills = append(kills, k)
		r.say("%s %d of %d: broker %d led %d partitions; publish pause %v", what, len(kills), r.opts.Kills, k.Broker, len(k.Partitions),
			k.Pause.Round(100*time.Microsecond))
	}
	for {
		select {
		case <-ctx.Done():
			return kills, ctx.Err()
		case <-time.After(trial.Settle):
		}
		if t.Sent() >= len(r.input.lines) {
			return kills, nil
		}
	}
}
