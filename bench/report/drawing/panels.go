package drawing

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// PanelHeight is the least height of one of several panels.
const PanelHeight = 1.05 * vg.Inch

// panelGap is between two panels.
const panelGap = vg.Length(6)

// Panel is an empty plot with a small title, to stand among others.
func Panel(title string) *plot.Plot {
	p := Axes(Lines{})
	p.Title.Text = title
	p.Title.TextStyle = Letters(9, Muted, true)
	p.Title.TextStyle.XAlign, p.Title.TextStyle.YAlign = draw.XCenter, draw.YTop
	p.Title.Padding = 3
	return p
}

// Column draws plots below each other with their axes in line. They are equally high, or as the shares are to each other.
func Column(c draw.Canvas, panels []*plot.Plot, shares ...float64) {
	rows := make([][]*plot.Plot, len(panels))
	for i, p := range panels {
		rows[i] = []*plot.Plot{p}
	}
	tiles := plot.Align(rows, draw.Tiles{Rows: len(panels), Cols: 1, PadY: panelGap}, c)
	total, top := 0.0, c.Max.Y
	for _, s := range shares {
		total += s
	}
	for i, p := range panels {
		tile := tiles[i][0]
		if len(shares) == len(panels) {
			high := (c.Max.Y - c.Min.Y - panelGap*vg.Length(len(panels)-1)) * vg.Length(shares[i]/total)
			tile.Max.Y, tile.Min.Y = top, top-high
			top -= high + panelGap
		}
		p.Draw(tile)
	}
}

// Span is a time on the X axis of a plot.
type Span struct{ From, To float64 }

// Spans marks times, like those in which a node was away: a band each, and a line where it began. They are in the order of From.
type Spans []Span

// Plot draws the bands. Those that overlap, or stand too close to be told apart, are one.
func (s Spans) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	edge := draw.LineStyle{Color: color.NRGBA{R: Down.R, G: Down.G, B: Down.B, A: 255}, Width: 0.9}
	var from, to vg.Length // of the band that is not drawn yet; none while they are equal
	flush := func() {
		if to > from {
			Fill(c, Down, from, c.Min.Y, to, c.Max.Y)
		}
	}
	last := c.Min.X - 1 // where a line stands
	for _, f := range s {
		if f.From < p.X.Min || f.From > p.X.Max {
			continue
		}
		a := x(f.From)
		b := max(x(min(max(f.To, f.From), p.X.Max)), a+1)
		if to <= from || a > to {
			flush()
			from = a
		}
		to = max(to, b)
		if a-last >= 0.5 {
			c.StrokeLine2(edge, a, c.Min.Y, a, c.Max.Y)
			last = a
		}
	}
	flush()
}
