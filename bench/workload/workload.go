package workload

import (
	"encoding/json"
	"time"

	"gopkg.in/yaml.v3"
)

// HeaderBytes is what the bench itself writes into every payload (see package engine): no message is smaller.
const HeaderBytes = 32

// Workload says what to do. The first group of keys are those of the OpenMessaging Benchmark (OMB), with its meaning and its
// defaults: its files load unchanged. The second group is ours. Unknown keys are refused.
type Workload struct {
	Name string `yaml:"name"`

	Topics                    int     `yaml:"topics"`
	PartitionsPerTopic        int     `yaml:"partitionsPerTopic"`
	MessageSize               int     `yaml:"messageSize"`           // bytes, at least HeaderBytes
	PayloadFile               string  `yaml:"payloadFile,omitempty"` // of MessageSize bytes; see Payloads
	UseRandomizedPayloads     bool    `yaml:"useRandomizedPayloads"`
	RandomBytesRatio          float64 `yaml:"randomBytesRatio"` // 0 to 1; the rest is one repeated byte
	RandomizedPayloadPoolSize int     `yaml:"randomizedPayloadPoolSize"`
	KeyDistributor            Keys    `yaml:"keyDistributor"`
	SubscriptionsPerTopic     int     `yaml:"subscriptionsPerTopic"`
	ConsumerPerSubscription   int     `yaml:"consumerPerSubscription"`
	ProducersPerTopic         int     `yaml:"producersPerTopic"`
	ProducerRate              float64 `yaml:"producerRate"` // messages a second over all producers; 0: find the maximum
	// ConsumerBacklogSizeGB > 0: consumers stay away until so many GB (10^9 bytes of payload) are published, then drain them
	// while producers go on, until at most (1-BacklogDrainRatio) of the backlog is left.
	ConsumerBacklogSizeGB float64 `yaml:"consumerBacklogSizeGB"`
	BacklogDrainRatio     float64 `yaml:"backlogDrainRatio"`
	TestDurationMinutes   float64 `yaml:"testDurationMinutes"`
	WarmupDurationMinutes float64 `yaml:"warmupDurationMinutes"`

	// Doc is one line for people.
	Doc string `yaml:"doc,omitempty"`
	// Duration and Warmup, where given, win over the minutes above, which are then 0. Measured and WarmupTime tell what counts.
	Duration time.Duration `yaml:"duration,omitempty"`
	Warmup   time.Duration `yaml:"warmup,omitempty"`
	// Loop is "open" (a schedule; latency counts from the intended time) or "closed" (each producer sends the next message as
	// soon as it may; ProducerRate must be 0 and no maximum is searched). Default: open, but closed if
	// MaxInFlight is 1 and ProducerRate 0.
	Loop Loop `yaml:"loop"`
	// MaxInFlight bounds the unanswered messages of one producer; 0: what is best for the system's throughput.
	MaxInFlight int `yaml:"maxInFlight"`
	// RateFraction of the maximum found is offered in the measured part, when ProducerRate is 0 in an open loop. Default 0.95 (a
	// system at its very maximum has a growing queue).
	RateFraction float64 `yaml:"rateFraction"`
	// StopProducers ends publishing once the backlog of ConsumerBacklogSizeGB is there: a pure catch-up read.
	StopProducers bool `yaml:"stopProducersAtBacklog"`
	Replicas      int  `yaml:"replicas"` // default 3, or Nodes if there are fewer
	Nodes         int  `yaml:"nodes"`    // 1 to 7, default 3
	// Verify: false leaves out the check of every message. Default true. A workload without subscriptions is read back
	// afterwards to be checked.
	Verify *bool `yaml:"verify,omitempty"`
	// Faults are made during the measured part, one after the other in this order. Producers then retry. Where nodes take long to
	// come back the measured part lasts until the last of them has.
	Faults []Fault `yaml:"faults,omitempty"`

	// Notes are what a reader of the results should know about how the workload was read. No key.
	Notes []string `yaml:"-"`

	payload []byte // content of PayloadFile; nil: it was not found
}

// Keys says which key a message has.
type Keys string

// The key distributors of OMB. Without a key the client chooses the partition; in a workload with faults the bench deals
// messages out over all partitions, so that every partition has something to wait for.
const (
	NoKey         Keys = "NO_KEY"
	KeyRoundRobin Keys = "KEY_ROUND_ROBIN" // one of 10 000 keys after the other
	RandomNano    Keys = "RANDOM_NANO"     // one of 10 000 keys at random
)

// Loop says when the next message is sent.
type Loop string

// The loops.
const (
	Open   Loop = "open"
	Closed Loop = "closed"
)

// Fault is one fault of a schedule.
type Fault struct {
	At   time.Duration `yaml:"at"` // since the start of the measured part
	Kind FaultKind     `yaml:"kind"`
	// Node that is hit: its ID, or 0 for the one that leads most partitions at that time.
	Node int `yaml:"node"`
	// Hold is how long a killed or stopped node stays away and a paused one hangs; then it is started or resumed and healthy
	// before the next fault. Default 2 s.
	Hold time.Duration `yaml:"hold"`
	// Repeat makes the fault so many times, Every after the end of the one before. Default once.
	Repeat int           `yaml:"repeat"`
	Every  time.Duration `yaml:"every"`
}

// FaultKind is what happens to a node.
type FaultKind string

// The faults.
const (
	Kill    FaultKind = "kill"    // SIGKILL, started again after Hold
	Pause   FaultKind = "pause"   // SIGSTOP, SIGCONT after Hold
	Restart FaultKind = "restart" // SIGTERM, started again after Hold
)

// Measured is how long the measured part lasts.
func (w *Workload) Measured() time.Duration { return either(w.Duration, w.TestDurationMinutes) }

// WarmupTime is how long the warm-up before it lasts; 0: there is none.
func (w *Workload) WarmupTime() time.Duration { return either(w.Warmup, w.WarmupDurationMinutes) }

func either(d time.Duration, minutes float64) time.Duration {
	if d != 0 {
		return d
	}
	return time.Duration(minutes * float64(time.Minute))
}

// Searches reports whether the maximum rate is to be found first.
func (w *Workload) Searches() bool { return w.Loop == Open && w.ProducerRate == 0 }

// Verified reports whether the workload's messages are checked.
func (w *Workload) Verified() bool { return w.Verify == nil || *w.Verify }

// FaultsLast is how long the schedule of faults takes at least.
func (w *Workload) FaultsLast() time.Duration {
	var end time.Duration
	for _, f := range w.Faults {
		end = max(end, f.At+time.Duration(max(f.Repeat, 1))*f.Hold+time.Duration(max(f.Repeat-1, 0))*f.Every)
	}
	return end
}

// MarshalJSON writes the same keys as the YAML file has, durations in words, and the notes.
func (w Workload) MarshalJSON() ([]byte, error) {
	text, err := yaml.Marshal(w)
	if err != nil {
		return nil, err
	}
	keys := map[string]any{}
	if err := yaml.Unmarshal(text, &keys); err != nil {
		return nil, err
	}
	if len(w.Notes) > 0 {
		keys["notes"] = w.Notes
	}
	return json.Marshal(keys)
}
