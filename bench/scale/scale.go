package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/trial"
	"github.com/trunkline/trunkline/bench/vitals"
	"github.com/trunkline/trunkline/client"
)

// Options say what to do. Zero fields take the defaults of WithDefaults.
type Options struct {
	Binary     string // path of trunklined
	Brokers    int
	Partitions int
	Replicas   int
	Idle       time.Duration // how long idle brokers are measured
	Kills      int
	Rate       int               // records a second over all partitions during the kills
	Hold       time.Duration     // how long a victim stays dead
	MaxIdleCPU float64           // limit, percent of one core and broker
	MaxPause   time.Duration     // limit of the publish pause of a kill
	MaxMemory  float64           // limit, MiB a replica: what the topic adds to the brokers' resident memory
	MaxRestart time.Duration     // limit from the start of all brokers, after they were killed, until every partition serves
	Keep       bool              // keep the cluster's directory
	Config     map[string]string // more keys of every broker's configuration, like "raft.tick"

	Progress io.Writer // lines for people
}

// WithDefaults fills in what is zero.
func (o Options) WithDefaults() Options {
	setDefault(&o.Brokers, 3)
	setDefault(&o.Partitions, 200)
	setDefault(&o.Replicas, 3)
	setDefault(&o.Idle, 20*time.Second)
	setDefault(&o.Kills, 3)
	setDefault(&o.Rate, 200)
	setDefault(&o.Hold, 1500*time.Millisecond)
	setDefault(&o.MaxIdleCPU, 5)
	setDefault(&o.MaxPause, 500*time.Millisecond)
	setDefault(&o.MaxMemory, 1.5)
	setDefault(&o.MaxRestart, 20*time.Second)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Cost is what one idle broker takes.
type Cost struct {
	Broker     int     `json:"broker"`
	CPUPercent float64 `json:"cpu_percent"` // of one core
	RSSMiB     float64 `json:"rss_mib"`
	EmptyMiB   float64 `json:"rss_empty_mib"` // before the topic was created
	Goroutines int     `json:"goroutines"`
	FDs        int     `json:"fds"`
}

// Result is what was measured.
type Result struct {
	Partitions     int             `json:"partitions"`
	Replicas       int             `json:"replicas"`
	CreateSeconds  float64         `json:"create_seconds"`  // until the answer of CreateTopic
	LeadersSeconds float64         `json:"leaders_seconds"` // from its call until all partitions had a leader
	ServeSeconds   float64         `json:"serve_seconds"`   // one record through each partition, there and back
	IdleSeconds    float64         `json:"idle_seconds"`
	ReplicaMiB     float64         `json:"replica_mib"`     // resident memory that the topic added, a replica
	ReadySeconds   float64         `json:"ready_seconds"`   // from the start of all brokers until all said that they are ready
	RestartSeconds float64         `json:"restart_seconds"` // and until a record was acknowledged on each partition
	RenewSeconds   float64         `json:"renew_seconds"`   // the topic deleted and created again, until all had leaders
	Idle           []Cost          `json:"idle"`
	Kills          []float64       `json:"kill_pauses_ms"`
	Trial          trial.Verdict   `json:"trial"`
	AfterMiB       map[int]float64 `json:"rss_after_kills_mib"`
	Missed         []string        `json:"missed"` // limits that were not kept
	Seconds        float64         `json:"seconds"`
}

// OK reports whether every limit and promise was kept.
func (r *Result) OK() bool { return len(r.Missed) == 0 }

const topic = "scale"

// createLimit bounds creating the topic until all its partitions have leaders.
const createLimit = 2 * time.Minute

type run struct {
	opts    Options
	cluster *cluster.Cluster
	client  *client.Client
	start   time.Time
}

// Run measures. An error means that it could not be carried out; whether the limits were kept is in the Result.
func Run(ctx context.Context, opts Options) (res *Result, err error) {
	r := &run{opts: opts.WithDefaults(), start: time.Now()}
	dir, err := os.MkdirTemp("", "trunkline-scale-")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	defer func() {
		err = errors.Join(err, trial.CleanUp(r.client, r.cluster, dir, r.opts.Keep || err != nil, r.say))
	}()
	if err := r.bringUp(ctx, filepath.Join(dir, "cluster")); err != nil {
		return nil, err
	}
	res = &Result{Partitions: r.opts.Partitions, Replicas: r.opts.Replicas, AfterMiB: map[int]float64{}, Missed: []string{}}
	for _, step := range []func(context.Context, *Result) error{r.create, r.serve, r.idle, r.restart, r.renew, r.kill} {
		if err := step(ctx, res); err != nil {
			return nil, err
		}
	}
	res.Seconds = time.Since(r.start).Seconds()
	return res, nil
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.opts.Progress, "%6.1fs  %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) bringUp(ctx context.Context, dir string) error {
	up, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var err error
	r.cluster, err = cluster.Up(up, cluster.Spec{Dir: dir, Brokers: r.opts.Brokers, Binary: r.opts.Binary, Config: r.opts.Config, Tied: true})
	if err != nil {
		return err
	}
	cf, err := client.LoadContext(r.cluster.Context())
	if err != nil {
		return err
	}
	opts, err := cf.Options()
	if err != nil {
		return err
	}
	r.client, err = client.Connect(up, cf.Brokers, append(opts, client.WithName("trunkline-scale"))...)
	return err
}

// miss notes a limit that was not kept.
func (r *run) miss(res *Result, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	res.Missed = append(res.Missed, text)
	r.say("MISSED: %s", text)
}

func mib(bytes int64) float64 { return float64(bytes>>10) / 1024 }

// create makes the topic and waits until every partition has a leader.
func (r *run) create(ctx context.Context, res *Result) error {
	for _, b := range r.cluster.Brokers() {
		rss, err := vitals.RSS(b)
		if err != nil {
			return err
		}
		res.Idle = append(res.Idle, Cost{Broker: b.ID, EmptyMiB: mib(rss)})
	}
	ctx, cancel := context.WithTimeout(ctx, createLimit)
	defer cancel()
	began := time.Now()
	created, err := r.createTopic(ctx)
	if err != nil {
		return err
	}
	res.CreateSeconds, res.LeadersSeconds = created.Seconds(), time.Since(began).Seconds()
	r.say("topic with %d partitions, %d replicas: created in %.2fs, all have leaders after %.2fs",
		r.opts.Partitions, r.opts.Replicas, res.CreateSeconds, res.LeadersSeconds)
	return nil
}

// createTopic creates the topic and waits until all have leaders; created is how long the answer took.
func (r *run) createTopic(ctx context.Context) (created time.Duration, err error) {
	began := time.Now()
	_, err = r.client.Admin().CreateTopic(ctx, topic, client.TopicSpec{Partitions: r.opts.Partitions, Replicas: r.opts.Replicas})
	if err != nil {
		return 0, err
	}
	created = time.Since(began)
	for {
		without, err := r.leaderless(ctx)
		if err == nil && without == 0 {
			return created, nil
		}
		if serr := sleep(ctx, 20*time.Millisecond); serr != nil {
			return 0, fmt.Errorf("%d of %d partitions have no leader: %w", without, r.opts.Partitions, errors.Join(serr, err))
		}
	}
}

// leaderless counts partitions for which no broker says that it leads and serves.
func (r *run) leaderless(ctx context.Context) (int, error) {
	d, err := r.client.Admin().DescribeTopic(ctx, topic)
	if err != nil {
		return r.opts.Partitions, err
	}
	n := 0
	for _, p := range d.Partitions {
		leads := false
		for _, s := range p.States {
			leads = leads || (s.Err == nil && s.Leading)
		}
		if !leads {
			n++
		}
	}
	return n, nil
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
