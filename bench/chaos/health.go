package chaos

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/trunkline/trunkline/bench/cluster"
	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/verify"
	"github.com/trunkline/trunkline/client"
	"github.com/trunkline/trunkline/protocol"
)

const (
	// settleTime is R of I13: so long after a fault began or ended nothing is demanded. It is more than what any row allows a pause.
	settleTime = 4 * time.Second
	// livelyWindow is how long a partition may answer nothing after that, and longestWait a single request: both are more than what any
	// row allows a pause, which is judged by itself.
	livelyWindow = 4 * time.Second
	longestWait  = 4 * time.Second
	// calmSlack bounds how far Options.Slack makes the calm longer.
	calmSlack = 2
	// levelSpan is how much time memory must be seen for until it is judged.
	levelSpan = 2 * time.Minute
	// pidBits are enough for a process ID.
	pidBits = 32
	// statesEach is the time between two questions what the replicas hold.
	statesEach = 250 * time.Millisecond
)

// together names all brokers as one process: leaderships move, and what belongs to them with them.
const together = "all brokers together"

// hygieneBounds are for all brokers together. The load is young when the baseline is taken: what retention lets a partition keep may
// be open as a file later, and pools may have filled. What grows for longer than that is found by levelOf.
func hygieneBounds(o *Options) verify.HygieneBounds {
	segments := int64(o.Partitions) * (keepBytes/segmentBytes + 1)
	var expect *regexp.Regexp
	if o.flipsSegments() {
		expect = regexp.MustCompile(`segment damaged|is damaged at byte`)
	}
	return verify.HygieneBounds{
		Expect: expect,
		Factor: 1.5, Floor: verify.Vitals{RSS: int64(o.Brokers) * (128 << 20), Goroutines: int64(o.Brokers) * 50, FDs: int64(o.Brokers) * segments},
	}
}

// health judges what is asked of the brokers as a system, beside the records themselves: that it goes on (I13), that it is as good as
// before when the faults are over (I14), and that no replica ever goes back (I11). Its methods belong to the goroutine of the run,
// apart from follow's, which has one of its own; the checkers may be fed from anywhere.
type health struct {
	begun    time.Time
	brokers  int
	live     *verify.Liveness
	hygiene  *verify.Hygiene
	progress *verify.Progress
	down     map[int]bool   // hit by a fault and not known to be whole again
	placed   map[place]life // where replicas were seen; follow's
	stalled  bool           // by a fault during which publishing may stand still
}

// place is where a replica is, or was.
type place struct {
	broker protocol.BrokerID
	part   protocol.Partition
}

// life counts the replicas that a place has had: one that came back is another one.
type life struct {
	number uint64
	gone   bool
}

func newHealth(o *Options, begun time.Time) *health {
	slack := func(d time.Duration) time.Duration { return time.Duration(float64(d) * o.Slack) }
	return &health{
		begun: begun, brokers: o.Brokers, down: map[int]bool{}, placed: map[place]life{}, hygiene: verify.NewHygiene(hygieneBounds(o)), progress: verify.NewProgress(),
		live: verify.NewLiveness(o.Partitions, verify.LivenessBounds{
			Settle: slack(settleTime), Window: livelyWindow, Least: 1, Oldest: slack(longestWait),
		}),
	}
}

// calm is how long the load goes on after the last fault: until everything has settled, and two windows more.
func (o *Options) calm() time.Duration {
	return time.Duration(float64(settleTime)*min(o.Slack, calmSlack)) + 2*livelyWindow
}

// harmed notes that a fault is about to begin or to be taken back.
func (h *health) harmed() { h.live.Harmed(time.Since(h.begun)) }

// injected notes that a fault is in force. If no more brokers are hit than may be, the system must go on.
func (h *health) injected(e Event) {
	for _, id := range e.Victims {
		h.down[id] = true
	}
	h.stalled = h.stalled || rowOf(e.Row).Stalls || e.Beside != ""
	h.goOn()
}

// goOn demands life if at most f of 2f+1 brokers are hit.
func (h *health) goOn() {
	if !h.stalled && len(h.down) <= (h.brokers-1)/2 {
		h.live.Healthy(time.Since(h.begun))
	}
}

// recovering notes that a fault was taken back; its victims may still start.
func (h *health) recovering(e Event) {
	if rowOf(e.Row).Stalls {
		h.stalled = false
	}
	h.goOn()
}

// whole notes that all brokers are back, have caught up and acknowledge.
func (h *health) whole() {
	clear(h.down)
	h.stalled = false
	h.goOn()
}

// baseline takes down what the brokers hold before the first fault.
func (h *health) baseline(now []observe.Vitals) { h.hygiene.Baseline(together, sumOf(now)) }

// after judges what they hold when the faults are over: the least of what was seen since they have settled.
func (h *health) after(seen [][]observe.Vitals) {
	if len(seen) == 0 {
		return
	}
	least := sumOf(seen[0])
	for _, s := range seen[1:] {
		v := sumOf(s)
		least = verify.Vitals{RSS: min(least.RSS, v.RSS), Goroutines: min(least.Goroutines, v.Goroutines), FDs: min(least.FDs, v.FDs)}
	}
	h.hygiene.After(together, least)
}

func sumOf(all []observe.Vitals) (sum verify.Vitals) {
	for _, v := range all {
		sum.RSS += v.RSS
		sum.Goroutines += v.Goroutines
		sum.FDs += v.Files
	}
	return sum
}

// exits judges that every broker runs, and returns the ones that do not.
func (h *health) exits(brokers []cluster.Broker, how func(cluster.Broker) string) (gone []int) {
	for _, b := range brokers {
		h.hygiene.Exited("broker "+strconv.Itoa(b.ID), b.PID != 0, how(b))
		if b.PID == 0 {
			gone = append(gone, b.ID)
		}
	}
	return gone
}

// follow asks all replicas again and again what they hold, until ctx ends. An answer counts if its process lived all the while.
func (h *health) follow(ctx context.Context, brokers func() []cluster.Broker, describe func(context.Context) (*client.TopicDescription, error)) {
	for sleep(ctx, statesEach) == nil {
		before := brokers()
		d, err := describe(ctx)
		if err == nil {
			h.states(d, before, brokers())
		}
	}
}

// states judges one answer.
func (h *health) states(d *client.TopicDescription, before, after []cluster.Broker) {
	h.moved(d)
	for _, p := range d.Partitions {
		for _, s := range p.States {
			at := slices.IndexFunc(before, func(b cluster.Broker) bool { return b.ID == int(s.Broker) })
			if s.Err != nil || at < 0 || before[at].PID == 0 || !slices.Contains(after, before[at]) {
				continue
			}
			number := h.placed[place{s.Broker, p.Partition}].number
			h.progress.Observe(verify.Observation{
				Broker: int32(s.Broker), Partition: int32(p.Partition), Life: number<<pidBits | uint64(before[at].PID),
				Epoch: uint64(s.Epoch), Applied: s.Applied, Start: int64(s.Start), Next: int64(s.Next),
			})
		}
	}
}

// moved notes which places replicas have left and come to.
func (h *health) moved(d *client.TopicDescription) {
	for _, p := range d.Partitions {
		for _, b := range p.Replicas {
			at := place{b, p.Partition}
			if was, known := h.placed[at]; !known || was.gone {
				h.placed[at] = life{number: was.number + 1}
			}
		}
	}
	for at, l := range h.placed {
		l.gone = !slices.Contains(d.Partitions[at.part].Replicas, at.broker)
		h.placed[at] = l
	}
}

// levelOf judges the memory of all brokers over the time in which so many as there were first answer.
func levelOf(timeline []observe.Sample, brokers int) verify.Findings {
	var points []verify.Point
	for _, s := range timeline {
		sum, answer := 0.0, 0
		for _, b := range s.Brokers {
			sum += float64(b.RSS)
			if b.Answers {
				answer++
			}
		}
		if answer == brokers {
			points = append(points, verify.Point{At: duration(s.At * 1000), Value: sum})
		}
	}
	return verify.Level("memory of "+together, points, verify.LevelBounds{
		Warm: 0.2, Span: levelSpan, Growth: 0.1, Floor: float64(brokers) * (32 << 20),
	})
}

// end judges what is left of the load's time. Nothing is demanded after it.
func (h *health) end() {
	at := time.Since(h.begun)
	h.live.End(at)
	h.live.Harmed(at)
}

// findings returns what was found, by the checker.
func (h *health) findings() map[string]verify.Findings {
	return map[string]verify.Findings{"liveness": h.live.Findings(), "hygiene": h.hygiene.Findings(), "progress": h.progress.Findings()}
}
