package report

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/report/drawing"
)

var (
	//go:embed page.html
	pageText string
	//go:embed matrix.html
	matrixText string
)

// maxName bounds the part of a file's name that rows give it.
const maxName = 60

// few faults are shown at once; of more the table is folded.
const few = 60

// HTML writes the page of a run, which needs nothing but itself.
func HTML(w io.Writer, r *Run) error {
	p := pageOf(r)
	if d, ok := overTime(r); ok {
		var err error
		if p.Figures, err = drawing.Figures([]drawing.Drawing{d}); err != nil {
			return fmt.Errorf("chaos report: %w", err)
		}
	}
	return execute(w, pageText, p)
}

// Entry is a run of a matrix and where its page is, seen from the overview; an empty link is none.
type Entry struct {
	Run  *Run
	Link string
}

// Matrix writes an overview of runs, in their order.
func Matrix(w io.Writer, runs []Entry) error {
	pages := make([]page, len(runs))
	for i, e := range runs {
		pages[i] = pageOf(e.Run)
		pages[i].Link = e.Link
	}
	return execute(w, matrixText, pages)
}

// Leave writes a page of each run and the overview into dir, which it makes if need be, and returns the overview's path.
func Leave(dir string, runs []*Run) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("chaos report: %w", err)
	}
	var entries []Entry
	for i, r := range runs {
		slug := drawing.Slug(r.name())
		name := fmt.Sprintf("%d-%s-seed-%d.html", i+1, slug[:min(len(slug), maxName)], r.Seed)
		if err := write(filepath.Join(dir, name), func(w io.Writer) error { return HTML(w, r) }); err != nil {
			return "", err
		}
		entries = append(entries, Entry{r, name})
	}
	index := filepath.Join(dir, "index.html")
	return index, write(index, func(w io.Writer) error { return Matrix(w, entries) })
}

func write(path string, content func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("chaos report: %w", err)
	}
	return errors.Join(content(f), f.Close())
}

func execute(w io.Writer, text string, data any) error {
	t, err := drawing.Page(text, template.FuncMap{
		"count": func(n any) string { return count(number(n)) },
		"ms":    milliseconds,
		"mib":   func(bytes int64) string { return fmt.Sprintf("%.0f", float64(bytes)/(1<<20)) },
		"inc":   func(i int) int { return i + 1 },
	})
	if err == nil {
		err = t.Execute(w, data)
	}
	if err != nil {
		return fmt.Errorf("chaos report: %w", err)
	}
	return nil
}

func number(n any) int64 {
	if i, ok := n.(int); ok {
		return int64(i)
	}
	return n.(int64)
}

func milliseconds(ms float64) string {
	if ms >= 10_000 {
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

// page is what the templates show.
type page struct {
	Run      *Run
	Name     string
	Link     string
	Promises []promise
	Figures  []drawing.Figure
	Rows     []rowView
	Times    []timesView
	Counts   []countView
	Few      bool
}

type rowView struct {
	Row
	Pauses   [3]pauseView
	Evidence []evidenceView
}

type pauseView struct {
	Is, Limit string // no limit: empty
	Over      bool
}

type evidenceView struct {
	Counter string
	Seen    int64
	Wanted  string
	Held    bool
}

type timesView struct {
	Name string
	pause.Stats
}

type countView struct {
	Name, Doc string
	Times     int64
}

func pageOf(r *Run) page {
	p := page{Run: r, Name: r.name(), Promises: r.promises(), Few: len(r.Faults) <= few}
	for _, row := range r.rows() {
		p.Rows = append(p.Rows, viewOf(row, row.counts(r)))
	}
	p.Times = []timesView{{"publish pause", r.Pause}, {"from the start of the processes until ready", r.Restart}, {"from then until caught up", r.CatchUp}}
	counts := maps.Clone(r.Observed.Totals)
	if counts == nil {
		counts = map[string]int64{}
	}
	maps.Copy(counts, r.Counts)
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		p.Counts = append(p.Counts, countView{name, docOf(name), counts[name]})
	}
	return p
}

func viewOf(row Row, counts map[string]int64) rowView {
	v := rowView{Row: row}
	for i, is := range [3][2]float64{{row.Pause.P50, row.Limit.P50}, {row.Pause.P99, row.Limit.P99}, {row.Pause.Max, row.Limit.Max}} {
		v.Pauses[i] = pauseView{Is: milliseconds(is[0]), Over: is[1] > 0 && is[0] > is[1]}
		if is[1] > 0 {
			v.Pauses[i].Limit = milliseconds(is[1])
		}
	}
	for _, e := range row.Must {
		wanted := "at least " + count(e.least(row.Faults))
		if e.Most >= 0 {
			wanted += ", at most " + count(e.Most)
		}
		v.Evidence = append(v.Evidence, evidenceView{e.Counter, counts[e.Counter], wanted, e.held(counts, row.Faults)})
	}
	return v
}

// docOf explains a counter of the observer; the faults' own are named after what they count.
func docOf(name string) string {
	for _, c := range observe.Counters {
		if c.Name == name || c.Label != "" && strings.HasPrefix(name, c.Name+"_") {
			return c.Doc
		}
	}
	return ""
}

// name is that of the rows that were mixed.
func (r *Run) name() string {
	var names []string
	for _, row := range r.rows() {
		names = append(names, row.Name)
	}
	if len(names) == 0 {
		return "no fault"
	}
	return strings.Join(names, ", ")
}

// Back reports whether the brokers came back before the next fault.
func (f *Fault) Back() bool { return f.Restart > 0 || f.CatchUp > 0 }
