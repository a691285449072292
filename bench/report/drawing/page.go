package drawing

import (
	_ "embed"
	"fmt"
	"html/template"
)

//go:embed parts.html
var parts string

// Page parses a page. It may use the templates "style", for its head, "figure", of a Figure, and "script", at its end, which gives
// every figure a button. The functions are for the page; nil: none.
func Page(text string, functions template.FuncMap) (*template.Template, error) {
	t, err := template.New("page").Funcs(functions).Parse(parts)
	if err != nil {
		return nil, err
	}
	return t.Parse(text)
}

// Figure is a plot as a page shows it.
type Figure struct {
	Slug, Title string
	SVG         template.HTML
}

// Figures draws plots for a page.
func Figures(all []Drawing) ([]Figure, error) {
	var figures []Figure
	for i := range all {
		svg, err := all[i].SVG()
		if err != nil {
			return nil, fmt.Errorf("plot %s: %w", all[i].Slug, err)
		}
		// The canvas escapes every text that it draws.
		figures = append(figures, Figure{Slug: all[i].Slug, Title: all[i].Title, SVG: template.HTML(svg)})
	}
	return figures, nil
}
