package report

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

const (
	barHeight = vg.Length(14)
	groupGap  = vg.Length(9)
)

// overview are the plots over all workloads: how many times better the first system is than each other one.
func overview(c results.Comparison) []drawing.Drawing {
	var all []drawing.Drawing
	for _, chart := range []struct{ slug, title, note string }{
		{"ratio-throughput", "Throughput, compared", "Publish rate, or drain rate of a backlog, where the workload asked for as much as possible."},
		{"ratio-publish-p99", "Publish latency p99, compared", "From the intended send time to the acknowledgement, each system at its own rate."},
		{"ratio-end-to-end-p99", "End-to-end latency p99, compared", "From the intended send time to the delivery, each system at its own rate."},
	} {
		key := chart.slug[len("ratio-"):]
		if d, ok := ratios(c, func(b results.Block) string { return figureFor(b, key) }); ok {
			d.Slug, d.Title, d.Note = chart.slug, chart.title, chart.note
			all = append(all, d)
		}
	}
	return all
}

// figureFor is the key of the figure that a chart shows of a workload; empty: nothing.
func figureFor(b results.Block, chart string) string {
	switch chart {
	case "publish-p99":
		return "publish_p99"
	case "end-to-end-p99":
		return "end_to_end_p99"
	}
	if f := b.Headline(); f.Better == results.Higher {
		return f.Key
	}
	return ""
}

// ratioBar is one peer under one workload.
type ratioBar struct {
	group string // workload
	look  drawing.Look
	ratio results.Ratio
	y     vg.Length // from the top
}

// ratios draws a bar per workload and peer, from 1 to the ratio, on a logarithmic scale.
func ratios(c results.Comparison, keyOf func(results.Block) string) (drawing.Drawing, bool) {
	all := looks(c)
	d := drawing.Drawing{Width: 2 * drawing.Width * 0.62}
	var bars []ratioBar
	x := drawing.LogRange{Floor: 1e-4}
	first, y := "the first system", vg.Length(0)
	for _, b := range c.Blocks {
		begun := false
		for _, col := range b.Columns {
			cell, ok := col.Cells[keyOf(b)]
			if !ok || cell.Ratio == nil {
				continue
			}
			if !begun {
				y, first, begun = y+groupGap, b.Columns[0].Label, true
			}
			bars = append(bars, ratioBar{group: b.Workload, look: all[col.Label], ratio: *cell.Ratio, y: y + barHeight/2})
			y += barHeight
			x.Hold(cell.Ratio.Min)
			x.Hold(cell.Ratio.Max)
			d.AddKey(drawing.Key{Label: col.Label, Look: all[col.Label], Shape: drawing.Box})
		}
	}
	if len(bars) == 0 {
		return d, false
	}
	x.Hold(0.8)
	x.Hold(1.25)
	x.Lo, x.Hi = x.Lo-0.18*(x.Hi-x.Lo), x.Hi+0.18*(x.Hi-x.Lo) // for the labels
	x.Widen()
	d.Height = y + groupGap + 110
	d.Body = func(cv draw.Canvas) error { drawRatios(cv, bars, &x, first); return nil }
	return d, true
}

func drawRatios(c draw.Canvas, bars []ratioBar, x *drawing.LogRange, first string) {
	p := drawing.Axes(drawing.Lines{Upright: true})
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = x.Lo, x.Hi, -float64(bars[len(bars)-1].y+barHeight/2+groupGap), 0
	p.X.Tick.Marker = x.Ticks(func(v float64) string { return fmt.Sprintf("%gx", round(v)) })
	p.X.Label.Text = fmt.Sprintf("times better; right of 1x %s is better, left of it the other", first)
	var names drawing.Ticks
	for from := 0; from < len(bars); {
		to := from + 1
		for to < len(bars) && bars[to].group == bars[from].group {
			to++
		}
		names = append(names, plot.Tick{Value: -float64(bars[from].y+bars[to-1].y) / 2, Label: bars[from].group})
		from = to
	}
	p.Y.Tick.Marker = names
	p.Add(ratioBars{bars, x})
	p.Draw(c)
}

// round takes away what a float adds to powers of ten.
func round(v float64) float64 {
	digits := math.Pow(10, 2-math.Floor(math.Log10(v)))
	return math.Round(v*digits) / digits
}

type ratioBars struct {
	bars []ratioBar
	x    *drawing.LogRange
}

// Plot draws the bars, the line at 1x, and each ratio beside its bar.
func (r ratioBars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	one := x(0)
	for _, b := range r.bars {
		at, mid := x(r.x.At(b.ratio.Median)), y(-float64(b.y))
		drawing.Fill(c, b.look.Color, min(one, at), mid-5, max(one, at), mid+5)
		lo, hi := x(r.x.At(b.ratio.Min)), x(r.x.At(b.ratio.Max))
		whisker(c, lo, hi, mid)
		label := drawing.Letters(8, drawing.Ink, false)
		label.YAlign = draw.YCenter
		if b.ratio.Median >= 1 {
			c.FillText(label, vg.Point{X: max(hi, one) + 4, Y: mid}, b.ratio.String())
		} else {
			label.XAlign = draw.XRight
			c.FillText(label, vg.Point{X: min(lo, one) - 4, Y: mid}, b.ratio.String())
		}
	}
	c.StrokeLine2(draw.LineStyle{Color: drawing.Ink, Width: 1}, one, c.Min.Y, one, c.Max.Y)
}
