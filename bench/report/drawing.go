package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/trunkline/trunkline/bench/results"
)

const (
	plotWidth  = 6.6 * vg.Inch
	plotHeight = 3.7 * vg.Inch
	pngDPI     = 160
	margin     = vg.Length(8)
)

// drawing is one plot: a head with title and legend, and a body below it that never reaches into the head.
type drawing struct {
	slug          string // file name without its ending
	title, note   string
	keys          []key
	width, height vg.Length // all of it
	body          func(c draw.Canvas) error
}

// key is an entry of the legend.
type key struct {
	label string
	look  look
	shape shape
}

type shape int

const (
	stroke shape = iota
	box
	dot
	ring
)

// draw draws head and body.
func (d *drawing) draw(c draw.Canvas) error {
	c = draw.Crop(c, margin, -margin, margin, -margin)
	title, note := letters(12, ink, true), letters(9, muted, false)
	y := c.Max.Y - 12
	c.FillText(title, vg.Point{X: c.Min.X, Y: y}, d.title)
	y -= 14
	c.FillText(note, vg.Point{X: c.Min.X, Y: y}, d.note)
	y = d.legend(c, y-16)
	c.Max.Y = y - 6
	return d.body(c)
}

// legend draws the keys in as many lines as they need and returns where the last one stands.
func (d *drawing) legend(c draw.Canvas, y vg.Length) vg.Length {
	style := letters(9.5, ink, false)
	x := c.Min.X
	for _, k := range d.keys {
		width := 26 + style.Width(k.label) + 14
		if x > c.Min.X && x+width-14 > c.Max.X {
			x, y = c.Min.X, y-14
		}
		k.draw(c, x, y+3)
		c.FillText(style, vg.Point{X: x + 26, Y: y}, k.label)
		x += width
	}
	if len(d.keys) == 0 {
		return y + 14
	}
	return y
}

func (k key) draw(c draw.Canvas, x, y vg.Length) {
	switch k.shape {
	case stroke:
		c.StrokeLine2(draw.LineStyle{Color: k.look.color, Width: 2, Dashes: k.look.dash}, x, y, x+20, y)
	case box:
		fill(c, k.look.color, x+6, y-5, x+20, y+5)
	case dot:
		c.DrawGlyph(draw.GlyphStyle{Color: k.look.color, Radius: 3, Shape: draw.CircleGlyph{}}, vg.Point{X: x + 12, Y: y})
	case ring:
		c.DrawGlyph(draw.GlyphStyle{Color: k.look.color, Radius: 3, Shape: draw.RingGlyph{}}, vg.Point{X: x + 12, Y: y})
	}
}

// fill fills a rectangle.
func fill(c draw.Canvas, col color.Color, x0, y0, x1, y1 vg.Length) {
	c.FillPolygon(col, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// svg is the drawing for the page, with inks that follow its theme.
func (d *drawing) svg() (string, error) {
	canvas := vgsvg.New(d.width, d.height)
	if err := d.draw(draw.New(canvas)); err != nil {
		return "", err
	}
	var out bytes.Buffer
	if _, err := canvas.WriteTo(&out); err != nil {
		return "", err
	}
	_, svg, found := strings.Cut(out.String(), "<svg")
	if !found {
		return "", errors.New("the canvas is no SVG")
	}
	return themed.Replace("<svg" + svg), nil
}

// themed takes an SVG into the page: its inks, a font that is everywhere, and no size of its own but the shape.
var themed = strings.NewReplacer(
	hex(ink), "var(--ink)", hex(muted), "var(--muted)", hex(grid), "var(--grid)", hex(minor), "var(--minor)",
	"font-family:Liberation Sans;", "", "font-variant:normal;", "", "font-style:normal;", "", "font-weight:normal;", "", "\n\t", " ",
)

func hex(c color.NRGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }

// png is the drawing on white.
func (d *drawing) png() ([]byte, error) {
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(d.width, d.height), vgimg.UseDPI(pngDPI))}
	if err := d.draw(draw.New(canvas)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err := canvas.WriteTo(&out)
	return out.Bytes(), err
}

// PNGs writes every plot of the report into dir, which it makes if need be, and returns the paths in the report's order.
func PNGs(dir string, files []*results.File) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("export plots: %w", err)
	}
	c := results.Compare(files...)
	all := overview(c)
	for _, b := range c.Blocks {
		all = append(all, plots(b, looks(c))...)
	}
	var paths []string
	for _, d := range all {
		data, err := d.png()
		if err != nil {
			return paths, fmt.Errorf("plot %s: %w", d.slug, err)
		}
		path := filepath.Join(dir, d.slug+".png")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return paths, fmt.Errorf("export plots: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// plots are those of one workload that have something to show.
func plots(b results.Block, looks map[string]look) []drawing {
	var all []drawing
	for _, make := range []func(results.Block, map[string]look) (drawing, bool){
		publishLatency, endToEndLatency, throughput, pauses, cost,
	} {
		if d, ok := make(b, looks); ok {
			d.slug = slug(b.Workload) + "-" + d.slug
			all = append(all, d)
		}
	}
	return all
}

// slug makes a name a file name.
func slug(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		default:
			return '-'
		}
	}, name)
}
