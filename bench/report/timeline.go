package report

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/results"
)

// maxSteps bounds the points of a timeline; a longer one shows means of several seconds, so that no dip is left out.
const maxSteps = 600

// panelHeight is the least height of one of several panels.
const panelHeight = 1.05 * vg.Inch

// throughput draws the rates over time: published and consumed in a panel each; if there were faults, each system in a panel
// of its own, since each has its faults at its own times.
func throughput(b results.Block, looks map[string]look) (drawing, bool) {
	d := drawing{slug: "throughput", title: b.Workload + ": throughput over time", width: plotWidth}
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
		d.note = "Messages a second in the median round. Higher is better. Each system's own faults."
		d.keys = []key{
			{"published", look{color: muted}, stroke}, {"consumed", look{color: muted, dash: consumedDash()}, stroke}, {"node away", look{color: down}, box},
		}
	} else {
		panels = panelPerDirection(shown)
		d.note = "Messages a second in the median round. Higher is better."
		for _, s := range shown {
			d.keys = append(d.keys, key{s.label, s.look, stroke})
		}
	}
	align(panels, shown)
	d.height = max(plotHeight, vg.Length(len(panels))*panelHeight+0.9*vg.Inch)
	d.body = func(c draw.Canvas) error { drawColumn(c, panels); return nil }
	return d, true
}

// timeline is what one system shows over time.
type timeline struct {
	label string
	look  look
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
		p, some := panel(direction.title), false
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
		p := panel(s.label)
		p.Title.TextStyle.Color = s.look.color
		p.Add(away(s.run.Faults))
		takes := s.line(consumed)
		takes.Color, takes.Dashes, takes.Width = lighter(s.look.color, 1), consumedDash(), 1.2
		line := s.line(published)
		line.Dashes = nil
		p.Add(takes, line)
		panels = append(panels, p)
	}
	return panels
}

func consumedDash() []vg.Length { return []vg.Length{3, 2} }

func panel(title string) *plot.Plot {
	p := axes(lines{})
	p.Title.Text = title
	p.Title.TextStyle = letters(9, muted, true)
	p.Title.TextStyle.XAlign, p.Title.TextStyle.YAlign = draw.XCenter, draw.YTop
	p.Title.Padding = 3
	return p
}

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
	style := draw.LineStyle{Color: s.look.color, Width: 1.5, Dashes: s.look.dash}
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
	seconds, _ := fromZero(max(last, 1), 8, shortCount)
	for i, p := range panels {
		p.X.Min, p.X.Max, p.Y.Min = first, max(last, first+1), 0
		p.Y.Tick.Marker, p.Y.Max = fromZero(top, steps, shortCount)
		p.X.Tick.Marker = seconds
		if i == len(panels)-1 {
			p.X.Label.Text = "seconds"
		}
	}
}

// drawColumn draws plots below each other with their axes in line.
func drawColumn(c draw.Canvas, panels []*plot.Plot) {
	rows := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		rows[i] = []*plot.Plot{p}
	}
	for i, tile := range plot.Align(rows, draw.Tiles{Rows: len(panels), Cols: 1, PadY: 6}, c) {
		panels[i].Draw(tile[0])
	}
}

// away marks the times in which a node was gone or hung.
type away []results.Fault

// Plot draws a band from each fault to the node's return, and a line where it began.
func (a away) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	for _, f := range a {
		if f.At < p.X.Min || f.At > p.X.Max {
			continue
		}
		from, to := x(f.At), x(min(max(f.Back, f.At), p.X.Max))
		fill(c, down, from, c.Min.Y, max(to, from+1), c.Max.Y)
		c.StrokeLine2(draw.LineStyle{Color: color.NRGBA{R: 0x8A, G: 0x94, B: 0xA1, A: 255}, Width: 0.9}, from, c.Min.Y, from, c.Max.Y)
	}
}
