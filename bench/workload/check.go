package workload

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Bounds of a workload. They are what OMB's own files need, or far above what one machine can do: their purpose is that a slip
// of the finger is told at once.
const (
	maxPartitions  = 1_000_000 // of all topics
	maxMessage     = 64 << 20  // bytes
	maxPool        = 1 << 30   // bytes of all randomised payloads
	maxMembers     = 10_000    // producers, consumers or subscriptions of a topic
	maxRate        = 1e9       // messages a second
	maxInFlight    = 10_000_000
	maxBacklogGB   = 10_000
	maxNodes       = 7
	maxTime        = 7 * 24 * time.Hour
	maxFaults      = 100  // entries
	maxRepeat      = 1000 // of one entry
	maxLineOfText  = 300  // bytes of name and doc
	maxProblems    = 100
	minutesPerWeek = float64(maxTime / time.Minute)
)

// problems collects what is wrong: the first reason of each key, at most maxProblems.
type problems []problem

type problem struct{ key, reason string }

func (p *problems) add(key, format string, args ...any) {
	if len(*p) < maxProblems && !slices.ContainsFunc(*p, func(q problem) bool { return q.key == key }) {
		*p = append(*p, problem{key, fmt.Sprintf(format, args...)})
	}
}

// err joins all problems, one a line, or returns nil.
func (p *problems) err(prefix string) error {
	var errs []error
	for _, q := range *p {
		errs = append(errs, fmt.Errorf("%s%s: %s", prefix, q.key, q.reason))
	}
	return errors.Join(errs...)
}

func between[T int | float64 | time.Duration](p *problems, key string, v, lowest, highest T) {
	if !(v >= lowest && v <= highest) { // not a number is neither
		p.add(key, "%v is not between %v and %v", v, lowest, highest)
	}
}

func oneOf[T ~string](p *problems, key string, v T, known ...T) {
	if !slices.Contains(known, v) {
		p.add(key, "%q is none of %v", v, known)
	}
}

// Validate checks a workload that was changed after it was read. The error has one line a key: key and reason.
func (w *Workload) Validate() error {
	var p problems
	w.check(&p)
	return p.err("")
}

func (w *Workload) check(p *problems) {
	w.checkTopics(p)
	w.checkPayload(p)
	w.checkLoad(p)
	w.checkBacklog(p)
	w.checkTimes(p)
	w.checkFaults(p)
}

func (w *Workload) checkTopics(p *problems) {
	checkLine(p, "name", w.Name)
	checkLine(p, "doc", w.Doc)
	if w.Name == "" {
		p.add("name", "is empty")
	}
	between(p, "topics", w.Topics, 1, maxPartitions)
	between(p, "partitionsPerTopic", w.PartitionsPerTopic, 1, maxPartitions)
	if n := w.Topics * w.PartitionsPerTopic; n > maxPartitions {
		p.add("partitionsPerTopic", "%d topics of %d partitions are more than %d", w.Topics, w.PartitionsPerTopic, maxPartitions)
	}
	between(p, "nodes", w.Nodes, 1, maxNodes)
	between(p, "replicas", w.Replicas, 1, maxNodes)
	if w.Nodes >= 1 && w.Replicas > w.Nodes {
		p.add("replicas", "%d replicas need more than %d nodes", w.Replicas, w.Nodes)
	}
	oneOf(p, "keyDistributor", w.KeyDistributor, NoKey, KeyRoundRobin, RandomNano)
}

func checkLine(p *problems, key, text string) {
	if len(text) > maxLineOfText || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		p.add(key, "is not one line of at most %d printable bytes", maxLineOfText)
	}
}

func (w *Workload) checkPayload(p *problems) {
	if w.MessageSize < HeaderBytes {
		p.add("messageSize", "%d is too small: the bench itself writes %d bytes into each message", w.MessageSize, HeaderBytes)
	}
	between(p, "messageSize", w.MessageSize, HeaderBytes, maxMessage)
	between(p, "randomBytesRatio", w.RandomBytesRatio, 0, 1)
	if !w.UseRandomizedPayloads {
		return
	}
	if w.PayloadFile != "" {
		p.add("payloadFile", "contradicts useRandomizedPayloads")
	}
	between(p, "randomizedPayloadPoolSize", w.RandomizedPayloadPoolSize, 1, max(1, maxPool/max(w.MessageSize, 1)))
}

func (w *Workload) checkLoad(p *problems) {
	between(p, "subscriptionsPerTopic", w.SubscriptionsPerTopic, 0, maxMembers)
	between(p, "consumerPerSubscription", w.ConsumerPerSubscription, 0, maxMembers)
	if w.SubscriptionsPerTopic > 0 && w.ConsumerPerSubscription == 0 {
		p.add("consumerPerSubscription", "must be at least 1 where there are subscriptions")
	}
	between(p, "producersPerTopic", w.ProducersPerTopic, 1, maxMembers)
	between(p, "producerRate", w.ProducerRate, 0, maxRate)
	between(p, "maxInFlight", w.MaxInFlight, 0, maxInFlight)
	oneOf(p, "loop", w.Loop, Open, Closed)
	if w.Loop == Closed && w.ProducerRate != 0 {
		p.add("producerRate", "must be 0 in a closed loop: it has no schedule")
	}
	if !(w.RateFraction > 0 && w.RateFraction <= 1) {
		p.add("rateFraction", "%v is not above 0 and at most 1", w.RateFraction)
	}
}

func (w *Workload) checkBacklog(p *problems) {
	between(p, "consumerBacklogSizeGB", w.ConsumerBacklogSizeGB, 0, maxBacklogGB)
	between(p, "backlogDrainRatio", w.BacklogDrainRatio, 0, 1)
	switch {
	case w.ConsumerBacklogSizeGB == 0 && w.StopProducers:
		p.add("stopProducersAtBacklog", "there is no backlog: consumerBacklogSizeGB is 0")
	case w.ConsumerBacklogSizeGB > 0 && w.SubscriptionsPerTopic == 0:
		p.add("consumerBacklogSizeGB", "a backlog needs a subscription")
	case w.ConsumerBacklogSizeGB > 0 && w.Searches():
		p.add("consumerBacklogSizeGB", "the maximum rate cannot be searched while a backlog grows: set producerRate, or loop: closed")
	}
}

func (w *Workload) checkTimes(p *problems) {
	between(p, "testDurationMinutes", w.TestDurationMinutes, 0, minutesPerWeek)
	between(p, "warmupDurationMinutes", w.WarmupDurationMinutes, 0, minutesPerWeek)
	between(p, "duration", w.Duration, 0, maxTime)
	between(p, "warmup", w.Warmup, 0, maxTime)
	if w.Measured() == 0 {
		p.add("duration", "must be above 0 (or testDurationMinutes): a run ends")
	}
}

func (w *Workload) checkFaults(p *problems) {
	if len(w.Faults) > maxFaults {
		p.add("faults", "has more than %d entries", maxFaults)
		return
	}
	for i, f := range w.Faults {
		prefix := fmt.Sprintf("faults[%d].", i)
		f.check(p, prefix, w.Nodes)
		before := Workload{Faults: w.Faults[:i]}
		if over := before.FaultsLast(); f.At < over {
			p.add(prefix+"at", "%v is before the faults above are over, at %v or later", f.At, over)
		}
	}
	if last := w.FaultsLast(); last > w.Measured() {
		p.add("faults", "take %v or longer, but the measured part only %v", last, w.Measured())
	}
}

func (f *Fault) check(p *problems, prefix string, nodes int) {
	oneOf(p, prefix+"kind", f.Kind, Kill, Pause, Restart)
	between(p, prefix+"node", f.Node, 0, nodes)
	between(p, prefix+"at", f.At, 0, maxTime)
	between(p, prefix+"hold", f.Hold, time.Millisecond, maxTime)
	between(p, prefix+"repeat", f.Repeat, 1, maxRepeat)
	between(p, prefix+"every", f.Every, 0, maxTime)
}
