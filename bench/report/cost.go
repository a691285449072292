package report

import (
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

const rowHeight = vg.Length(19)

// cost draws what the nodes used as bars from zero: CPU, memory and writing side by side, a line per system.
func cost(b results.Block, looks map[string]drawing.Look) (drawing.Drawing, bool) {
	d := drawing.Drawing{Slug: "cost", Title: b.Workload + ": cost", Width: drawing.Width}
	d.Note = "Of the nodes, per acked message and byte; median of rounds. Lower is better. Whiskers: lowest, highest round."
	var columns []results.Column
	labels := vg.Length(0)
	for _, c := range b.Columns {
		_, cpu := c.Cells["cpu"]
		_, rss := c.Cells["rss"]
		if cpu || rss {
			columns = append(columns, c)
			labels = max(labels, drawing.Letters(9, drawing.Muted, false).Width(c.Label))
		}
	}
	d.Height = max(1.7*vg.Inch, vg.Length(len(columns))*rowHeight+75)
	d.Body = func(c draw.Canvas) error {
		names := drawing.Letters(9, drawing.Ink, false)
		names.XAlign, names.YAlign = draw.XRight, draw.YCenter
		for i, col := range columns {
			c.FillText(names, vg.Point{X: c.Min.X + labels, Y: rowY(c, i)}, col.Label)
		}
		left := c.Min.X + labels + 8
		width := (c.Max.X - left) / 3
		for i, f := range costFigures() {
			part := c
			part.Min.X, part.Max.X = left+vg.Length(i)*width, left+vg.Length(i+1)*width-12
			f.bars(part, columns, looks)
		}
		return nil
	}
	return d, len(columns) > 0
}

type costFigure struct{ key, title string }

func costFigures() []costFigure {
	return []costFigure{
		{"cpu", "CPU s per million"}, {"rss", "RSS, largest node"}, {"written", "written per byte"},
	}
}

// rowY is the middle of a row below the panels' titles.
func rowY(c draw.Canvas, i int) vg.Length { return c.Max.Y - 20 - (vg.Length(i)+0.5)*rowHeight }

func (f costFigure) bars(c draw.Canvas, columns []results.Column, looks map[string]drawing.Look) {
	c.FillText(drawing.Letters(9, drawing.Ink, true), vg.Point{X: c.Min.X, Y: c.Max.Y - 12}, f.title)
	figure, _ := results.FigureOf(f.key)
	label := drawing.Letters(8.5, drawing.Ink, false)
	label.YAlign = draw.YCenter
	top, room := 0.0, vg.Length(0)
	for _, col := range columns {
		if cell, ok := col.Cells[f.key]; ok {
			top, room = max(top, cell.Max), max(room, label.Width(figure.Unit.Format(cell.Median)))
		}
	}
	scale := (c.Max.X - c.Min.X - room - 5) / vg.Length(max(top, 1e-9))
	c.StrokeLine2(draw.LineStyle{Color: drawing.Muted, Width: 0.6}, c.Min.X, c.Max.Y-18, c.Min.X, rowY(c, len(columns)-1)-rowHeight/2)
	for i, col := range columns {
		cell, ok := col.Cells[f.key]
		y := rowY(c, i)
		if !ok {
			c.FillText(label, vg.Point{X: c.Min.X + 4, Y: y}, "not known")
			continue
		}
		drawing.Fill(c, looks[col.Label].Color, c.Min.X, y-5.5, c.Min.X+scale*vg.Length(cell.Median), y+5.5)
		whisker(c, c.Min.X+scale*vg.Length(cell.Min), c.Min.X+scale*vg.Length(cell.Max), y)
		c.FillText(label, vg.Point{X: c.Min.X + scale*vg.Length(cell.Max) + 5, Y: y}, figure.Unit.Format(cell.Median))
	}
}

// whisker draws the spread of a bar; none if there is none to see.
func whisker(c draw.Canvas, from, to, y vg.Length) {
	if to-from < 1 {
		return
	}
	style := draw.LineStyle{Color: drawing.Ink, Width: 0.9}
	c.StrokeLine2(style, from, y, to, y)
	c.StrokeLine2(style, from, y-2.5, from, y+2.5)
	c.StrokeLine2(style, to, y-2.5, to, y+2.5)
}
