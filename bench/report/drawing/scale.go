package drawing

import (
	"fmt"
	"math"

	"gonum.org/v1/plot"
)

// Ticks is a fixed list.
type Ticks []plot.Tick

// Ticks returns the list.
func (t Ticks) Ticks(_, _ float64) []plot.Tick { return t }

// LogRange is a range of decimal logarithms that holds some values, with room at both ends. Values below Floor count as Floor:
// a logarithmic scale has no zero.
type LogRange struct {
	Floor  float64
	Lo, Hi float64
	some   bool
}

// Hold makes the range hold a value.
func (r *LogRange) Hold(v float64) {
	v = r.At(v)
	if !r.some {
		r.Lo, r.Hi, r.some = v, v, true
	}
	r.Lo, r.Hi = min(r.Lo, v), max(r.Hi, v)
}

// At is where a value stands on the axis.
func (r *LogRange) At(v float64) float64 { return math.Log10(max(v, r.Floor)) }

// Widen makes room so that the range ends beside round numbers (1, 2, 5 times a power of ten).
func (r *LogRange) Widen() {
	steps := []float64{0, math.Log10(2), math.Log10(5), 1}
	decade, rest := math.Floor(r.Lo-0.02), 0.0
	for _, s := range steps {
		if decade+s <= r.Lo-0.02 {
			rest = s
		}
	}
	r.Lo = decade + rest
	decade = math.Floor(r.Hi + 0.02)
	for _, s := range steps {
		if decade+s >= r.Hi+0.02 {
			r.Hi = decade + s
			break
		}
	}
	if r.Hi-r.Lo < 0.5 {
		r.Hi = r.Lo + 0.5
	}
}

// Ticks are the powers of ten, with the steps between as thin lines; they are labelled too where there are few decades.
func (r *LogRange) Ticks(format func(v float64) string) Ticks {
	var all Ticks
	for decade := math.Floor(r.Lo); decade <= r.Hi; decade++ {
		for k := 1.0; k < 10; k++ {
			at := decade + math.Log10(k)
			if at < r.Lo-1e-9 || at > r.Hi+1e-9 {
				continue
			}
			label := ""
			if k == 1 || (k == 2 || k == 5) && r.Hi-r.Lo < 2.5 {
				label = format(math.Pow(10, decade) * k)
			}
			all = append(all, plot.Tick{Value: min(max(at, r.Lo), r.Hi), Label: label})
		}
	}
	return all
}

// FromZero are about n round steps from 0 to at least top, and where the axis ends.
func FromZero(top float64, n int, format func(v float64) string) (Ticks, float64) {
	if top <= 0 {
		top = 1
	}
	raw := top / float64(n)
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, k := range []float64{1, 2, 5, 10} {
		if k*step >= raw*0.999 {
			step *= k
			break
		}
	}
	var all Ticks
	end := math.Ceil(top/step-1e-9) * step
	for v := 0.0; v <= end+step/2; v += step {
		all = append(all, plot.Tick{Value: v, Label: format(v)})
	}
	return all, end
}

// ShortTime writes microseconds for an axis, like "5 ms".
func ShortTime(us float64) string {
	switch {
	case us >= 0.999e6:
		return fmt.Sprintf("%.3g s", us/1e6)
	case us >= 0.999e3:
		return fmt.Sprintf("%.3g ms", us/1e3)
	default:
		return fmt.Sprintf("%.3g us", us)
	}
}

// ShortCount writes a rate for an axis, like "200 k".
func ShortCount(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.3g M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.3g k", v/1e3)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}
