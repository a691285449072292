package report

import (
	"cmp"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

// maxSteps bounds the points of a timeline; a longer one shows means of several seconds, so that no dip is left out.
const maxSteps = 600

// throughput draws the rates over time: published and consumed in a panel each; if there were faults, each system in a panel
// of its own, since each has its faults at its own times.
func throughput(b results.Block, looks map[string]drawing.Look) (drawing.Drawing, bool) {
	d := drawing.Drawing{Slug: "throughput", Title: b.Workload + ": throughput over time", Width: drawing.Width}
	var shown []timeline
	faults := false
	for i := range b.Columns {
		c := &b.Columns[i]
		runs, label := counting(c), c.Label
		if len(runs) == 0 {
			runs, label = c.Runs, c.Label+" (does not count)"
		}
		r := middle(runs, func(r *results.Run) (float64, bool) { return r.PublishRate, len(r.Timeline) > 0 })
		if r != nil {
			shown = append(shown, timeline{label, looks[c.Label], r})
			faults = faults || len(r.Faults) > 0
		}
	}
	if len(shown) == 0 {
		return d, false
	}
	var panels []*plot.Plot
	if faults {
		panels = panelPerSystem(shown)
		d.Note = "Messages a second in the median round. Higher is better. Each system's own faults."
		d.Keys = []drawing.Key{
			{Label: "published", Look: drawing.Look{Color: drawing.Muted}, Shape: drawing.Stroke},
			{Label: "consumed", Look: drawing.Look{Color: drawing.Muted, Dash: consumedDash()}, Shape: drawing.Stroke},
			{Label: "node away", Look: drawing.Look{Color: drawing.Down}, Shape: drawing.Box},
		}
	} else {
		panels = panelPerDirection(shown)
		d.Note = "Messages a second in the median round. Higher is better."
		for _, s := range shown {
			d.Keys = append(d.Keys, drawing.Key{Label: s.label, Look: s.look, Shape: drawing.Stroke})
		}
	}
	align(panels, shown)
	d.Height = max(drawing.Height, vg.Length(len(panels))*drawing.PanelHeight+0.9*vg.Inch)
	d.Body = func(c draw.Canvas) error { drawing.Column(c, panels); return nil }
	return d, true
}

// timeline is what one system shows over time.
type timeline struct {
	label string
	look  drawing.Look
	run   *results.Run
}

func published(p *results.Point) float64 { return p.Published }
func consumed(p *results.Point) float64  { return p.Consumed }

func panelPerDirection(shown []timeline) []*plot.Plot {
	var panels []*plot.Plot
	for _, direction := range []struct {
		title string
		of    func(*results.Point) float64
	}{{"published", published}, {"consumed", consumed}} {
		p, some := drawing.Panel(direction.title), false
		for _, s := range shown {
			line := s.line(direction.of)
			for _, pt := range line.XYs {
				some = some || pt.Y > 0
			}
			p.Add(line)
		}
		if some || len(panels) == 0 && direction.title == "published" {
			panels = append(panels, p)
		}
	}
	return panels
}

func panelPerSystem(shown []timeline) []*plot.Plot {
	var panels []*plot.Plot
	for _, s := range shown {
		p := drawing.Panel(s.label)
		p.Title.TextStyle.Color = s.look.Color
		p.Add(away(s.run.Faults))
		takes := s.line(consumed)
		takes.Color, takes.Dashes, takes.Width = drawing.Lighter(s.look.Color, 1), consumedDash(), 1.2
		line := s.line(published)
		line.Dashes = nil
		p.Add(takes, line)
		panels = append(panels, p)
	}
	return panels
}

func consumedDash() []vg.Length { return []vg.Length{3, 2} }

// line is a rate over time in steps: a point is the mean of the time since the one before.
func (s timeline) line(of func(*results.Point) float64) *plotter.Line {
	all := s.run.Timeline
	points := plotter.XYs{{X: max(0, all[0].At-1), Y: max(0, of(&all[0]))}}
	together := (len(all) + maxSteps - 1) / maxSteps
	for from := 0; from < len(all); from += together {
		to, sum := min(from+together, len(all)), 0.0
		for i := range all[from:to] {
			sum += max(0, of(&all[from+i]))
		}
		points = append(points, plotter.XY{X: all[to-1].At, Y: sum / float64(to-from)})
	}
	style := draw.LineStyle{Color: s.look.Color, Width: 1.5, Dashes: s.look.Dash}
	return &plotter.Line{XYs: points, StepStyle: plotter.PreStep, LineStyle: style}
}

// align gives all panels the same axes, so that heights can be compared across them.
func align(panels []*plot.Plot, shown []timeline) {
	var top, last float64
	first := shown[0].run.Timeline[0].At - 1
	for _, s := range shown {
		for _, pt := range s.run.Timeline {
			top, last, first = max(top, pt.Published, pt.Consumed), max(last, pt.At), min(first, pt.At-1)
		}
		for _, f := range s.run.Faults {
			last = max(last, f.Back)
		}
	}
	if first <= 2 {
		first = 0
	}
	steps := 5
	if len(panels) > 2 {
		steps = 3
	}
	seconds, _ := drawing.FromZero(max(last, 1), 8, drawing.ShortCount)
	for i, p := range panels {
		p.X.Min, p.X.Max, p.Y.Min = first, max(last, first+1), 0
		p.Y.Tick.Marker, p.Y.Max = drawing.FromZero(top, steps, drawing.ShortCount)
		p.X.Tick.Marker = seconds
		if i == len(panels)-1 {
			p.X.Label.Text = "seconds"
		}
	}
}

// away are the times in which a node was gone or hung.
func away(faults []results.Fault) drawing.Spans {
	var spans drawing.Spans
	for _, f := range faults {
		spans = append(spans, drawing.Span{From: f.At, To: f.Back})
	}
	slices.SortFunc(spans, func(a, b drawing.Span) int { return cmp.Compare(a.From, b.From) })
	return spans
}
