package drawing

import (
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The inks. The page replaces them by its own, so that plots follow a dark theme; PNGs keep them.
var (
	Ink   = color.NRGBA{R: 0x1F, G: 0x29, B: 0x33, A: 255}
	Muted = color.NRGBA{R: 0x5F, G: 0x6C, B: 0x7B, A: 255}
	grid  = color.NRGBA{R: 0xDD, G: 0xE2, B: 0xE8, A: 255}
	minor = color.NRGBA{R: 0xEE, G: 0xF1, B: 0xF4, A: 255}
	Down  = color.NRGBA{R: 0x8A, G: 0x94, B: 0xA1, A: 70} // a node is away
)

// Hues are those of Okabe and Ito, told apart by colour-blind people. The first four belong to the drivers of this repository.
var Hues = []color.NRGBA{
	{R: 0x00, G: 0x72, B: 0xB2, A: 255}, // trunkline
	{R: 0xD5, G: 0x5E, B: 0x00, A: 255}, // jetstream
	{R: 0x00, G: 0x9E, B: 0x73, A: 255}, // kafka
	{R: 0xCC, G: 0x79, B: 0xA7, A: 255}, // rabbitmq
	{R: 0x56, G: 0xB4, B: 0xE9, A: 255},
	{R: 0xE6, G: 0x9F, B: 0x00, A: 255},
	{R: 0x88, G: 0x22, B: 0x55, A: 255},
	{R: 0x99, G: 0x99, B: 0x33, A: 255},
}

// Look is how a system appears in every plot.
type Look struct {
	Color color.NRGBA
	Dash  []vg.Length // nil: solid
}

// Lighter mixes a colour with white, more with each profile.
func Lighter(c color.NRGBA, shade int) color.NRGBA {
	part := min(float64(shade)*0.4, 0.7)
	mix := func(v uint8) uint8 { return v + uint8(part*float64(255-v)) }
	return color.NRGBA{R: mix(c.R), G: mix(c.G), B: mix(c.B), A: c.A}
}

// Faint makes a colour a background for the same colour.
func Faint(c color.NRGBA) color.NRGBA {
	c.A = 70
	return c
}

// Letters is the style of text at a size; bold if wanted.
func Letters(size vg.Length, c color.Color, bold bool) text.Style {
	f := font.From(plot.DefaultFont, size)
	f.Variant = "Sans"
	if bold {
		f.Weight = 3 // golang.org/x/image/font.WeightBold
	}
	return text.Style{Color: c, Font: f, Handler: plot.DefaultTextHandler, YAlign: draw.YBottom}
}

// Axes is an empty plot in our style, with a grid behind the data.
func Axes(behind Lines) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.LineStyle = draw.LineStyle{Color: Muted, Width: 0.6}
		a.Tick.LineStyle = draw.LineStyle{Color: Muted, Width: 0.6}
		a.Tick.Length = 3
		align, valign := a.Tick.Label.XAlign, a.Tick.Label.YAlign
		a.Tick.Label = Letters(9, Muted, false)
		a.Tick.Label.XAlign, a.Tick.Label.YAlign = align, valign
		a.Label.TextStyle = Letters(9, Muted, false)
		a.Label.TextStyle.XAlign = draw.XCenter
		a.Label.Padding = 2
		a.Padding = 0
	}
	p.Y.LineStyle.Width = 0
	p.Y.Tick.LineStyle.Width = 0
	p.Add(behind)
	return p
}

// Lines is the grid: major lines at labelled ticks, fainter ones between.
type Lines struct {
	Upright bool // only the lines of the X axis; for plots whose rows are names
}

// Plot draws the grid.
func (l Lines) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, t := range p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max) {
		if t.Value >= p.X.Min && t.Value <= p.X.Max {
			c.StrokeLine2(gridLine(t), x(t.Value), c.Min.Y, x(t.Value), c.Max.Y)
		}
	}
	if l.Upright {
		return
	}
	for _, t := range p.Y.Tick.Marker.Ticks(p.Y.Min, p.Y.Max) {
		if t.Value >= p.Y.Min && t.Value <= p.Y.Max {
			c.StrokeLine2(gridLine(t), c.Min.X, y(t.Value), c.Max.X, y(t.Value))
		}
	}
}

func gridLine(t plot.Tick) draw.LineStyle {
	if t.IsMinor() {
		return draw.LineStyle{Color: minor, Width: 0.5}
	}
	return draw.LineStyle{Color: grid, Width: 0.6}
}
