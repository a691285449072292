package report

import (
	"slices"
	"strings"

	"gonum.org/v1/plot/vg"

	"github.com/trunkline/trunkline/bench/report/drawing"
	"github.com/trunkline/trunkline/bench/results"
)

var knownDrivers = []string{"trunkline", "jetstream", "kafka", "rabbitmq"}

// looks gives every column of a comparison its look, by label.
func looks(c results.Comparison) map[string]drawing.Look {
	drivers, profiles := slices.Clone(knownDrivers), map[string][]string{}
	all := map[string]drawing.Look{}
	for _, b := range c.Blocks {
		for _, col := range b.Columns {
			driver, profile, _ := strings.Cut(col.System, ":")
			if !slices.Contains(drivers, driver) {
				drivers = append(drivers, driver)
			}
			if !slices.Contains(profiles[driver], profile) {
				profiles[driver] = append(profiles[driver], profile)
			}
			hue := drawing.Hues[slices.Index(drivers, driver)%len(drawing.Hues)]
			shade := slices.Index(profiles[driver], profile)
			all[col.Label] = drawing.Look{Color: drawing.Lighter(hue, shade), Dash: dashes(shade, col.File)}
		}
	}
	return all
}

func dashes(shade, file int) []vg.Length {
	switch {
	case file > 0:
		return []vg.Length{vg.Length(2 + 4*file), 3}
	case shade > 0:
		return []vg.Length{1.5, 1.5}
	default:
		return nil
	}
}
