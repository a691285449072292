package report

import (
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

// maxPoints bounds the points of a curve; more cannot be told apart at the size of a plot.
const maxPoints = 240

func publishLatency(b results.Block, looks map[string]drawing.Look) (drawing.Drawing, bool) {
	d, ok := latency(b, looks, func(r *results.Run) *results.Latency { return &r.Publish })
	d.Slug, d.Title = "publish-latency", b.Workload+": publish latency"
	d.Note = "From the intended send time to the acknowledgement, by percentile. Lower is better. Faint: every round."
	return d, ok
}

func endToEndLatency(b results.Block, looks map[string]drawing.Look) (drawing.Drawing, bool) {
	d, ok := latency(b, looks, func(r *results.Run) *results.Latency { return &r.EndToEnd })
	d.Slug, d.Title = "end-to-end-latency", b.Workload+": end-to-end latency"
	d.Note = "From the intended send time to the delivery, by percentile. Lower is better. Faint: every round."
	return d, ok
}

// latency draws the percentiles of each system: all rounds faintly, and the round with the median p99.
func latency(b results.Block, looks map[string]drawing.Look, of func(*results.Run) *results.Latency) (drawing.Drawing, bool) {
	d := drawing.Drawing{Width: drawing.Width, Height: drawing.Height}
	p := drawing.Axes(drawing.Lines{})
	p.X.Min, p.X.Max = 0, 2
	y := drawing.LogRange{Floor: 1}
	var bold []plot.Plotter
	for i := range b.Columns {
		c := &b.Columns[i]
		runs := counting(c)
		typical := middle(runs, func(r *results.Run) (float64, bool) { return float64(of(r).P99), of(r).Count > 0 })
		for _, r := range runs {
			points := curve(of(r))
			if len(points) == 0 {
				continue
			}
			for _, pt := range points {
				y.Hold(pt.Y)
				p.X.Max = max(p.X.Max, pt.X)
			}
			line := lineOf(points, looks[c.Label], &y)
			if r == typical {
				line.Width = 1.8
				bold = append(bold, line)
				continue
			}
			line.Width, line.Color = 0.8, drawing.Faint(looks[c.Label].Color)
			p.Add(line)
		}
		if typical != nil {
			d.Keys = append(d.Keys, drawing.Key{Label: c.Label, Look: looks[c.Label], Shape: drawing.Stroke})
		}
	}
	p.Add(bold...)
	y.Widen()
	p.Y.Min, p.Y.Max = y.Lo, y.Hi
	p.X.Tick.Marker, p.Y.Tick.Marker = ninesTicks(p.X.Max), y.Ticks(drawing.ShortTime)
	p.X.Label.Text = "percentile"
	d.Body = func(c draw.Canvas) error { p.Draw(c); return nil }
	return d, len(d.Keys) > 0
}

// lineOf draws points whose Y is logarithmic.
func lineOf(points plotter.XYs, l drawing.Look, y *drawing.LogRange) *plotter.Line {
	at := make(plotter.XYs, len(points))
	for i, pt := range points {
		at[i] = plotter.XY{X: pt.X, Y: y.At(pt.Y)}
	}
	return &plotter.Line{XYs: at, LineStyle: draw.LineStyle{Color: l.Color, Width: 1.5, Dashes: l.Dash}}
}

// curve are the points of a distribution: X on the scale of nines, Y in microseconds. A file without a curve gives those of
// its percentiles.
func curve(l *results.Latency) plotter.XYs {
	if l.Count == 0 {
		return nil
	}
	points := l.Curve
	if len(points) < 2 {
		points = [][2]float64{
			{0, float64(l.Min)}, {50, float64(l.P50)}, {75, float64(l.P75)}, {95, float64(l.P95)}, {99, float64(l.P99)},
			{99.9, float64(l.P999)}, {99.99, float64(l.P9999)}, {100, float64(l.Max)},
		}
	}
	var all plotter.XYs
	for _, pt := range points {
		all = append(all, plotter.XY{X: nines(pt[0], l.Count), Y: pt[1]})
	}
	slices.SortStableFunc(all, func(a, b plotter.XY) int {
		if a.X < b.X || a.X == b.X && a.Y < b.Y {
			return -1
		}
		return 1
	})
	return thin(all)
}

// thin leaves out points that stand closer together than a plot can show, never the last one.
func thin(points plotter.XYs) plotter.XYs {
	if len(points) <= maxPoints {
		return points
	}
	gap := (points[len(points)-1].X - points[0].X) / maxPoints
	kept := points[:1:1]
	for i, pt := range points[1:] {
		if pt.X-kept[len(kept)-1].X >= gap || i == len(points)-2 {
			kept = append(kept, pt)
		}
	}
	return kept
}
