package observe

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/pause"
)

const (
	// Interval is the time between two polls of a broker, and between two samples at first.
	Interval = 250 * time.Millisecond
	// patience is how long an answer may take: a loaded broker needs tens of milliseconds.
	patience = time.Second
	// fresh is how old an answer may be and still say something of the present.
	fresh = 2 * Interval
)

// Config says what to watch.
type Config struct {
	// Brokers returns the admin address of each broker by its ID, which begin at 1. It is asked at each Interval, for brokers join and
	// leave; one that left does not come back. It must not block.
	Brokers   func() map[int]string
	Acked     func() int64 // messages acknowledged so far; it must not block
	Delivered func() int64 // messages delivered so far, over all subscriptions; it must not block
}

// Observer polls brokers until Close.
type Observer struct {
	cfg    Config
	begun  time.Time
	client *http.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	brokers []watched // by ID-1, also those that left; guarded by mu like all below
	totals  map[string]int64
	line    timeline
}

// watched is what is known of one broker.
type watched struct {
	stop  context.CancelFunc // ends its polls; nil: it is no broker of the cluster
	last  reading            // newest answer; zero: none yet, or it left
	at    time.Time
	print Footprint
}

// Start begins to watch. Close ends it.
func Start(ctx context.Context, cfg Config) *Observer {
	ctx, cancel := context.WithCancel(ctx)
	o := &Observer{
		cfg: cfg, begun: time.Now(), cancel: cancel, totals: map[string]int64{},
		// No proxy, one connection a broker, which is kept.
		client: &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1}, Timeout: patience},
		line:   timeline{every: Interval, stride: 1},
	}
	o.follow(ctx)
	o.wg.Go(func() {
		repeat(ctx, func() {
			o.follow(ctx)
			o.sample()
		})
	})
	return o
}

// follow begins to poll the brokers that came, and no longer polls those that left.
func (o *Observer) follow(ctx context.Context) {
	now := o.cfg.Brokers()
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, admin := range now {
		for len(o.brokers) < id {
			o.brokers = append(o.brokers, watched{print: Footprint{Broker: len(o.brokers) + 1}})
		}
		if b := &o.brokers[id-1]; b.stop == nil {
			polling, stop := context.WithCancel(ctx)
			b.stop = stop
			o.wg.Go(func() { repeat(polling, func() { o.poll(polling, id, admin) }) })
		}
	}
	for i := range o.brokers {
		if b := &o.brokers[i]; b.stop != nil && now[i+1] == "" {
			b.stop()
			b.stop, b.last, b.at = nil, reading{}, time.Time{}
		}
	}
}

// repeat calls f at once and at each Interval until ctx ends. A call that takes longer skips those that it missed.
func repeat(ctx context.Context, f func()) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		f()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (o *Observer) poll(ctx context.Context, id int, admin string) {
	now, err := read(ctx, o.client, admin)
	if err != nil {
		return // down, paused or starting: the samples show it
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b := &o.brokers[id-1]
	if b.stop == nil {
		return // it left while it was asked
	}
	if b.at.IsZero() || now.started != b.last.started {
		b.last.counts = nil
		o.totals["broker_starts"]++
	}
	for name, n := range now.counts {
		o.totals[name] += max(0, n-b.last.counts[name])
	}
	b.last, b.at = now, time.Now()
	b.print.hold(now.vitals)
}

func (o *Observer) sample() {
	s := Sample{acked: o.cfg.Acked(), delivered: o.cfg.Delivered(), Brokers: make([]State, len(o.brokers))}
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	s.At = now.Sub(o.begun).Seconds()
	for i := range o.brokers {
		if b := &o.brokers[i]; now.Sub(b.at) <= fresh {
			s.Brokers[i] = State{Answers: true, RSS: b.last.vitals.RSS, Leads: b.last.leads}
		}
	}
	o.line.add(s)
}

// Totals returns what all brokers have counted so far, by the names of Counters; what a process had counted before it was first seen
// is in it too. The difference of two calls is what happened between them. "broker_starts" are processes seen.
func (o *Observer) Totals() map[string]int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make(map[string]int64, len(o.totals))
	for name, n := range o.totals {
		out[name] = n
	}
	return out
}

// Since returns what later has more than earlier. Names that are only in later count in full.
func Since(later, earlier map[string]int64) map[string]int64 {
	out := make(map[string]int64, len(later))
	for name, n := range later {
		out[name] = n - earlier[name]
	}
	return out
}

// Vitals returns the vital signs that each broker said last, by ID-1; zero for one that never did, or that left.
func (o *Observer) Vitals() []Vitals {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]Vitals, len(o.brokers))
	for i := range o.brokers {
		out[i] = o.brokers[i].last.vitals
	}
	return out
}

// Report returns all that was seen, and the gaps that the caller has measured beside it. Times count from origin on; what was before it
// is negative.
func (o *Observer) Report(origin time.Time, gaps []pause.Gap) Report {
	totals := o.Totals()
	o.mu.Lock()
	defer o.mu.Unlock()
	r := Report{Totals: totals, Timeline: o.line.since(origin.Sub(o.begun).Seconds())}
	for i := range o.brokers {
		r.Footprint = append(r.Footprint, o.brokers[i].print)
	}
	for _, g := range gaps {
		r.Pauses = append(r.Pauses, Pause{At: g.From.Sub(origin).Seconds(), Took: g.To.Sub(g.From).Seconds() * 1000, Partition: int(g.Partition)})
	}
	return r
}

// Close ends the watch. Totals, Vitals and Report answer afterwards too. Idempotent.
func (o *Observer) Close() {
	o.cancel()
	o.wg.Wait()
	o.client.CloseIdleConnections()
}
