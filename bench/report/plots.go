package report

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

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
		data, err := d.PNG()
		if err != nil {
			return paths, fmt.Errorf("plot %s: %w", d.Slug, err)
		}
		path := filepath.Join(dir, d.Slug+".png")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return paths, fmt.Errorf("export plots: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// plots are those of one workload that have something to show.
func plots(b results.Block, looks map[string]drawing.Look) []drawing.Drawing {
	var all []drawing.Drawing
	for _, make := range []func(results.Block, map[string]drawing.Look) (drawing.Drawing, bool){
		publishLatency, endToEndLatency, throughput, pauses, cost,
	} {
		if d, ok := make(b, looks); ok {
			d.Slug = drawing.Slug(b.Workload) + "-" + d.Slug
			all = append(all, d)
		}
	}
	return all
}
