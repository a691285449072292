package results

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Width is how many columns of a terminal Print fills at most, as long as names are not extremely long.
const Width = 120

const (
	nameWidth  = 25 // of figures
	firstWidth = 26 // value and spread of the first system
	peerWidth  = 33 // value and ratio of a peer
	bandPeers  = 2  // peers side by side
)

// Print writes the comparison for a terminal: a block per workload, a line per figure, systems side by side. More than two
// peers follow below each other, each time beside the first system.
func (c Comparison) Print(w io.Writer) error {
	out := &printer{w: w}
	if len(c.Blocks) == 0 {
		out.line("no runs")
		for _, f := range c.Files {
			for _, n := range f.NotMeasured {
				out.wrapped("", n.System+": not measured, "+n.Why)
			}
		}
	}
	if len(c.Files) > 1 {
		out.files(c.Files)
	}
	for _, b := range c.Blocks {
		out.block(b)
	}
	if out.ratios {
		out.line("")
		out.wrapped("", c.legend())
	}
	return out.err
}

// files names the files, and where each was taken.
func (p *printer) files(files []FileMark) {
	machines := make(map[string]bool)
	for _, f := range files {
		e := f.Environment
		machine := fmt.Sprintf("%s, %d cores, %d MiB, %s", e.CPU, e.Cores, e.MemoryMiB, e.Filesystem)
		machines[machine] = true
		p.wrapped(fmt.Sprintf("[%s] ", f.Letter), f.Created.UTC().Format("2006-01-02 15:04 MST")+" "+f.Command)
		p.wrapped("    ", fmt.Sprintf("trunkbench %s on %s, fdatasync %.0f us, load %.1f", e.Trunkbench, machine, e.FsyncP50us, e.LoadBefore))
	}
	if len(machines) > 1 {
		p.line("The files are of different machines: what differs may be the machine.")
	}
}

// legend says what a ratio means, and whose it is.
func (c Comparison) legend() string {
	if len(c.Files) == 1 {
		return "Median over rounds (lowest..highest). N x: the first system is N times better, round by round; below 1 the other is."
	}
	return "Median over rounds (lowest..highest). ~N x: the first column is N times better than this one; below 1 this one is. " +
		"It is a ratio of medians of different times: nothing pairs their rounds, and a busy hour looks like a slow system. " +
		"N x without ~: the same, but against the first system of the same file, round by round."
}

type printer struct {
	w      io.Writer
	err    error // the first
	ratios bool  // some were printed
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
}

func (p *printer) block(b Block) {
	p.line("")
	title := "== " + b.Workload + " "
	p.line("%s", title+strings.Repeat("=", max(3, Width-utf8.RuneCountInString(title))))
	p.wrapped("", b.Doc)
	p.wrapped("note: ", b.Note)
	var measured []Column
	for _, c := range b.Columns {
		if c.NotMeasured == "" {
			measured = append(measured, c)
		}
	}
	for i, band := range bands(measured) {
		if i > 0 {
			p.line("")
		}
		p.band(band)
	}
	for _, c := range b.Columns {
		if c.NotMeasured != "" {
			p.wrapped("", c.Label+": not measured, "+c.NotMeasured)
		}
		for _, r := range c.Reasons {
			p.wrapped("", c.Label+", "+r)
		}
	}
}

// bands deals the columns out: the first system with some peers at a time.
func bands(columns []Column) [][]Column {
	if len(columns) <= 1 {
		return [][]Column{columns}
	}
	var all [][]Column
	for peers := range slices.Chunk(columns[1:], bandPeers) {
		all = append(all, append([]Column{columns[0]}, peers...))
	}
	return all
}

func (p *printer) band(columns []Column) {
	head, rounds := pad("", nameWidth), pad("rounds that count", nameWidth)
	for i, c := range columns {
		width := peerWidth
		if i == 0 {
			width = firstWidth
		}
		head += " " + pad(c.Label, width)
		rounds += " " + pad(fmt.Sprintf("%d of %d", c.OK, len(c.Runs)), width)
	}
	p.line("%s", head)
	p.line("%s", rounds)
	for _, f := range Figures() {
		line, some := pad(f.Name, nameWidth), false
		for i, c := range columns {
			cell, ok := c.Cells[f.Key]
			some = some || ok
			switch {
			case !ok && i == 0:
				line += " " + pad("-", firstWidth)
			case !ok:
				line += " " + pad("-", peerWidth)
			case i == 0:
				line += " " + pad(f.Unit.FormatSpread(cell.Median, cell.Min, cell.Max), firstWidth)
			default:
				line += " " + pad(p.peer(f, cell), peerWidth)
			}
		}
		if some {
			p.line("%s", line)
		}
	}
}

// peer writes a peer's value and, in a column of its own, the ratio; without a ratio there is room for the spread.
func (p *printer) peer(f Figure, c Cell) string {
	if c.Ratio == nil {
		return f.Unit.FormatSpread(c.Median, c.Min, c.Max)
	}
	p.ratios = true
	return pad(f.Unit.Format(c.Median), 11) + " " + c.Ratio.String()
}

// wrapped writes a text in lines of at most Width columns; nothing if it is empty.
func (p *printer) wrapped(prefix, text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && utf8.RuneCountInString(prefix+line+word) >= Width {
			p.line("%s%s", prefix, line)
			line, prefix = "", "  "
		}
		line += word + " "
	}
	if line != "" {
		p.line("%s%s", prefix, line)
	}
}

// pad fills to a width; a longer text stays whole.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}
