package results

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Comparison is every figure of every system beside the others.
type Comparison struct {
	Files  []FileMark
	Blocks []Block // one a workload, in the order in which they were first run
}

// FileMark names a file in a comparison of several.
type FileMark struct {
	Letter      string // "A", "B", ...; empty if there is only one file
	Created     time.Time
	Command     string
	Environment Environment
	// NotMeasured are the systems without figures, whatever the workload.
	NotMeasured []NotMeasured
}

// Block is one workload.
type Block struct {
	Workload string
	Doc      string // the workload's own line about itself
	Note     string // what a reader has to know before comparing
	Columns  []Column
}

// Column is one system under one workload. The first column is the one that ratios are of: Trunkline if it was measured.
type Column struct {
	System      string
	File        int    // index into Comparison.Files
	Label       string // system, with the file's letter if there are several
	NotMeasured string // why there are no figures; empty if there are
	Runs        []*Run // all rounds, in their order
	OK          int    // rounds that count
	Reasons     []string
	Cells       map[string]Cell // by figure key; no cell: no such figure
}

// Cell is one figure of one system under one workload, over the rounds that are OK.
type Cell struct {
	Median, Min, Max float64 // a pooled figure: of all events together, and the extremes of rounds
	Rounds           int
	Ratio            *Ratio // nil: none, or this is the system that ratios are of
}

// Ratio says how many times better the first system is: above 1 it has the higher rate or the lower latency or cost, below 1
// this one has.
type Ratio struct {
	Median, Min, Max float64
	Rounds           int
	// Paired: computed round by round within one file. Otherwise it is the ratio of the medians of two files, taken at
	// different times, and has no spread.
	Paired bool
}

// String is like "4.2x (3.9..4.6)", or "~4.2x" if it is not paired.
func (r Ratio) String() string {
	switch {
	case !r.Paired:
		return "~" + times(r.Median) + "x"
	case r.Min == r.Max:
		return times(r.Median) + "x"
	default:
		return fmt.Sprintf("%sx (%s..%s)", times(r.Median), times(r.Min), times(r.Max))
	}
}

func times(v float64) string {
	switch {
	case v >= 99.5:
		return fmt.Sprintf("%.0f", v)
	case v >= 0.995:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

// Compare sets the runs of one or more files side by side. Within a file, ratios are taken round by round, against the first
// system of that file; a round in which either side is not OK is in no ratio and no median. A file's first system is compared
// with that of the first file by their medians, and marked as taken at another time.
func Compare(files ...*File) Comparison {
	c := Comparison{Files: make([]FileMark, len(files))}
	var names []string
	for i, f := range files {
		c.Files[i] = FileMark{Created: f.Created, Command: f.Command, Environment: f.Environment, NotMeasured: f.NotMeasured}
		if len(files) > 1 {
			c.Files[i].Letter = letter(i)
		}
		for k := range f.Runs {
			if !slices.Contains(names, f.Runs[k].Workload) {
				names = append(names, f.Runs[k].Workload)
			}
		}
	}
	for _, name := range names {
		c.Blocks = append(c.Blocks, c.block(name, files))
	}
	return c
}

func letter(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return fmt.Sprintf("#%d", i+1)
}

func (c Comparison) block(workload string, files []*File) Block {
	b := Block{Workload: workload}
	var settings settings
	for i, f := range files {
		columns := columnsOf(f, workload)
		for k := range columns {
			columns[k].File = i
			columns[k].Label = columns[k].System
			if c.Files[i].Letter != "" {
				columns[k].Label += " [" + c.Files[i].Letter + "]"
			}
			columns[k].fill()
			if k > 0 {
				columns[k].pair(&columns[0])
			}
			for _, r := range columns[k].Runs {
				settings.add(r.Spec)
				b.Doc = docOf(r.Spec)
			}
		}
		if len(b.Columns) > 0 && len(columns) > 0 {
			columns[0].across(&b.Columns[0])
		}
		b.Columns = append(b.Columns, columns...)
	}
	if differ := settings.differ(); len(differ) > 0 {
		b.Note = "the runs had different settings of this workload: " + strings.Join(differ, "; ")
	}
	return b
}

// columnsOf finds the systems of a file that ran a workload, ours first, and after them those that could not be measured.
func columnsOf(f *File, workload string) []Column {
	var columns []Column
	for i := range f.Runs {
		r := &f.Runs[i]
		if r.Workload != workload {
			continue
		}
		k := slices.IndexFunc(columns, func(c Column) bool { return c.System == r.System })
		if k < 0 {
			k = len(columns)
			columns = append(columns, Column{System: r.System})
		}
		columns[k].Runs = append(columns[k].Runs, r)
	}
	if len(columns) == 0 {
		return nil
	}
	if k := slices.IndexFunc(columns, func(c Column) bool { return Ours(c.System) }); k > 0 {
		ours := columns[k]
		columns = slices.Insert(slices.Delete(columns, k, k+1), 0, ours)
	}
	for _, n := range f.NotMeasured {
		if !slices.ContainsFunc(columns, func(c Column) bool { return c.System == n.System }) {
			columns = append(columns, Column{System: n.System, NotMeasured: n.Why})
		}
	}
	return columns
}

// Ours reports whether a system is Trunkline, whatever its profile.
func Ours(system string) bool {
	name, _, _ := strings.Cut(system, ":")
	return name == "trunkline"
}

// fill computes the column's own figures from its rounds that are OK.
func (c *Column) fill() {
	slices.SortStableFunc(c.Runs, func(a, b *Run) int { return a.Round - b.Round })
	var good []*Run
	for _, r := range c.Runs {
		if r.Verdict == OK {
			good = append(good, r)
			continue
		}
		c.Reasons = append(c.Reasons, fmt.Sprintf("round %d %s: %s", r.Round, r.Verdict, strings.Join(r.Reasons, "; ")))
	}
	c.OK = len(good)
	c.Cells = make(map[string]Cell)
	for _, f := range Figures() {
		var values []float64
		for _, r := range good {
			if v, ok := f.Of(r); ok {
				values = append(values, v)
			}
		}
		if len(values) == 0 {
			continue
		}
		cell := Cell{Median: Median(values), Min: slices.Min(values), Max: slices.Max(values), Rounds: len(values)}
		if f.Pooled {
			cell.Median, _ = f.of(good)
		}
		c.Cells[f.Key] = cell
	}
}

// pair computes the ratios against the first column of the same file, round by round.
func (c *Column) pair(first *Column) {
	for _, f := range Figures() {
		cell, ok := c.Cells[f.Key]
		if !ok {
			continue
		}
		var ratios []float64
		for _, theirs := range c.Runs {
			k := slices.IndexFunc(first.Runs, func(r *Run) bool { return r.Round == theirs.Round })
			if k < 0 || theirs.Verdict != OK || first.Runs[k].Verdict != OK {
				continue
			}
			a, okA := f.Of(first.Runs[k])
			b, okB := f.Of(theirs)
			if r, ok := f.advantage(a, b); ok && okA && okB {
				ratios = append(ratios, r)
			}
		}
		if len(ratios) > 0 {
			cell.Ratio = &Ratio{Median: Median(ratios), Min: slices.Min(ratios), Max: slices.Max(ratios), Rounds: len(ratios), Paired: true}
			c.Cells[f.Key] = cell
		}
	}
}

// across sets the ratio of medians against a column of another file.
func (c *Column) across(first *Column) {
	for _, f := range Figures() {
		cell, ok := c.Cells[f.Key]
		base, okBase := first.Cells[f.Key]
		if r, okRatio := f.advantage(base.Median, cell.Median); ok && okBase && okRatio {
			cell.Ratio = &Ratio{Median: r, Min: r, Max: r, Rounds: 1}
			c.Cells[f.Key] = cell
		}
	}
}

// advantage is how many times better a is than b; false if that cannot be said.
func (f Figure) advantage(a, b float64) (float64, bool) {
	if f.Better == Neither || a <= 0 || b <= 0 {
		return 0, false
	}
	if f.Better == Lower {
		return b / a, true
	}
	return a / b, true
}

// Headline is the figure that a workload is about: the drain rate of a backlog; the latency where the rate was given or well
// below the maximum found; the publish rate otherwise.
func (b Block) Headline() Figure {
	key := "publish_rate"
	for _, c := range b.Columns {
		for _, r := range c.Runs {
			given := r.Maximum == 0 && r.Offered > 0 || r.Maximum > 0 && r.Offered < 0.8*r.Maximum
			switch {
			case r.Verdict != OK:
			case r.DrainRate > 0:
				key = "drain_rate"
			case given && r.EndToEnd.Count > 0:
				key = "end_to_end_p99"
			case given:
				key = "publish_p99"
			}
		}
	}
	f, _ := FigureOf(key)
	return f
}
