package chaos

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/hostile"
	"github.com/trunkline/trunkline/bench/vitals"
)

const (
	siegePartitions = 6
	siegeHandshakes = 2000 // a second, if the machine makes so many
	siegeLanes      = 32
	siegeShots      = 2
	siegeSlowdown   = 2.0  // of the traffic's p99, at most
	crowdSize       = 1000 // connections to one broker that are not admitted
	crowdMemory     = 64 << 10
	crowdLook       = 500 * time.Millisecond // within the time that a broker waits for a hello
	crowdGone       = 5 * time.Second        // until it has waited long enough
)

// handshakes besieges the brokers with handshakes, half-open streams and malformed frames, by a process that yields the processors to
// everybody else: what is measured is what brokers let strangers do to their clients, not the want of a machine for the attacker. Before
// that a crowd connects to one broker and says nothing, to see what a stranger costs.
//
// Counts, each behind "handshakes_": done, half (open), refused, failed, frames, per_second (handshakes that were done), stranger_bytes
// (memory of a connection before its hello), and those of measured.
type handshakes struct {
	measured
	seed  uint64
	siege *worker.Client
	since time.Time

	mu     sync.Mutex
	thrown map[string]int64 // guarded by mu; as the besieger told last
}

func newHandshakes(seed uint64) *handshakes {
	return &handshakes{measured: newMeasured("handshakes", siegePartitions), seed: seed}
}

// Available finds also what makes the besieger yield.
func (h *handshakes) Available() error {
	if err := h.measured.Available(); err != nil {
		return err
	}
	nice, err := exec.LookPath("nice")
	if err != nil {
		return &UnavailableError{h.name, err.Error()}
	}
	h.command = append([]string{nice, "-n", "19"}, h.command...)
	return nil
}

// Inject measures the traffic alone, then the crowd's memory, and begins the siege.
func (h *handshakes) Inject(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	if _, err := h.open(ctx, cl, siegePartitions, h.told); err != nil {
		return err
	}
	if err := h.learnCalm(ctx); err != nil {
		return err
	}
	if err := h.strangers(ctx); err != nil {
		return err
	}
	t := h.task()
	t.Siege = &hostile.Siege{Brokers: h.brokers, Seed: h.seed + uint64(h.injected), Handshakes: siegeHandshakes, Lanes: siegeLanes, Shots: siegeShots}
	for _, name := range []string{topic, h.topic} {
		d, err := h.admin.Admin().DescribeTopic(ctx, name)
		if err != nil {
			return err
		}
		t.Siege.Spared = append(t.Siege.Spared, d.ID)
	}
	h.since = time.Now()
	var err error
	h.siege, err = h.crew.Start(t)
	return err
}

// strangers measures what a broker takes for connections whose client has not said who it is.
func (h *handshakes) strangers(ctx context.Context) error {
	b := h.brokers[0]
	before, err := vitals.RSS(b)
	if err != nil {
		return err
	}
	h.peaks()
	crowd, err := hostile.OpenCrowd(ctx, b.Listen, crowdSize)
	if err != nil {
		return err
	}
	defer crowd.Close()
	if err := sleep(ctx, crowdLook); err != nil {
		return err
	}
	if crowd.Conns < crowdSize/2 {
		return fmt.Errorf("of a crowd of %d only %d could connect: their memory says nothing", crowdSize, crowd.Conns)
	}
	each := (h.peaks()[b.ID] - before) / int64(crowd.Conns)
	h.most("stranger_bytes", each)
	if each > crowdMemory {
		h.violation("a connection that has not said hello takes %d bytes (%d of them), allowed are %d", each, crowd.Conns, crowdMemory)
	}
	return sleep(ctx, crowdGone)
}

// told takes a report of the besieger.
func (h *handshakes) told(r worker.Report) {
	switch r.What {
	case worker.Thrown:
		h.mu.Lock()
		h.thrown = r.Counts
		h.mu.Unlock()
	case worker.Failed:
		h.violation("the siege ended: %s", r.Text)
	case worker.Gone:
		h.ended(r)
	}
}

// Prove judges the time of the siege.
func (h *handshakes) Prove(context.Context, *cluster.Cluster, []int) error {
	acks, deliveries := h.clock.tails(h.since.Add(settling), time.Now())
	h.compare(acks, deliveries, siegeSlowdown)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.thrown["done"] == 0 || h.thrown["half"] == 0 || h.thrown["frames"] == 0 {
		return fmt.Errorf("no siege: %v", h.thrown)
	}
	h.most("per_second", int64(float64(h.thrown["done"])/time.Since(h.since).Seconds()))
	return nil
}

// Recover ends the siege.
func (h *handshakes) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	if err := h.siege.Leave(ctx); err != nil {
		return err
	}
	h.mu.Lock()
	for what, n := range h.thrown {
		h.count(what, n)
	}
	h.thrown = nil
	h.mu.Unlock()
	return h.close(ctx)
}
