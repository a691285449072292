package observe

import "time"

// maxSamples bounds a timeline.
const maxSamples = 4000

// Report is what an Observer has seen.
type Report struct {
	Totals    map[string]int64 `json:"totals"`    // what the brokers counted, over all of them and their restarts: at least so much
	Footprint []Footprint      `json:"footprint"` // of each broker
	Timeline  []Sample         `json:"timeline"`
	Pauses    []Pause          `json:"pauses"`
}

// Pause is a time in which a partition answered nothing although something was under way.
type Pause struct {
	At        float64 `json:"at_s"` // seconds since the origin
	Took      float64 `json:"took_ms"`
	Partition int     `json:"partition"`
}

// Sample is what happened in a time that ends at At; it begins where the sample before it ends.
type Sample struct {
	At        float64 `json:"at_s"`      // seconds since an origin
	Acked     int64   `json:"acked"`     // messages in this time
	Delivered int64   `json:"delivered"` // messages in this time, over all subscriptions
	Brokers   []State `json:"brokers"`   // by ID-1; those with the highest IDs may not have joined yet

	acked, delivered int64 // since the beginning
}

// State is how a broker was at the end of a sample.
type State struct {
	Answers bool  `json:"answers"` // false: down, paused, overloaded, or it left; the rest is 0
	RSS     int64 `json:"rss"`     // bytes, the greatest of the time
	Leads   int   `json:"leads"`   // partitions
}

// timeline holds samples of equal length, longer ones when it is full.
type timeline struct {
	every   time.Duration
	stride  int // of the calls of add, so many make one sample
	pending int // calls since the last sample
	open    Sample
	samples []Sample
}

// add takes cumulative counts and makes a sample of them when its time has come.
func (t *timeline) add(s Sample) {
	t.open = merge(t.open, s)
	if t.pending++; t.pending < t.stride {
		return
	}
	t.samples = append(t.samples, t.open)
	t.open, t.pending = Sample{}, 0
	if len(t.samples) == maxSamples {
		half := t.samples[:0]
		for i := 0; i+1 < maxSamples; i += 2 {
			half = append(half, merge(t.samples[i], t.samples[i+1]))
		}
		t.samples, t.stride = half, 2*t.stride
	}
}

// merge is the sample of two times that follow each other.
func merge(a, b Sample) Sample {
	for i := range b.Brokers {
		if i < len(a.Brokers) && b.Brokers[i].Answers {
			b.Brokers[i].RSS = max(a.Brokers[i].RSS, b.Brokers[i].RSS)
		}
	}
	return b
}

// since returns the samples with times from origin on, and what was counted in each.
func (t *timeline) since(origin float64) []Sample {
	out := make([]Sample, len(t.samples))
	var before Sample
	for i, s := range t.samples {
		out[i] = s
		out[i].At -= origin
		out[i].Acked, out[i].Delivered = s.acked-before.acked, s.delivered-before.delivered
		before = s
	}
	return out
}

// Vitals are the vital signs of a process.
type Vitals struct {
	RSS        int64 `json:"rss"` // bytes
	Files      int64 `json:"files"`
	Goroutines int64 `json:"goroutines"`
}

// Footprint is how a broker's vital signs went, over its restarts.
type Footprint struct {
	Broker int    `json:"broker"`
	First  Vitals `json:"first"`
	Most   Vitals `json:"most"` // each by itself
	Last   Vitals `json:"last"`
}

func (f *Footprint) hold(v Vitals) {
	if f.First == (Vitals{}) {
		f.First = v
	}
	f.Last = v
	f.Most = Vitals{RSS: max(f.Most.RSS, v.RSS), Files: max(f.Most.Files, v.Files), Goroutines: max(f.Most.Goroutines, v.Goroutines)}
}
