package chaos

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/trunkline/trunkline/bench/pause"
)

// RowResult says what a row's faults cost and whether what had to be seen was seen.
type RowResult struct {
	Name   string           `json:"name"`
	Matrix string           `json:"matrix"`
	Doc    string           `json:"doc"`
	Faults int              `json:"faults"`
	Pause  pause.Stats      `json:"pause_ms"`
	Limit  pause.Stats      `json:"limit_ms"` // 0: none
	Must   []Evidence       `json:"must"`
	Seen   map[string]int64 `json:"seen"` // of the counters in Must
	Broken []string         `json:"broken"`
	Slow   []string         `json:"slow"` // limits of pauses that were not kept
}

// Faults from which on a percentile says more than the maximum.
const (
	enoughForP50 = 20
	enoughForP99 = 100
)

// judgeRows makes a RowResult of each row that was used and a violation of each limit that was not kept and each thing that was
// not seen. Without all faults of a row (the run broke off) only what was is judged.
func (r *Result) judgeRows(slack float64) {
	names := []string{}
	for _, f := range r.Faults {
		if !slices.Contains(names, f.Row) {
			names = append(names, f.Row)
		}
	}
	for _, name := range names {
		row := r.judgeRow(rowOf(name), len(names) > 1, slack)
		for _, b := range slices.Concat(row.Slow, row.Broken) {
			r.violation("row %s: %s", name, b)
		}
		r.Rows = append(r.Rows, row)
	}
}

// judgeRow judges the pauses of a row's faults, apart from those that came beside another one, and its evidence. In a run that mixes
// rows, what must not happen is not judged, as it may be an after-effect of another row's fault, nor what not every fault shows.
func (r *Result) judgeRow(row *Row, mixed bool, slack float64) RowResult {
	out := RowResult{Name: row.Name, Matrix: row.Matrix, Doc: row.Doc, Seen: map[string]int64{}}
	var pauses []time.Duration
	for _, f := range r.Faults {
		if f.Row != row.Name {
			continue
		}
		out.Faults++
		if f.Restart > 0 && f.Beside == "" {
			pauses = append(pauses, duration(f.Pause))
		}
	}
	out.Pause = pause.Of(pauses)
	for _, l := range []struct {
		what   string
		is     float64
		limit  time.Duration
		to     *float64
		enough int
	}{
		{"p50", out.Pause.P50, row.Limit.P50, &out.Limit.P50, enoughForP50},
		{"p99", out.Pause.P99, row.Limit.P99, &out.Limit.P99, enoughForP99},
		{"max", out.Pause.Max, row.Limit.Max, &out.Limit.Max, 0},
	} {
		*l.to = millis(l.limit) * slack
		if l.limit > 0 && len(pauses) >= l.enough && l.is > *l.to {
			out.Slow = append(out.Slow, fmt.Sprintf("publish pause %s %.0f ms, allowed are %.0f", l.what, l.is, *l.to))
		}
	}
	for _, m := range row.Must {
		if mixed && m.PerFault < 1 {
			continue
		}
		if mixed {
			m.Most = -1
		}
		out.Must = append(out.Must, m)
		least := int64(math.Ceil(m.PerFault * float64(out.Faults)))
		n := r.byRow[row.Name][m.Counter]
		out.Seen[m.Counter] = n
		if n < least {
			out.Broken = append(out.Broken, fmt.Sprintf("%s was seen %d times, at least %d are needed: the row shows nothing", m.Counter, n, least))
		} else if m.Most >= 0 && n > m.Most {
			out.Broken = append(out.Broken, fmt.Sprintf("%s was seen %d times, at most %d are allowed", m.Counter, n, m.Most))
		}
	}
	return out
}

// seen says for people what the evidence is.
func (row *RowResult) seen() string {
	var words []string
	for _, m := range row.Must {
		words = append(words, fmt.Sprintf("%s %d", strings.ReplaceAll(m.Counter, "_", " "), row.Seen[m.Counter]))
	}
	if len(words) == 0 {
		return ""
	}
	return "; " + strings.Join(words, ", ")
}
