package chaos

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
)

// leastOffered is the share of the messages that were due which must have been sent, or the figures are of another load.
const leastOffered = 0.95

// SystemResult says what a row's faults cost a system, and what it lost.
type SystemResult struct {
	About      driver.About `json:"about"` // system, version, settings, and what an acknowledgement means
	Row        string       `json:"row"`
	Seed       uint64       `json:"seed"`
	Rate       int          `json:"rate"` // messages a second that were offered
	Partitions int          `json:"partitions"`
	Replay     string       `json:"replay"` // the command for the same schedule
	Faults     []Injected   `json:"faults"`
	Pause      pause.Stats  `json:"pause_ms"`
	Restart    pause.Stats  `json:"restart_ms"`
	Seconds    float64      `json:"seconds"`

	Offered int64 `json:"offered"` // messages that were due
	Sent    int64 `json:"sent"`
	Acked   int64 `json:"acked"`
	Read    int64 `json:"read"` // messages that were read back, each once

	Lost        int64    `json:"lost"`        // acknowledged, and not there when everything was read back
	Duplicated  int64    `json:"duplicated"`  // stored twice
	Redelivered int64    `json:"redelivered"` // delivered again, and the system says so
	Reordered   int64    `json:"reordered"`   // behind a later one of the same producer and partition
	Phantom     int64    `json:"phantom"`     // read, and never sent, or answered as not stored
	Unanswered  int64    `json:"unanswered"`  // the answer leaves it open, or there is none
	Failed      string   `json:"failed"`      // the first answer that was an error
	Examples    []string `json:"examples"`
	Broken      []string `json:"broken"` // promises that the system's driver says it gives, and what kept the run from its end
}

// OK reports whether the system kept what it promises, and the run went to its end.
func (r *SystemResult) OK() bool { return len(r.Broken) == 0 }

func (r *SystemResult) broken(format string, args ...any) {
	r.Broken = append(r.Broken, fmt.Sprintf(format, args...))
}

// name is the system with its profile.
func (r *SystemResult) name() string { return r.About.System + ":" + r.About.Profile }

// conclude takes over what the load found and judges it by what the system promises.
func (r *SystemResult) conclude(l *systemLoad, cut bool) {
	var pauses, restarts []time.Duration
	for _, f := range r.Faults {
		pauses, restarts = append(pauses, duration(f.Pause)), append(restarts, duration(f.Restart))
	}
	r.Pause, r.Restart = pause.Of(pauses), pause.Of(restarts)
	r.Offered, r.Failed = l.offered.Load(), l.firstFailure()
	r.count(l.ledger.Tally())
	r.judge(cut)
}

func (r *SystemResult) count(t verify.Tally) {
	r.Sent, r.Acked, r.Read, r.Examples = t.Sent, t.Acked, t.Delivered, t.Examples
	r.Lost, r.Duplicated, r.Redelivered = t.Lost, t.Duplicated, t.Redelivered
	r.Reordered, r.Phantom, r.Unanswered = t.Reordered, t.Phantom, t.Unanswered
}

// judge holds the system to what its driver says that it promises: one that does not sync before it acknowledges may lose messages
// when the power goes, and only then.
func (r *SystemResult) judge(cut bool) {
	for _, p := range []struct {
		promised bool
		n        int64
		what     string
	}{
		{r.About.Durable || !cut, r.Lost, "acknowledged messages were lost"},
		{r.About.NoDuplicates, r.Duplicated, "messages are stored twice"},
		{r.About.Ordered, r.Reordered, "messages are behind later ones of the same producer"},
		{true, r.Phantom, "messages were read that cannot be there"},
	} {
		if p.promised && p.n > 0 {
			r.broken("%d %s", p.n, p.what)
		}
	}
	if r.Acked == 0 {
		r.broken("nothing was acknowledged: the run shows nothing")
	}
	if float64(r.Sent) < leastOffered*float64(r.Offered) {
		r.broken("the load was not offered: %d of %d messages that were due were sent", r.Sent, r.Offered)
	}
}

// Print writes what happened for people.
func (r *SystemResult) Print(w io.Writer) {
	fmt.Fprintf(w, "%s %s, client %s: %s\n", r.name(), r.About.Version, r.About.Client, r.About.Ack)
	for _, s := range r.About.Config {
		fmt.Fprintf(w, "  %s = %s\n", s.Key, s.Value)
	}
	for _, e := range r.Examples {
		fmt.Fprintln(w, "  "+e)
	}
	if r.Failed != "" {
		fmt.Fprintln(w, "  the first answer that was an error:", r.Failed)
	}
	for _, b := range r.Broken {
		fmt.Fprintln(w, "BROKEN:", r.name()+":", b)
	}
}

// PrintSystems writes a table of results: those of one system, row and rate are one line.
func PrintSystems(w io.Writer, results []*SystemResult) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "system\tversion\trow\trate\tfaults\tpublish pause p50, p99, max ms\trestart p50 ms\tacknowledged\tlost\trepeated\treordered\tunanswered")
	for _, group := range systemGroups(results) {
		sum, version := group[0], group[0].About.Version
		var pauses, restarts []time.Duration
		for i, r := range group {
			for _, f := range r.Faults {
				pauses, restarts = append(pauses, duration(f.Pause)), append(restarts, duration(f.Restart))
			}
			if i > 0 {
				sum = sum.plus(r)
			}
		}
		p := pause.Of(pauses)
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.0f, %.0f, %.0f\t%.0f\t%d\t%d\t%d\t%d\t%d\n", sum.name(), version, sum.Row, sum.Rate, len(pauses),
			p.P50, p.P99, p.Max, pause.Of(restarts).P50, sum.Acked, sum.Lost, sum.Duplicated, sum.Reordered, sum.Unanswered)
	}
	return t.Flush()
}

// plus returns the sums of what is counted.
func (r *SystemResult) plus(other *SystemResult) *SystemResult {
	sum := *r
	sum.Acked += other.Acked
	sum.Lost += other.Lost
	sum.Duplicated += other.Duplicated
	sum.Reordered += other.Reordered
	sum.Unanswered += other.Unanswered
	return &sum
}

// systemGroups puts results of the same system, row and rate together, in the order in which they first come.
func systemGroups(results []*SystemResult) [][]*SystemResult {
	var groups [][]*SystemResult
	at := map[string]int{}
	for _, r := range results {
		key := strings.Join([]string{r.name(), r.Row, fmt.Sprint(r.Rate)}, " ")
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], r)
	}
	return groups
}
