package report

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/trunkline/trunkline/bench/results"
)

// The lines between which Splice puts the block.
const (
	BeginMark = "<!-- how-fast:begin -->"
	EndMark   = "<!-- how-fast:end -->"
)

// readmeWidth is how wide a line of a table may be before its peers go on in another table.
const readmeWidth = 120

// Readme is the Markdown block of README's section "How fast": ASCII, lines of at most 120 characters unless a name or a
// command is longer. It names the date, the machine and the command, and what an acknowledgement is worth.
func Readme(file *results.File) string {
	c := results.Compare(file)
	var out strings.Builder
	env := file.Environment
	paragraph(&out, fmt.Sprintf("Measured on %s: %s, %d cores, %d MiB, %s, %s (fdatasync of 4 KiB: p50 %.0f us), all nodes and the loader on this one machine.",
		file.Created.UTC().Format("2006-01-02"), env.CPU, env.Cores, env.MemoryMiB, env.OS, env.Filesystem, env.FsyncP50us))
	fmt.Fprintf(&out, "\n    %s\n\n", ascii(file.Command))
	if len(c.Blocks) == 0 {
		out.WriteString("No run was made.\n")
		return out.String()
	}
	paragraph(&out, "Median of the rounds. `4.2x (3.9..4.6)`: the first system is so many times better, round by round: median, lowest and highest "+
		"round. Below 1x the other one is better. A run whose check or loader failed is no number.")
	writeTables(&out, "Workload", c.Blocks, headlines)
	var failovers []results.Block
	for _, b := range c.Blocks {
		if slices.ContainsFunc(b.Columns, func(c results.Column) bool { _, ok := c.Cells["publish_pause_p50"]; return ok }) {
			failovers = append(failovers, b)
		}
	}
	if len(failovers) > 0 {
		out.WriteString("\n")
		paragraph(&out, "Pauses when a node dies: the longest time without an answer on the partitions that it led, over all faults.")
		writeTables(&out, "Failover", failovers, pauseFigures)
	}
	out.WriteString("\n")
	writeAcks(&out, c, file)
	return out.String()
}

// headlines is what a workload is about. Where that is the latency end to end, how much of it is the publishing is shown too.
func headlines(b results.Block) []results.Figure {
	head := b.Headline()
	if head.Key == "end_to_end_p99" {
		return append(figuresOf("publish_p50", "publish_p99"), head)
	}
	return []results.Figure{head}
}

func pauseFigures(results.Block) []results.Figure {
	return figuresOf("publish_pause_p50", "publish_pause_p99", "publish_pause_max", "delivery_pause_p50", "delivery_pause_max")
}

func figuresOf(keys ...string) []results.Figure {
	var figures []results.Figure
	for _, key := range keys {
		if f, ok := results.FigureOf(key); ok {
			figures = append(figures, f)
		}
	}
	return figures
}

// writeTables writes a table of the first system and as many peers as fit, and further ones for the others.
func writeTables(out *strings.Builder, corner string, blocks []results.Block, figures func(results.Block) []results.Figure) {
	var systems []string
	for _, b := range blocks {
		for _, c := range b.Columns {
			if !slices.Contains(systems, c.System) {
				systems = append(systems, c.System)
			}
		}
	}
	for rest := systems[1:]; ; {
		n := len(rest)
		table := tableOf(corner, blocks, append(systems[:1:1], rest...), figures)
		for n > 1 && len(table[0]) > readmeWidth {
			n--
			table = tableOf(corner, blocks, append(systems[:1:1], rest[:n]...), figures)
		}
		out.WriteString("\n" + strings.Join(table, "\n") + "\n")
		if rest = rest[n:]; len(rest) == 0 {
			return
		}
	}
}

// tableOf is a Markdown table whose columns are in line.
func tableOf(corner string, blocks []results.Block, systems []string, figures func(results.Block) []results.Figure) []string {
	rows := [][]string{append([]string{corner, "Figure"}, systems...)}
	for _, b := range blocks {
		for _, f := range figures(b) {
			row := []string{b.Workload, f.Name}
			for _, s := range systems {
				row = append(row, cellOf(b, s, f))
			}
			rows = append(rows, row)
		}
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i := range row {
			row[i] = ascii(row[i])
			widths[i] = max(widths[i], len(row[i]), 3)
		}
	}
	var lines []string
	for i, row := range rows {
		line, rule := "|", "|"
		for k, cell := range row {
			line += fmt.Sprintf(" %-*s |", widths[k], cell)
			rule += strings.Repeat("-", widths[k]+2) + "|"
		}
		if lines = append(lines, line); i == 0 {
			lines = append(lines, rule)
		}
	}
	return lines
}

func cellOf(b results.Block, system string, f results.Figure) string {
	i := slices.IndexFunc(b.Columns, func(c results.Column) bool { return c.System == system })
	if i < 0 {
		return "-"
	}
	c := b.Columns[i]
	cell, ok := c.Cells[f.Key]
	switch {
	case c.NotMeasured != "":
		return "not measured"
	case c.OK == 0:
		return "no run counts"
	case !ok:
		return "-"
	case cell.Ratio == nil:
		return f.Unit.Format(cell.Median)
	default:
		return f.Unit.Format(cell.Median) + ", " + cell.Ratio.String()
	}
}

// writeAcks says of each system what its acknowledgement is worth, and which rounds do not count.
func writeAcks(out *strings.Builder, c results.Comparison, file *results.File) {
	paragraph(out, "What an acknowledgement means; durable: the message survives the loss of power on all nodes at once.")
	out.WriteString("\n")
	var seen, missing []string
	for _, b := range c.Blocks {
		for _, col := range b.Columns {
			if len(col.Runs) == 0 || slices.Contains(seen, col.System) {
				continue
			}
			seen = append(seen, col.System)
			about, worth := col.Runs[0].About, "not durable"
			if about.Durable {
				worth = "durable"
			}
			paragraph(out, strings.TrimSpace(fmt.Sprintf("- `%s` (%s), %s: %s", col.System, about.Version, worth, about.Ack)))
		}
		for _, col := range b.Columns {
			if len(col.Reasons) > 0 {
				missing = append(missing, fmt.Sprintf("%d of %d rounds of %s on %s", len(col.Runs)-col.OK, len(col.Runs), b.Workload, col.System))
			}
		}
	}
	for _, n := range file.NotMeasured {
		paragraph(out, fmt.Sprintf("- `%s` was not measured: %s", n.System, n.Why))
	}
	if len(missing) > 0 {
		out.WriteString("\n")
		paragraph(out, "Not counted, because a check or the loader failed: "+strings.Join(missing, "; ")+".")
	}
}

// paragraph writes a text in lines; those of a list item are indented.
func paragraph(out *strings.Builder, text string) {
	indent, line := "", ""
	if strings.HasPrefix(text, "- ") {
		indent = "  "
	}
	for _, word := range strings.Fields(ascii(text)) {
		if line != "" && len(line)+1+len(word) > readmeWidth {
			out.WriteString(line + "\n")
			line = indent + word
			continue
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	out.WriteString(line + "\n")
}

// ascii replaces what a results file may hold and a README may not: other letters, line ends, and the bar that ends a cell.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '|':
			return '/'
		case r < ' ':
			return ' '
		case r > '~':
			return '?'
		default:
			return r
		}
	}, s)
}

// Splice puts a block between the marks of a README, in place of what is there. Each mark has to stand alone on a line, once.
func Splice(readme []byte, block string) ([]byte, error) {
	begin, err := markLine(readme, BeginMark)
	if err != nil {
		return nil, err
	}
	end, err := markLine(readme, EndMark)
	if err != nil {
		return nil, err
	}
	if end < begin {
		return nil, fmt.Errorf("splice: %q stands before %q; put it after", EndMark, BeginMark)
	}
	var out bytes.Buffer
	out.Write(readme[:begin+len(BeginMark)])
	out.WriteString("\n" + strings.TrimSpace(block) + "\n")
	out.Write(readme[end:])
	return out.Bytes(), nil
}

// markLine is where the line of a mark begins.
func markLine(text []byte, mark string) (int, error) {
	at, found := 0, -1
	for line := range bytes.Lines(text) {
		if string(bytes.TrimRight(line, "\r\n")) == mark {
			if found >= 0 {
				return 0, fmt.Errorf("splice: the line %q is there twice; leave one", mark)
			}
			found = at
		}
		at += len(line)
	}
	if found < 0 {
		return 0, errors.New("splice: no line " + mark + "; put one before and one after the place of the block")
	}
	return found, nil
}
