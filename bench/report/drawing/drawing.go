package drawing

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// What a plot measures if nothing speaks against it.
const (
	Width  = 6.6 * vg.Inch
	Height = 3.7 * vg.Inch
)

const (
	pngDPI = 160
	margin = vg.Length(8)
)

// Drawing is one plot: a head with title and legend, and a body below it that never reaches into the head.
type Drawing struct {
	Slug          string // file name without its ending
	Title, Note   string
	Keys          []Key
	Width, Height vg.Length // all of it
	Body          func(c draw.Canvas) error
}

// Key is an entry of the legend.
type Key struct {
	Label string
	Look  Look
	Shape Shape
}

// Shape is how a key looks in the legend.
type Shape int

// The shapes.
const (
	Stroke Shape = iota
	Box
	Dot
	Ring
)

// draw draws head and body.
func (d *Drawing) draw(c draw.Canvas) error {
	c = draw.Crop(c, margin, -margin, margin, -margin)
	title, note := Letters(12, Ink, true), Letters(9, Muted, false)
	y := c.Max.Y - 12
	c.FillText(title, vg.Point{X: c.Min.X, Y: y}, d.Title)
	y -= 14
	c.FillText(note, vg.Point{X: c.Min.X, Y: y}, d.Note)
	y = d.legend(c, y-16)
	c.Max.Y = y - 6
	return d.Body(c)
}

// legend draws the keys in as many lines as they need and returns where the last one stands.
func (d *Drawing) legend(c draw.Canvas, y vg.Length) vg.Length {
	style := Letters(9.5, Ink, false)
	x := c.Min.X
	for _, k := range d.Keys {
		width := 26 + style.Width(k.Label) + 14
		if x > c.Min.X && x+width-14 > c.Max.X {
			x, y = c.Min.X, y-14
		}
		k.draw(c, x, y+3)
		c.FillText(style, vg.Point{X: x + 26, Y: y}, k.Label)
		x += width
	}
	if len(d.Keys) == 0 {
		return y + 14
	}
	return y
}

// AddKey adds an entry of the legend, unless there is one of that label.
func (d *Drawing) AddKey(k Key) {
	if !slices.ContainsFunc(d.Keys, func(have Key) bool { return have.Label == k.Label }) {
		d.Keys = append(d.Keys, k)
	}
}

func (k Key) draw(c draw.Canvas, x, y vg.Length) {
	switch k.Shape {
	case Stroke:
		c.StrokeLine2(draw.LineStyle{Color: k.Look.Color, Width: 2, Dashes: k.Look.Dash}, x, y, x+20, y)
	case Box:
		Fill(c, k.Look.Color, x+6, y-5, x+20, y+5)
	case Dot:
		c.DrawGlyph(draw.GlyphStyle{Color: k.Look.Color, Radius: 3, Shape: draw.CircleGlyph{}}, vg.Point{X: x + 12, Y: y})
	case Ring:
		c.DrawGlyph(draw.GlyphStyle{Color: k.Look.Color, Radius: 3, Shape: draw.RingGlyph{}}, vg.Point{X: x + 12, Y: y})
	}
}

// Fill fills a rectangle.
func Fill(c draw.Canvas, col color.Color, x0, y0, x1, y1 vg.Length) {
	c.FillPolygon(col, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// SVG is the drawing for the page, with inks that follow its theme.
func (d *Drawing) SVG() (string, error) {
	canvas := vgsvg.New(d.Width, d.Height)
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
	Hex(Ink), "var(--ink)", Hex(Muted), "var(--muted)", Hex(grid), "var(--grid)", Hex(minor), "var(--minor)",
	"font-family:Liberation Sans;", "", "font-variant:normal;", "", "font-style:normal;", "", "font-weight:normal;", "", "\n\t", " ",
)

// Hex is a colour as CSS writes it, without its transparency.
func Hex(c color.NRGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }

// PNG is the drawing on white.
func (d *Drawing) PNG() ([]byte, error) {
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(d.Width, d.Height), vgimg.UseDPI(pngDPI))}
	if err := d.draw(draw.New(canvas)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err := canvas.WriteTo(&out)
	return out.Bytes(), err
}

// Slug makes a name a file name.
func Slug(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.':
			return r
		default:
			return '-'
		}
	}, name)
}
