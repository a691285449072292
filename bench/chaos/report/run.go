package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/verify"
)

// Run is a result of bench/chaos as result.json has it.
type Run struct {
	Seed     uint64  `json:"seed"`
	Replay   string  `json:"replay"`
	Faults   []Fault `json:"faults"`
	Hit      int     `json:"brokers_hit"`
	Seconds  float64 `json:"seconds"`
	Sent     int64   `json:"sent"`
	Acked    int64   `json:"acked"`
	Got      int64   `json:"delivered"`
	ReadBack int64   `json:"read_back"`

	Lost        int64 `json:"lost"`
	Duplicated  int64 `json:"duplicated"`
	Redelivered int64 `json:"redelivered"`
	LostTurns   int64 `json:"lost_turns"`
	Reordered   int64 `json:"reordered"`
	Phantom     int64 `json:"phantom"`
	Unanswered  int64 `json:"unanswered"`
	Diverged    int64 `json:"diverged"`

	Rows       []Row                      `json:"rows"`
	Counts     map[string]int64           `json:"counts"`
	RealTime   verify.Findings            `json:"real_time"`
	Checks     map[string]verify.Findings `json:"checks"`
	Compared   Compared                   `json:"compared"`
	Pause      pause.Stats                `json:"pause_ms"`
	Restart    pause.Stats                `json:"restart_ms"`
	CatchUp    pause.Stats                `json:"catch_up_ms"`
	Log        []LogLine                  `json:"log"`
	Violations []string                   `json:"violations"`
	Observed   observe.Report             `json:"observed"`
}

// Fault is one that was made. Times but At, Wait and Hold are milliseconds.
type Fault struct {
	Row       string        `json:"row"`
	Fault     string        `json:"fault"`
	Target    string        `json:"target"`
	Victims   []int         `json:"victims"`
	Beside    string        `json:"beside"`
	Partition int           `json:"partition"`
	Again     bool          `json:"again"`
	Rush      bool          `json:"rush"`
	Wait      time.Duration `json:"wait"`
	Hold      time.Duration `json:"hold"`

	At      float64 `json:"at_s"`
	Lasted  float64 `json:"lasted_ms"`
	Acked   int64   `json:"acked"`
	Pause   float64 `json:"pause_ms"`
	Restart float64 `json:"restart_ms"` // 0: it was followed by another one before the brokers were back
	CatchUp float64 `json:"catch_up_ms"`
}

// Row is what a row of the matrix showed.
type Row struct {
	Name   string           `json:"name"`
	Matrix string           `json:"matrix"`
	Doc    string           `json:"doc"`
	Faults int              `json:"faults"`
	Pause  pause.Stats      `json:"pause_ms"`
	Limit  pause.Stats      `json:"limit_ms"`
	Must   []Evidence       `json:"must"`
	Seen   map[string]int64 `json:"seen"` // of the counters in Must; a result without it has them in Run.Counts
	Broken []string         `json:"broken"`
	Slow   []string         `json:"slow"` // limits of pauses that were not kept
}

// Evidence is how often something must have happened: PerFault times for each fault, at most Most times in all, unless that is
// negative.
type Evidence struct {
	Counter  string
	PerFault float64
	Most     int64
}

// counts returns what the row's evidence is judged by.
func (row *Row) counts(r *Run) map[string]int64 {
	if row.Seen != nil {
		return row.Seen
	}
	return r.Counts
}

// Compared is how much of the replicas' files was compared byte for byte.
type Compared struct {
	Partitions int      `json:"partitions"`
	Bytes      int64    `json:"bytes"` // of one replica
	Differ     []string `json:"differ"`
}

// LogLine is what brokers said, and how often.
type LogLine struct {
	Level   string `json:"level"`
	Message string `json:"message"`
	Count   int    `json:"count"`
}

// Of takes over a result of bench/chaos, by its JSON.
func Of(result any) (*Run, error) {
	text, err := json.Marshal(result)
	if err != nil {
		return nil, fmt.Errorf("chaos report: %w", err)
	}
	r := &Run{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("chaos report: this is no result of a chaos run: %w", err)
	}
	return r, nil
}

// Read takes over a stored result.
func Read(path string) (*Run, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("chaos report: %w", err)
	}
	r, err := Of(json.RawMessage(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// OK reports whether every promise held.
func (r *Run) OK() bool { return len(r.Violations) == 0 }

// checked reports whether the run came as far as comparing everything with everything.
func (r *Run) checked() bool { return r.Compared.Partitions > 0 }

// rows are those of the result; of a result without any, what can be told from its faults.
func (r *Run) rows() []Row {
	if len(r.Rows) > 0 {
		return r.Rows
	}
	var rows []Row
	pauses := map[string][]time.Duration{}
	for _, f := range r.Faults {
		i := slices.IndexFunc(rows, func(row Row) bool { return row.Name == f.Row })
		if i < 0 {
			i, rows = len(rows), append(rows, Row{Name: f.Row})
		}
		rows[i].Faults++
		if f.Restart > 0 {
			pauses[f.Row] = append(pauses[f.Row], time.Duration(f.Pause*float64(time.Millisecond)))
		}
	}
	for i := range rows {
		rows[i].Pause = pause.Of(pauses[rows[i].Name])
	}
	return rows
}

// harmed is when the victims were let go, in seconds.
func (f *Fault) harmed() float64 { return f.At + max(f.Lasted/1000, f.Hold.Seconds()) }

// over is when everything was as before, in seconds.
func (f *Fault) over() float64 { return f.harmed() + (f.Restart+f.CatchUp)/1000 }
