package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/trial"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	growLimit    = 10 * time.Minute // until a broker that joined has its share
	balanceLimit = 2 * time.Minute  // until every leader is the preferred one again
	fillRecord   = 16 << 10         // bytes
	sentMetric   = "trunkline_raftnet_sent_bytes_total"
)

// GrowOptions say what Grow does. Zero fields take the defaults of WithDefaults.
type GrowOptions struct {
	Binary     string // path of trunklined
	Brokers    int    // before one joins
	Partitions int
	FillMB     int               // MiB of records in all partitions together, a replica each
	RateMB     int               // raft.snapshot_rate, MiB a second: the bandwidth limit of each broker
	Keep       bool              // keep the cluster's directory
	Config     map[string]string // more keys of every broker's configuration
	Progress   io.Writer         // lines for people
}

// WithDefaults fills in what is zero.
func (o GrowOptions) WithDefaults() GrowOptions {
	setDefault(&o.Brokers, 3)
	setDefault(&o.Partitions, 1000)
	setDefault(&o.FillMB, 256)
	setDefault(&o.RateMB, 2)
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

// Growth is what was measured.
type Growth struct {
	Partitions     int                `json:"partitions"`
	Brokers        int                `json:"brokers"`
	LeadersBack    int                `json:"leaders_back"`    // leaderships that a restart took from their preferred broker
	BalanceSeconds float64            `json:"balance_seconds"` // from when the broker was ready until each leader was the preferred one
	Moved          int                `json:"moved"`           // replicas on the broker that joined, when all have their share
	GrowSeconds    float64            `json:"grow_seconds"`    // from when it was ready
	Limit          float64            `json:"limit"`           // bytes a second and broker
	Sent           map[string]float64 `json:"sent"`            // bytes to the new broker in all, by lane
	Most           float64            `json:"most"`            // bytes that one broker sent it on all lanes, a second over any two
	Seconds        float64            `json:"seconds"`
}

// Grow starts brokers with many partitions that hold records, restarts one of them and measures until the leaderships are back, and lets
// one join and measures what is sent to it. An error means that it could not be carried out, or that a broker does not get its share.
func Grow(ctx context.Context, opts GrowOptions) (g *Growth, err error) {
	opts = opts.WithDefaults()
	config := map[string]string{
		"moves.calm_after": "1s", "moves.concurrent": "64", "moves.per_broker": "32",
		"raft.snapshot_rate": strconv.Itoa(opts.RateMB) + "MiB",
	}
	maps.Copy(config, opts.Config)
	r := &run{start: time.Now(), opts: Options{
		Binary: opts.Binary, Brokers: opts.Brokers, Partitions: opts.Partitions, Replicas: min(opts.Brokers, 3), Config: config, Keep: opts.Keep,
		Progress: opts.Progress,
	}}
	dir, err := os.MkdirTemp("", "trunkline-scale-")
	if err != nil {
		return nil, fmt.Errorf("directory: %w", err)
	}
	defer func() {
		err = errors.Join(err, trial.CleanUp(r.client, r.cluster, dir, r.opts.Keep, r.say))
	}()
	if err := r.bringUp(ctx, filepath.Join(dir, "cluster")); err != nil {
		return nil, err
	}
	g = &Growth{Partitions: opts.Partitions, Brokers: opts.Brokers, Limit: float64(opts.RateMB << 20)}
	making, cancel := context.WithTimeout(ctx, createLimit)
	defer cancel()
	if _, err := r.createTopic(making); err != nil {
		return nil, err
	}
	r.say("%d partitions have leaders", opts.Partitions)
	if err := r.fill(ctx, opts.FillMB<<20); err != nil {
		return nil, err
	}
	r.say("%d MiB are stored, a replica each", opts.FillMB)
	if err := errors.Join(r.rebalance(ctx, g), r.grow(ctx, g)); err != nil {
		return nil, err
	}
	g.Seconds = time.Since(r.start).Seconds()
	return g, nil
}

// fill publishes so many bytes, in turns over all partitions.
func (r *run) fill(ctx context.Context, bytes int) error {
	p, err := r.client.Producer(ctx, topic)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var failed error
	value := make([]byte, fillRecord)
	for n := range bytes / fillRecord {
		err := p.Send(ctx, client.Record{Value: value, Partition: client.OnPartition(n % r.opts.Partitions)}, func(_ client.Receipt, err error) {
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
		})
		if err != nil {
			return errors.Join(err, p.Close(ctx))
		}
	}
	err = p.Close(ctx) // waits for all answers
	mu.Lock()
	defer mu.Unlock()
	return errors.Join(failed, err)
}

// astray counts the partitions that another broker leads than the preferred one.
func (r *run) astray(ctx context.Context) (n int, err error) {
	d, err := r.client.Admin().DescribeTopic(ctx, topic)
	if err != nil {
		return 0, err
	}
	for _, p := range d.Partitions {
		if p.Leader != p.Replicas[0] {
			n++
		}
	}
	return n, nil
}

// rebalance restarts the first broker and waits until it leads again what it led.
func (r *run) rebalance(ctx context.Context, g *Growth) error {
	ctx, cancel := context.WithTimeout(ctx, 2*balanceLimit)
	defer cancel()
	settled := func() error { return r.until(ctx, r.leadersHome) }
	if err := settled(); err != nil {
		return err
	}
	if err := r.cluster.Stop(ctx, 1); err != nil {
		return err
	}
	var err error
	if g.LeadersBack, err = r.astray(ctx); err != nil {
		return err
	}
	if err := r.cluster.Start(ctx, 1); err != nil {
		return err
	}
	ready := time.Now()
	if err := settled(); err != nil {
		return err
	}
	g.BalanceSeconds = time.Since(ready).Seconds()
	r.say("broker 1 was restarted, and leads its %d partitions again %.1f s after it was ready", g.LeadersBack, g.BalanceSeconds)
	return nil
}

func (r *run) leadersHome(ctx context.Context) error {
	n, err := r.astray(ctx)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d of %d partitions are not led by the preferred broker", n, r.opts.Partitions)
	}
	return err
}

// until waits until something holds, and says what it was waiting for if ctx ends.
func (r *run) until(ctx context.Context, what func(context.Context) error) error {
	for {
		err := what(ctx)
		if err == nil {
			return nil
		}
		if serr := sleep(ctx, 100*time.Millisecond); serr != nil {
			return fmt.Errorf("%w: %w", serr, err)
		}
	}
}

// grow lets a broker join and waits until it has its share.
func (r *run) grow(ctx context.Context, g *Growth) error {
	ctx, cancel := context.WithTimeout(ctx, growLimit)
	defer cancel()
	id, err := r.cluster.Join(ctx)
	if err != nil {
		return err
	}
	ready := time.Now()
	watching, still := context.WithCancel(ctx)
	var watch sync.WaitGroup
	flow := newFlow(id)
	watch.Go(func() { r.watchFlow(watching, flow) })
	err = r.until(ctx, func(ctx context.Context) error { return r.sharedWith(ctx, id, g) })
	still()
	watch.Wait()
	g.GrowSeconds, g.Sent, g.Most = time.Since(ready).Seconds(), flow.sent, flow.most
	r.say("broker %d has its %d replicas after %.1f s; it was sent %v bytes, by one broker at most %.0f a second", id, g.Moved, g.GrowSeconds, g.Sent, g.Most)
	return err
}

// sharedWith returns an error until a broker has its share of the replicas and none moves.
func (r *run) sharedWith(ctx context.Context, id int, g *Growth) error {
	moves, err := r.client.Admin().Moves(ctx)
	if err != nil {
		return err
	}
	d, err := r.client.Admin().DescribeTopic(ctx, topic)
	if err != nil {
		return err
	}
	g.Moved = 0
	for _, p := range d.Partitions {
		for _, b := range p.Replicas {
			if b == protocol.BrokerID(id) {
				g.Moved++
			}
		}
	}
	if share := r.opts.Partitions * r.opts.Replicas / len(r.cluster.Brokers()); len(moves) > 0 || g.Moved < share {
		return fmt.Errorf("broker %d has %d replicas of %d, %d moves are under way", id, g.Moved, share, len(moves))
	}
	return nil
}

// flow is what brokers send to one of them. Used by one goroutine.
type flow struct {
	to   string
	last map[string]look    // by sender
	sent map[string]float64 // bytes by lane
	most float64            // bytes a second from one broker
}

type look struct {
	at    time.Time
	lanes map[string]float64
}

// flowEvery is the time over which a speed is measured.
const flowEvery = 2 * time.Second

func newFlow(to int) *flow {
	return &flow{to: `peer="` + strconv.Itoa(to) + `"`, last: map[string]look{}, sent: map[string]float64{}}
}

func (r *run) watchFlow(ctx context.Context, f *flow) {
	for {
		for _, b := range r.cluster.Brokers() {
			lanes, err := observe.Series(ctx, b.Admin, sentMetric, f.to, "lane")
			if err == nil {
				f.add(b.Admin, look{time.Now(), lanes})
			}
		}
		if sleep(ctx, flowEvery) != nil {
			return
		}
	}
}

// add takes what a sender has sent until now.
func (f *flow) add(sender string, now look) {
	last, seen := f.last[sender]
	f.last[sender] = now
	if !seen {
		last.lanes = map[string]float64{}
	}
	speed := 0.0
	for lane, n := range now.lanes {
		f.sent[lane] += n - last.lanes[lane]
		if !strings.Contains("urgent liveness", lane) {
			speed += n - last.lanes[lane]
		}
	}
	if seen {
		f.most = max(f.most, speed/now.at.Sub(last.at).Seconds())
	}
}
