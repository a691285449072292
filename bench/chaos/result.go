package chaos

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
)

// Injected is one fault that was made. Times are milliseconds; those of a fault that was followed by another one before the
// brokers were back are 0.
type Injected struct {
	Event
	At      float64   `json:"at_s"`                     // seconds since the first event's healthy time began
	Lasted  float64   `json:"lasted_ms"`                // from its beginning until the victims were started or let go
	Acked   int64     `json:"acked"`                    // messages acknowledged before it, since the fault before it
	Pause   float64   `json:"pause_ms"`                 // longest time without an answer on a partition with something under way
	Pauses  []float64 `json:"step_pauses_ms,omitempty"` // the same for each step of an operation and each partition
	Restart float64   `json:"restart_ms"`               // from the start of the processes until all say that they are ready
	CatchUp float64   `json:"catch_up_ms"`              // from then until every replica has what there was and every partition acknowledges

	at time.Time
}

// Result is the verdict.
type Result struct {
	Seed     uint64     `json:"seed"`
	Replay   string     `json:"replay"` // the command for the same schedule
	Faults   []Injected `json:"faults"`
	Brokers  int        `json:"brokers_hit"` // faults, counted once for every broker that it hit
	Seconds  float64    `json:"seconds"`
	Sent     int64      `json:"sent"`
	Acked    int64      `json:"acked"`
	Got      int64      `json:"delivered"` // over all subscriptions
	ReadBack int        `json:"read_back"` // over all replicas

	Lost        int64 `json:"lost"`
	Duplicated  int64 `json:"duplicated"`
	Redelivered int64 `json:"redelivered"` // acknowledged, not committed, and lost with the turn of their consumer
	LostTurns   int   `json:"lost_turns"`  // how often a consumer was told that it had lost a partition
	Reordered   int64 `json:"reordered"`
	Phantom     int64 `json:"phantom"`
	Unanswered  int64 `json:"unanswered"`
	Diverged    int   `json:"diverged"`

	PartLoad *PartLoad        `json:"part_load,omitempty"`
	Rows     []RowResult      `json:"rows"`
	Counts   map[string]int64 `json:"counts"`    // evidence: what happened, and how often
	RealTime verify.Findings  `json:"real_time"` // acknowledged offsets against the order in which publishes began
	// Checks are further checkers of the brokers as a system, by name; see doc.go.
	Checks     map[string]verify.Findings `json:"checks"`
	Compared   comparison                 `json:"compared"`
	Pause      pause.Stats                `json:"pause_ms"`
	Restart    pause.Stats                `json:"restart_ms"`
	CatchUp    pause.Stats                `json:"catch_up_ms"`
	Log        []LogLine                  `json:"log"`
	Violations []string                   `json:"violations"`
	Observed   observe.Report             `json:"observed"`

	byRow map[string]map[string]int64 // what was counted from the beginning of each fault of a row to that of the next fault
}

// OK reports whether every promise held.
func (r *Result) OK() bool { return len(r.Violations) == 0 }

// Unsafe counts the violations that are more than pauses longer than a row allows.
func (r *Result) Unsafe() int {
	n := len(r.Violations)
	for _, row := range r.Rows {
		n -= len(row.Slow)
	}
	return n
}

func (r *Result) violation(format string, args ...any) {
	r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
}

// count takes over what the ledger and the trail have found. Unless the load was drained, what has not come yet is not lost.
func (r *Result) count(t verify.Tally, trail verify.Report, drained bool) {
	if !drained {
		t.Lost, t.Unanswered, t.Examples = 0, 0, nil
	}
	r.Sent, r.Acked, r.Got = t.Sent, t.Acked, t.Delivered
	r.Lost, r.Duplicated, r.Redelivered = t.Lost+int64(trail.Lost), t.Duplicated, t.Redelivered
	r.Reordered, r.Phantom, r.Unanswered = t.Reordered, t.Phantom, t.Unanswered
	r.Diverged = trail.Diverged + trail.Gaps
	for _, e := range append(t.Examples, trail.Examples...) {
		r.violation("%s", e)
	}
	if r.Redelivered > 0 && r.LostTurns == 0 {
		r.violation("%d messages were delivered again to consumers that had lost no partition", r.Redelivered)
	}
	if r.Unanswered > 0 {
		r.violation("%d publishes have no answer", r.Unanswered)
	}
}

// see adds what was counted to a row.
func (r *Result) see(row string, counts map[string]int64) {
	if r.byRow == nil {
		r.byRow = map[string]map[string]int64{}
	}
	if r.byRow[row] == nil {
		r.byRow[row] = map[string]int64{}
	}
	for name, n := range counts {
		r.byRow[row][name] += n
	}
}

// check takes over what checkers have found. One that has judged nothing in a whole run shows nothing, and is a violation too.
func (r *Result) check(all map[string]verify.Findings, whole bool) {
	if r.Checks == nil {
		r.Checks = map[string]verify.Findings{}
	}
	maps.Copy(r.Checks, all)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		for _, e := range f.Examples {
			r.violation("%s: %s", name, e)
		}
		if more := f.Broken - int64(len(f.Examples)); more > 0 {
			r.violation("%s: and %d times more", name, more)
		}
		if whole && f.Checked == 0 {
			r.violation("%s: nothing was judged: the run shows nothing of it", name)
		}
	}
}

// summarise computes the percentiles over the faults that the brokers came back from, and judges each row. Pauses may be slack
// times as long as rows allow.
func (r *Result) summarise(slack float64) {
	var pauses, restarts, catchUps []time.Duration
	for _, f := range r.Faults {
		r.Brokers += len(f.Victims)
		if f.Restart > 0 {
			pauses = append(pauses, duration(f.Pause))
			restarts = append(restarts, duration(f.Restart))
			catchUps = append(catchUps, duration(f.CatchUp))
		}
	}
	r.Pause, r.Restart, r.CatchUp = pause.Of(pauses), pause.Of(restarts), pause.Of(catchUps)
	r.judgeRows(slack)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func duration(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// Print writes the table of faults and the verdict.
func (r *Result) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "#\tat\tfault\tacked before\tpublish pause\trestart\tcatch-up")
	for i, f := range r.Faults {
		back := "cut again\t\t"
		if f.Restart > 0 {
			back = fmt.Sprintf("%.0f ms\t%.0f ms\t%.0f ms", f.Pause, f.Restart, f.CatchUp)
		}
		fmt.Fprintf(t, "%d\t%.1f s\t%s of %s\t%d\t%s\n", i+1, f.At, f.name(), f.whom(), f.Acked, back)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		pause.Stats
	}{{"publish pause", r.Pause}, {"restart", r.Restart}, {"catch-up", r.CatchUp}} {
		fmt.Fprintf(w, "%s: p50 %.0f ms, p99 %.0f ms, max %.0f ms\n", s.name, s.P50, s.P99, s.Max)
	}
	for _, l := range r.Log {
		fmt.Fprintf(w, "log: %6d x %s %s\n", l.Count, l.Level, l.Message)
	}
	for _, row := range r.Rows {
		fmt.Fprintf(w, "row %s (%s, %s): %d times, publish pause p50 %.0f ms, p99 %.0f ms, max %.0f ms%s\n",
			row.Name, row.Matrix, row.Doc, row.Faults, row.Pause.P50, row.Pause.P99, row.Pause.Max, row.seen())
	}
	if r.PartLoad != nil {
		r.PartLoad.print(w)
	}
	fmt.Fprintf(w, "%d faults on %d brokers in %.0f s: %d messages acknowledged, %d delivered, %d read back from replicas, %d bytes of %d partitions equal on all\n",
		len(r.Faults), r.Brokers, r.Seconds, r.Acked, r.Got, r.ReadBack, r.Compared.Bytes, r.Compared.Partitions)
	if r.LostTurns > 0 {
		fmt.Fprintf(w, "%d turns of consumers were lost; %d messages whose acknowledgement was not committed were delivered again\n", r.LostTurns, r.Redelivered)
	}
	fmt.Fprintf(w, "lost %d, duplicated %d, reordered %d, phantom %d, diverged %d: ", r.Lost, r.Duplicated, r.Reordered, r.Phantom, r.Diverged)
	verdict := "every promise held"
	if !r.OK() {
		verdict = "FAILED"
	}
	fmt.Fprintln(w, verdict)
	for _, v := range r.Violations {
		fmt.Fprintln(w, "VIOLATION:", v)
	}
	return nil
}

// writeJSON leaves a file of the run's directory.
func writeJSON(dir, name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(dir, name), append(text, '\n'), 0o600)
}
