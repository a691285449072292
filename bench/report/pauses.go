package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

// medianRoom is the place right of the dots for the medians in figures.
const medianRoom = vg.Length(50)

// pauses draws every pause of every fault of all rounds as a dot, with the median as a line across.
func pauses(b results.Block, looks map[string]drawing.Look) (drawing.Drawing, bool) {
	d := drawing.Drawing{Slug: "pauses", Title: b.Workload + ": pauses per fault", Width: drawing.Width}
	d.Note = "Longest time without an answer where the node led, for each fault. Lower is better. Line and figure: median."
	plain := drawing.Look{Color: drawing.Muted}
	d.Keys = []drawing.Key{{Label: "publish", Look: plain, Shape: drawing.Dot}, {Label: "delivery", Look: plain, Shape: drawing.Ring}}
	x := drawing.LogRange{Floor: 1000}
	var rows []pauseRow
	for i := range b.Columns {
		c := &b.Columns[i]
		for _, kind := range []pauseRow{
			{label: c.Label, of: results.PublishPauses, shape: draw.CircleGlyph{}}, {label: c.Label, of: results.DeliveryPauses, shape: draw.RingGlyph{}},
		} {
			for _, r := range counting(c) {
				for _, ms := range kind.of(r) {
					kind.us = append(kind.us, 1000*ms)
					x.Hold(1000 * ms)
				}
			}
			if kind.look = looks[c.Label]; len(kind.us) > 0 {
				rows = append(rows, kind)
			}
		}
	}
	if len(rows) == 0 {
		return d, false
	}
	x.Widen()
	p := drawing.Axes(drawing.Lines{Upright: true})
	p.X.Min, p.X.Max, p.X.Tick.Marker = x.Lo, x.Hi, x.Ticks(drawing.ShortTime)
	p.Y.Min, p.Y.Max = 0, float64(len(rows))
	var names drawing.Ticks
	for i := range rows {
		rows[i].y, rows[i].x = float64(len(rows)-i)-0.5, &x
		p.Add(rows[i])
		if i > 0 && rows[i].label == rows[i-1].label {
			names[len(names)-1].Value = (rows[i-1].y + rows[i].y) / 2 // one name for both rows
			continue
		}
		names = append(names, plot.Tick{Value: rows[i].y, Label: rows[i].label})
	}
	p.Y.Tick.Marker = names
	d.Height = max(2.6*vg.Inch, vg.Length(len(rows))*0.34*vg.Inch+1.1*vg.Inch)
	d.Body = func(c draw.Canvas) error { p.Draw(draw.Crop(c, 0, -medianRoom, 0, 0)); return nil }
	return d, true
}

// pauseRow is one kind of pause of one system.
type pauseRow struct {
	label string
	look  drawing.Look
	of    func(*results.Run) []float64
	shape draw.GlyphDrawer
	us    []float64
	y     float64
	x     *drawing.LogRange
}

// Plot draws the dots, one above the other in a fixed pattern so that equal ones are seen, and the median.
func (r pauseRow) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, us := range r.us {
		shift := vg.Length(i*7%11-5) * 0.9
		glyph := draw.GlyphStyle{Color: r.look.Color, Radius: 2.3, Shape: r.shape}
		c.DrawGlyphNoClip(glyph, vg.Point{X: x(r.x.At(us)), Y: y(r.y) + shift})
	}
	median := results.Quantile(r.us, 0.5)
	at := x(r.x.At(median))
	c.StrokeLine2(draw.LineStyle{Color: drawing.Ink, Width: 1.6}, at, y(r.y)-9, at, y(r.y)+9)
	style := drawing.Letters(9, drawing.Ink, false)
	style.YAlign = draw.YCenter
	c.FillText(style, vg.Point{X: c.Max.X + 8, Y: y(r.y)}, results.Microseconds.Format(median))
}
