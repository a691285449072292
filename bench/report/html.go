package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/trunkline/trunkline/bench/driver"
	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

//go:embed page.html
var pageText string

// HTML writes one page about some files that needs nothing but itself: no network, no other file.
func HTML(w io.Writer, files []*results.File) error {
	page, err := pageOf(files)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	t, err := drawing.Page(pageText, nil)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if err := t.Execute(w, page); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// page is what the template shows.
type page struct {
	Files    []fileHead
	Systems  []systemRow
	Missing  []results.NotMeasured
	Overview []drawing.Figure
	Sections []section
	Several  bool // files
}

type fileHead struct {
	Letter  string
	Created string
	Command string
	Env     results.Environment
	Runs    int
}

// systemRow is what people have to know of a system before they compare it.
type systemRow struct {
	Label string
	Color template.CSS
	About driver.About
}

type section struct {
	ID, Workload, Doc, Note string
	Columns                 []columnHead
	Rows                    []tableRow
	Reasons                 []string
	Examples                []string
	Figures                 []drawing.Figure
}

type columnHead struct {
	Label       string // "driver" in a line, "profile [file]" in the next
	Profile     string
	Color       template.CSS
	OK, Rounds  int
	Durable     string // "durable", "not durable", or nothing
	NotMeasured string
}

type tableRow struct {
	Name, Better string
	Head         bool // the workload's headline
	Cells        []tableCell
}

type tableCell struct {
	Value, Spread string // Spread: over rounds
	Ratio         string // empty: the first system, or nothing to compare
	Class         string // of the ratio: "better", "worse" or "same"
}

func pageOf(files []*results.File) (*page, error) {
	c := results.Compare(files...)
	all := looks(c)
	p := &page{Several: len(files) > 1}
	for i, f := range files {
		p.Files = append(p.Files, fileHead{
			Letter: c.Files[i].Letter, Created: f.Created.UTC().Format("2006-01-02 15:04 MST"), Command: f.Command, Env: f.Environment, Runs: len(f.Runs),
		})
		for _, n := range f.NotMeasured {
			if !slices.Contains(p.Missing, n) {
				p.Missing = append(p.Missing, n)
			}
		}
	}
	p.Systems = systemsOf(c, all)
	var err error
	if p.Overview, err = drawing.Figures(overview(c)); err != nil {
		return nil, err
	}
	for i, b := range c.Blocks {
		s, err := sectionOf(b, all)
		if err != nil {
			return nil, err
		}
		s.ID = fmt.Sprintf("w%d", i+1)
		p.Sections = append(p.Sections, s)
	}
	return p, nil
}

func systemsOf(c results.Comparison, all map[string]drawing.Look) []systemRow {
	var rows []systemRow
	for _, b := range c.Blocks {
		for _, col := range b.Columns {
			known := slices.ContainsFunc(rows, func(r systemRow) bool { return r.Label == col.Label })
			if !known && len(col.Runs) > 0 {
				rows = append(rows, systemRow{Label: col.Label, Color: css(all[col.Label]), About: col.Runs[0].About})
			}
		}
	}
	return rows
}

func css(l drawing.Look) template.CSS { return template.CSS(drawing.Hex(l.Color)) }

func sectionOf(b results.Block, all map[string]drawing.Look) (section, error) {
	s := section{Workload: b.Workload, Doc: b.Doc, Note: b.Note}
	for _, c := range b.Columns {
		name, profile, _ := strings.Cut(c.Label, ":")
		head := columnHead{Label: name, Profile: profile, Color: css(all[c.Label]), OK: c.OK, Rounds: len(c.Runs), NotMeasured: c.NotMeasured}
		if len(c.Runs) > 0 {
			head.Durable = map[bool]string{true: "durable", false: "not durable"}[c.Runs[0].About.Durable]
		}
		s.Columns = append(s.Columns, head)
		for _, r := range c.Reasons {
			s.Reasons = append(s.Reasons, c.Label+", "+r)
		}
		for _, r := range c.Runs {
			for _, e := range r.Checked.Examples {
				s.Examples = append(s.Examples, fmt.Sprintf("%s, round %d: %s", c.Label, r.Round, e))
			}
		}
	}
	for _, f := range results.Figures() {
		if row, some := rowOf(b, f); some {
			s.Rows = append(s.Rows, row)
		}
	}
	var err error
	s.Figures, err = drawing.Figures(plots(b, all))
	return s, err
}

func rowOf(b results.Block, f results.Figure) (tableRow, bool) {
	row, some := tableRow{Name: f.Name, Better: f.Better.String(), Head: f.Key == b.Headline().Key}, false
	for _, c := range b.Columns {
		cell, ok := c.Cells[f.Key]
		if !ok {
			row.Cells = append(row.Cells, tableCell{})
			continue
		}
		some = true
		out := tableCell{Value: f.Unit.Format(cell.Median)}
		if cell.Min != cell.Max {
			_, out.Spread, _ = strings.Cut(f.Unit.FormatSpread(cell.Median, cell.Min, cell.Max), "(")
			out.Spread = strings.TrimSuffix(out.Spread, ")")
		}
		if cell.Ratio != nil {
			out.Ratio, out.Class = cell.Ratio.String(), class(*cell.Ratio)
		}
		row.Cells = append(row.Cells, out)
	}
	return row, some
}

// class is "same" if the spread of the ratio holds 1: the rounds do not agree on who is better.
func class(r results.Ratio) string {
	switch {
	case r.Min > 1:
		return "better"
	case r.Max < 1:
		return "worse"
	default:
		return "same"
	}
}
