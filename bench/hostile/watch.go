package hostile

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/vitals"
)

// How often memory and goroutines are looked at.
const (
	lookRSS        = 100 * time.Millisecond
	lookGoroutines = 2 * time.Second
)

// watch samples what the brokers take, until it is closed.
type watch struct {
	brokers []cluster.Broker // as they were at the start
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu     sync.Mutex
	health map[int]*Health // guarded by mu while the watch is open
}

func startWatch(ctx context.Context, c *cluster.Cluster) (*watch, error) {
	w := &watch{brokers: c.Brokers(), health: map[int]*Health{}}
	for _, b := range w.brokers {
		s, err := vitals.Take(ctx, b)
		if err != nil {
			return nil, err
		}
		w.health[b.ID] = &Health{
			Broker: b.ID, BeforeMiB: mib(s.RSS), MaxMiB: mib(s.RSS), GoroutinesBefore: s.Goroutines, GoroutinesMax: s.Goroutines,
		}
	}
	ctx, w.cancel = context.WithCancel(ctx)
	w.wg.Go(func() { every(ctx, lookRSS, w.lookRSS) })
	w.wg.Go(func() { every(ctx, lookGoroutines, func() { w.lookGoroutines(ctx) }) })
	return w, nil
}

func every(ctx context.Context, d time.Duration, look func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			look()
		}
	}
}

// lookRSS notes new maxima. A broker that ended is found later.
func (w *watch) lookRSS() {
	for _, b := range w.brokers {
		if rss, err := vitals.RSS(b); err == nil {
			w.mu.Lock()
			h := w.health[b.ID]
			h.MaxMiB = max(h.MaxMiB, mib(rss))
			w.mu.Unlock()
		}
	}
}

func (w *watch) lookGoroutines(ctx context.Context) {
	for _, b := range w.brokers {
		if s, err := vitals.Take(ctx, b); err == nil {
			w.mu.Lock()
			h := w.health[b.ID]
			h.GoroutinesMax = max(h.GoroutinesMax, s.Goroutines)
			w.mu.Unlock()
		}
	}
}

// of returns the health of a broker, once the watch is closed.
func (w *watch) of(broker int) *Health { return w.health[broker] }

// String returns the maxima of memory so far.
func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, b := range w.brokers {
		all = append(all, fmt.Sprintf("%.0f", w.health[b.ID].MaxMiB))
	}
	return strings.Join(all, "/")
}

func (w *watch) close() {
	w.cancel()
	w.wg.Wait()
}
