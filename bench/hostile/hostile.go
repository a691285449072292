package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/trial"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

// Options say what to do. Zero fields take the defaults of WithDefaults.
type Options struct {
	Binary  string // path of trunklined
	Frames  int64
	Seed    uint64 // of everything that is thrown
	Shot    uint64 // only this shot is fired, once; 0: all, from 1 on
	Lanes   int    // shots at a time
	Brokers int
	Rate    int   // checked records a second
	MaxRSS  int64 // MiB that no broker may exceed
	Keep    bool  // keep the cluster's directory

	Progress io.Writer // lines for people
}

// WithDefaults fills in what is zero.
func (o Options) WithDefaults() Options {
	setDefault(&o.Frames, 10_000_000)
	setDefault(&o.Seed, 1)
	setDefault(&o.Lanes, 32)
	setDefault(&o.Brokers, 3)
	setDefault(&o.Rate, 200)
	setDefault(&o.MaxRSS, 1024)
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

// Health is one broker before, during and after the attack.
type Health struct {
	Broker           int     `json:"broker"`
	BeforeMiB        float64 `json:"rss_before_mib"`
	MaxMiB           float64 `json:"rss_max_mib"`
	AfterMiB         float64 `json:"rss_after_mib"`
	GoroutinesBefore int     `json:"goroutines_before"`
	GoroutinesMax    int     `json:"goroutines_max"` // as sampled
	GoroutinesAfter  int     `json:"goroutines_after"`
	LogBytes         int64   `json:"log_bytes"`
}

// Result is the verdict.
type Result struct {
	Seed        uint64           `json:"seed"`
	Frames      int64            `json:"frames"`
	Shots       uint64           `json:"shots"`
	Streams     int64            `json:"streams"`
	Cut         int64            `json:"streams_cut"` // the broker stopped reading before all was sent; their frames do not count
	Connections int64            `json:"connections"`
	FailedDials int64            `json:"failed_dials"`
	Handshakes  int64            `json:"wrong_handshakes"`
	Datagrams   int64            `json:"datagrams"`
	TCP         int64            `json:"tcp_connections"`
	Answers     map[string]int64 `json:"answers"` // by code, or kind if it was no error
	Seconds     float64          `json:"seconds"`
	FramesPerS  float64          `json:"frames_per_second"`
	Health      []Health         `json:"health"`
	Poisoned    string           `json:"reading_the_target"` // what became of a reader of the topic that got the bad records
	Checked     trial.Verdict    `json:"checked"`
	Violations  []string         `json:"violations"`
}

// OK reports whether the cluster took it well.
func (r *Result) OK() bool { return len(r.Violations) == 0 }

const (
	partitions = 4       // of checked and target
	keepBytes  = 8 << 20 // retention of target: what gets in there does not fill the disk
)

type run struct {
	opts    Options
	cluster *cluster.Cluster
	client  *client.Client
	aims    *aims
	tally   *tally
	watch   *watch
	start   time.Time
	res     *Result
}

// Run attacks a cluster of its own. An error means that it could not be carried out; whether the cluster took it is in the Result.
func Run(ctx context.Context, opts Options) (res *Result, err error) {
	r := &run{opts: opts.WithDefaults(), start: time.Now(), tally: newTally()}
	r.res = &Result{Seed: r.opts.Seed, Violations: []string{}}
	r.say("seed %d", r.opts.Seed)
	dir, err := os.MkdirTemp("", "trunkline-hostile-")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	defer func() {
		err = errors.Join(err, trial.CleanUp(r.client, r.cluster, dir, r.opts.Keep || err != nil || !r.res.OK(), r.say))
	}()
	if err := r.bringUp(ctx, filepath.Join(dir, "cluster")); err != nil {
		return nil, err
	}
	return r.res, r.attack(ctx)
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.opts.Progress, "%6.1fs  %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) violation(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.res.Violations = append(r.res.Violations, text)
	r.say("VIOLATION: %s", text)
}

func (r *run) bringUp(ctx context.Context, dir string) error {
	up, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var err error
	if r.cluster, err = cluster.Up(up, cluster.Spec{Dir: dir, Brokers: r.opts.Brokers, Binary: r.opts.Binary, Tied: true}); err != nil {
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
	if r.client, err = client.Connect(up, cf.Brokers, append(opts, client.WithName("trunkline-hostile"))...); err != nil {
		return err
	}
	return r.aim(up)
}

// aim creates the two topics and learns what the attacker must know.
func (r *run) aim(ctx context.Context) error {
	r.aims = &aims{brokers: r.cluster.Brokers(), partitions: partitions}
	var err error
	if r.aims.bombs, err = makeBombs(); err != nil {
		return fmt.Errorf("bombs: %w", err)
	}
	replicas := min(3, r.opts.Brokers)
	for name, spec := range map[string]client.TopicSpec{
		checkedName: {Partitions: partitions, Replicas: replicas},
		targetName: {Partitions: partitions, Replicas: replicas,
			TopicConfig: client.TopicConfig{RetentionBytes: keepBytes, SegmentBytes: keepBytes / 2}},
	} {
		if _, err := r.client.Admin().CreateTopic(ctx, name, spec); err != nil {
			return err
		}
	}
	if r.aims.checked, r.aims.ledChecked, err = leaders(ctx, r.client, checkedName); err != nil {
		return err
	}
	r.aims.target, r.aims.led, err = leaders(ctx, r.client, targetName)
	return err
}

// leaders waits until every partition of a topic has a leader and returns who leads what.
func leaders(ctx context.Context, c *client.Client, topic string) (protocol.TopicID, map[int][]protocol.Partition, error) {
	for {
		d, err := c.Admin().DescribeTopic(ctx, topic)
		if err != nil {
			return 0, nil, err
		}
		led := map[int][]protocol.Partition{}
		for _, p := range d.Partitions {
			led[int(p.Leader)] = append(led[int(p.Leader)], p.Partition)
		}
		if len(led[0]) == 0 {
			return d.ID, led, nil
		}
		select {
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("partitions %v of %s have no leader: %w", led[0], topic, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// record makes checked record n.
func (r *run) record(n int) client.Record {
	return client.Record{Key: []byte("k"), Value: []byte("checked " + strconv.Itoa(n)), Partition: client.OnPartition(n % partitions)}
}
