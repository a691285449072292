package report

import (
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/observe"
	"github.com/trunkline/trunkline/bench/report/drawing"
)

// maxPoints bounds the points of a curve; more cannot be told apart.
const maxPoints = 1200

const width = 11 * vg.Inch

var (
	ackedLook     = drawing.Look{Color: drawing.Hues[0]}
	deliveredLook = drawing.Look{Color: drawing.Hues[1], Dash: []vg.Length{3, 2}}
)

// overTime draws everything that has a time below each other: who was harmed, throughput, pauses, memory, who leads.
func overTime(r *Run) (drawing.Drawing, bool) {
	d := drawing.Drawing{
		Slug: "timeline", Title: "What happened", Width: width,
		Note: "Boxes: a broker was harmed, then came back (light). Numbers are those of the table of faults. Grey: the same times in the other panels.",
	}
	rows := rowLooks(r)
	for _, row := range r.rows() {
		d.AddKey(drawing.Key{Label: row.Name, Look: rows[row.Name], Shape: drawing.Box})
	}
	all := []panel{faultPanel(r, rows), ratePanel(r), pausePanel(r, rows)}
	if len(r.Observed.Timeline) > 0 {
		d.AddKey(drawing.Key{Label: "acknowledged", Look: ackedLook, Shape: drawing.Stroke})
		d.AddKey(drawing.Key{Label: "delivered", Look: deliveredLook, Shape: drawing.Stroke})
		for b := range brokers(r) {
			d.AddKey(drawing.Key{Label: "broker " + itoa(b+1), Look: drawing.Look{Color: brokerHue(b)}, Shape: drawing.Stroke})
		}
		all = append(all,
			brokerPanel(r, "resident memory, MiB", func(s observe.State) float64 { return float64(s.RSS) / (1 << 20) }),
			brokerPanel(r, "partitions led", func(s observe.State) float64 { return float64(s.Leads) }))
	}
	var panels []*plot.Plot
	var shares []float64
	total := 0.0
	for _, p := range all {
		if p.plot != nil {
			panels, shares, total = append(panels, p.plot), append(shares, p.share), total+p.share
		}
	}
	if len(r.Faults) == 0 && len(r.Observed.Timeline) == 0 {
		return d, false
	}
	alignTimes(r, panels)
	d.Height = vg.Length(total)*vg.Inch + 1.2*vg.Inch
	d.Body = func(c draw.Canvas) error { drawing.Column(c, panels, shares...); return nil }
	return d, true
}

// panel is a plot and its height, in inches.
type panel struct {
	plot  *plot.Plot
	share float64
}

// rowLooks gives each row a colour, from the end of the hues: brokers take theirs from the beginning.
func rowLooks(r *Run) map[string]drawing.Look {
	looks := map[string]drawing.Look{}
	for i, row := range r.rows() {
		looks[row.Name] = drawing.Look{Color: drawing.Hues[len(drawing.Hues)-1-i%len(drawing.Hues)]}
	}
	return looks
}

func brokerHue(b int) color.NRGBA { return drawing.Hues[b%len(drawing.Hues)] }

// brokers is how many there are.
func brokers(r *Run) int {
	n := len(r.Observed.Footprint)
	for _, s := range r.Observed.Timeline {
		n = max(n, len(s.Brokers))
	}
	for _, f := range r.Faults {
		for _, v := range f.Victims {
			n = max(n, v)
		}
	}
	return n
}

// spans are the times from each fault to its end, for the background.
func spans(r *Run) drawing.Spans {
	var all drawing.Spans
	for _, f := range r.Faults {
		all = append(all, drawing.Span{From: f.At, To: f.over()})
	}
	slices.SortFunc(all, func(a, b drawing.Span) int { return cmpFloat(a.From, b.From) })
	return all
}

// alignTimes gives all panels the same time axis.
func alignTimes(r *Run, panels []*plot.Plot) {
	first, last := 0.0, 1.0
	for _, s := range r.Observed.Timeline {
		first, last = min(first, s.At), max(last, s.At)
	}
	for _, f := range r.Faults {
		last = max(last, f.over())
	}
	seconds, _ := drawing.FromZero(last, 10, drawing.ShortCount)
	for i, p := range panels {
		p.X.Min, p.X.Max, p.X.Tick.Marker = first, last, seconds
		if i == len(panels)-1 {
			p.X.Label.Text = "seconds since the first fault was waited for"
		}
	}
}

func ratePanel(r *Run) panel {
	if len(r.Observed.Timeline) == 0 {
		return panel{}
	}
	p := drawing.Panel("messages a second")
	p.Add(spans(r))
	top := 0.0
	for _, line := range []struct {
		look drawing.Look
		of   func(*observe.Sample) int64
	}{
		{deliveredLook, func(s *observe.Sample) int64 { return s.Delivered }},
		{ackedLook, func(s *observe.Sample) int64 { return s.Acked }},
	} {
		points := rates(r.Observed.Timeline, line.of)
		for _, pt := range points {
			top = max(top, pt.Y)
		}
		p.Add(&plotter.Line{
			XYs: points, StepStyle: plotter.PreStep, LineStyle: draw.LineStyle{Color: line.look.Color, Width: 1.2, Dashes: line.look.Dash},
		})
	}
	p.Y.Min = 0
	p.Y.Tick.Marker, p.Y.Max = drawing.FromZero(top, 4, drawing.ShortCount)
	return panel{p, 1.7}
}

// rates are messages a second: a point is the mean of the time since the one before.
func rates(all []observe.Sample, of func(*observe.Sample) int64) plotter.XYs {
	points := plotter.XYs{{X: all[0].At, Y: 0}}
	together := (len(all) + maxPoints - 1) / maxPoints
	for from := 1; from < len(all); from += together {
		to, sum := min(from+together, len(all)), int64(0)
		for i := range all[from:to] {
			sum += of(&all[from+i])
		}
		long := max(all[to-1].At-all[from-1].At, 1e-3)
		points = append(points, plotter.XY{X: all[to-1].At, Y: float64(sum) / long})
	}
	if len(points) > 1 {
		points[0].Y = points[1].Y
	}
	return points
}

// brokerPanel draws one figure of each broker; there is no line while it does not answer.
func brokerPanel(r *Run, title string, of func(observe.State) float64) panel {
	p := drawing.Panel(title)
	p.Add(spans(r))
	all, top := r.Observed.Timeline, 0.0
	stride := (len(all) + maxPoints - 1) / maxPoints
	for b := range brokers(r) {
		style := draw.LineStyle{Color: brokerHue(b), Width: 1.2}
		var points plotter.XYs
		flush := func() {
			if len(points) > 0 {
				p.Add(&plotter.Line{XYs: points, LineStyle: style, StepStyle: plotter.PostStep})
			}
			points = nil
		}
		for i := 0; i < len(all); i += stride {
			if b >= len(all[i].Brokers) || !all[i].Brokers[b].Answers {
				flush()
				continue
			}
			v := of(all[i].Brokers[b])
			top = max(top, v)
			points = append(points, plotter.XY{X: all[i].At, Y: v})
		}
		flush()
	}
	p.Y.Min = 0
	p.Y.Tick.Marker, p.Y.Max = drawing.FromZero(top, 3, drawing.ShortCount)
	return panel{p, 1.2}
}
