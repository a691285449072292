package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/trunkline/trunkline/bench/chaos/worker"
	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/hostile"
	"github.com/trunkline/trunkline/bench/vitals"
)

const (
	siegePartitions = 6
	siegeRate       = 100  // messages a second of the steady traffic: brokers, clients and attackers share few processors
	siegeHandshakes = 2000 // a second, if the machine makes so many
	siegeLanes      = 32
	siegeShots      = 2
	siegeFrames     = 100  // a second; `make hostile` throws them as fast as they go
	siegeSlowdown   = 2.0  // of the traffic's p99, at most
	crowdSize       = 1000 // connections to one broker that are not admitted
	// crowdMemory is what a broker may take for one of them, bytes: 46 KB live, of which 33 KB are heap and the rest three stacks, nearly all of
	// them quic-go's and crypto/tls's, and the garbage of as many handshakes until it is collected (docs/adr/0010-fault-harness.md).
	crowdMemory = 96 << 10
	crowdLook   = 500 * time.Millisecond // within the time that a broker waits for a hello
	crowdGone   = 5 * time.Second        // until it has waited long enough
)

// handshakes besieges the brokers with handshakes, half-open streams and malformed frames, by a process that yields the processors to
// everybody else: what is measured is what brokers let strangers do to their clients, not the want of a machine for the attacker. It is
// compared with the same traffic beside processes that yield likewise and only compute: a machine without a free processor is slower,
// whoever has it. Before that a crowd connects to one broker and says nothing, to see what a stranger costs.
//
// Counts, each behind "handshakes_": what hostile.Siege tells, offered_per_second and done_per_second (handshakes of the storm),
// stranger_bytes (memory of a connection before its hello), and those of measured.
type handshakes struct {
	measured
	seed  uint64
	siege *worker.Client
	seat  backseat // of the besieger
	since time.Time

	mu     sync.Mutex
	thrown map[string]int64 // guarded by mu; as the besieger told last
}

func newHandshakes(seed uint64) *handshakes {
	h := &handshakes{measured: newMeasured("handshakes", siegePartitions), seed: seed}
	h.rate = siegeRate
	return h
}

// Inject measures the traffic beside a full machine, then the crowd's memory, and begins the siege.
func (h *handshakes) Inject(ctx context.Context, cl *cluster.Cluster, _ []int) error {
	if _, err := h.open(ctx, cl, siegePartitions, h.told); err != nil {
		return err
	}
	if err := h.seat.open(); err != nil {
		return err
	}
	if err := h.quiet(ctx); err != nil {
		return err
	}
	if err := h.strangers(ctx); err != nil {
		return err
	}
	t := h.task()
	t.Siege = &hostile.Siege{Brokers: h.brokers, Seed: h.seed + uint64(h.injected), Handshakes: siegeHandshakes, Lanes: siegeLanes, Shots: siegeShots, Frames: siegeFrames}
	for _, name := range []string{topic, h.topic} {
		d, err := h.admin.Admin().DescribeTopic(ctx, name)
		if err != nil {
			return err
		}
		t.Siege.Spared = append(t.Siege.Spared, d.ID)
	}
	h.since = time.Now()
	var err error
	if h.siege, err = h.crew.Start(t); err != nil {
		return err
	}
	return h.seat.group.Add(h.siege.PID())
}

// quiet measures the traffic without an attack.
func (h *handshakes) quiet(ctx context.Context) error {
	leave, err := h.seat.occupy()
	if err != nil {
		return err
	}
	defer leave()
	return h.learnCalm(ctx, baseline)
}

// Available tries the means to make the besieger yield.
func (h *handshakes) Available() error {
	if err := h.measured.Available(); err != nil {
		return err
	}
	var try backseat
	if err := errors.Join(try.open(), try.close()); err != nil {
		return &UnavailableError{h.name, err.Error()}
	}
	return nil
}

// Cleanup ends what an injection left that was interrupted.
func (h *handshakes) Cleanup(keep bool) error {
	return errors.Join(h.measured.Cleanup(keep), h.seat.close())
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
	acks, deliveries := h.clock.tails(window{h.since.Add(settling), time.Now()})
	h.compare(acks, deliveries, siegeSlowdown)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.thrown["done"] == 0 || h.thrown["half"] == 0 || h.thrown["frames"] == 0 {
		return fmt.Errorf("no siege: %v", h.thrown)
	}
	for _, what := range []string{"offered", "done"} {
		h.most(what+"_per_second", int64(float64(h.thrown[what])/time.Since(h.since).Seconds()))
	}
	return nil
}

// Recover ends the siege.
func (h *handshakes) Recover(ctx context.Context, _ *cluster.Cluster, _ []int) error {
	if err := errors.Join(h.siege.Leave(ctx), h.seat.close()); err != nil {
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
