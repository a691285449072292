package report

import (
	"cmp"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/report/drawing"
)

// faultPanel has a lane for each broker, and one for faults that hit no broker.
func faultPanel(r *Run, looks map[string]drawing.Look) panel {
	if len(r.Faults) == 0 {
		return panel{}
	}
	p := drawing.Panel("faults")
	n := brokers(r)
	l := lanes{run: r, looks: looks, n: n}
	var names drawing.Ticks
	for b := range n {
		names = append(names, plot.Tick{Value: l.y(b + 1), Label: "broker " + itoa(b+1)})
	}
	for _, f := range r.Faults {
		l.others = l.others || len(f.Victims) == 0
	}
	if l.others {
		names = append(names, plot.Tick{Value: l.y(0), Label: "none of them"})
		n++
	}
	p.Y.Min, p.Y.Max, p.Y.Tick.Marker = float64(l.n-n), float64(l.n), names
	p.Add(l)
	return panel{p, 0.35 + 0.24*float64(n)}
}

// lanes draws the faults as boxes in the lanes of their victims.
type lanes struct {
	run    *Run
	looks  map[string]drawing.Look
	n      int // brokers
	others bool
}

// y is the middle of a broker's lane; 0 is that of faults without victims.
func (l lanes) y(broker int) float64 {
	if broker == 0 {
		return -0.5
	}
	return float64(l.n-broker) + 0.5
}

// Plot draws the boxes. A number that would lie over the one before is left out.
func (l lanes) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	label := drawing.Letters(7, drawing.Ink, false)
	label.YAlign = draw.YCenter
	taken := map[int]vg.Length{} // by lane: where the last number ends
	for i, f := range l.run.Faults {
		victims := f.Victims
		if len(victims) == 0 {
			victims = []int{0}
		}
		look := l.looks[f.Row]
		from, harmed, over := x(f.At), x(min(f.harmed(), p.X.Max)), x(min(f.over(), p.X.Max))
		for _, v := range victims {
			mid := y(l.y(v))
			drawing.Fill(c, drawing.Lighter(look.Color, 1), from, mid-6, max(over, from+1.5), mid+6)
			drawing.Fill(c, look.Color, from, mid-6, max(harmed, from+1.5), mid+6)
			number := itoa(i + 1)
			at := max(over, harmed, from+1.5) + 2
			next := c.Max.X
			if i+1 < len(l.run.Faults) {
				next = x(l.run.Faults[i+1].At)
			}
			if end := at + label.Width(number); at >= taken[v] && end < next {
				c.FillText(label, vg.Point{X: at, Y: mid}, number)
				taken[v] = end + 2
			}
		}
	}
}

// pausePanel draws the publish pause of each fault where the fault began, and all other pauses that were measured.
func pausePanel(r *Run, looks map[string]drawing.Look) panel {
	y := drawing.LogRange{Floor: 1}
	var dots []mark
	for _, o := range r.Observed.Pauses {
		dots = append(dots, mark{o.At, o.Took, draw.GlyphStyle{Color: drawing.Muted, Radius: 1.6, Shape: draw.RingGlyph{}}})
	}
	for _, f := range r.Faults {
		if f.Pause > 0 {
			dots = append(dots, mark{f.At, f.Pause, draw.GlyphStyle{Color: looks[f.Row].Color, Radius: 3, Shape: draw.CircleGlyph{}}})
		}
	}
	if len(dots) == 0 {
		return panel{}
	}
	for _, d := range dots {
		y.Hold(d.ms)
	}
	y.Widen()
	p := drawing.Panel("publish pauses: of each fault (dot), of any partition at any time (ring)")
	p.Y.Min, p.Y.Max = y.Lo, y.Hi
	p.Y.Tick.Marker = y.Ticks(func(ms float64) string { return drawing.ShortTime(1000 * ms) })
	p.Add(spans(r), marks{dots, &y})
	return panel{p, 1.5}
}

type mark struct {
	at, ms float64
	style  draw.GlyphStyle
}

type marks struct {
	all []mark
	y   *drawing.LogRange
}

// Plot draws the dots.
func (m marks) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for _, d := range m.all {
		c.DrawGlyph(d.style, vg.Point{X: x(d.at), Y: y(m.y.At(d.ms))})
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func cmpFloat(a, b float64) int { return cmp.Compare(a, b) }
