package members

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/trunkline/trunkline/bench/chaos"
	"github.com/trunkline/trunkline/bench/pause"
	"github.com/trunkline/trunkline/bench/scale"
)

// Point is one thing that is asked for.
type Point struct {
	Scenario string `json:"scenario"`
	What     string `json:"what"`
	Asked    string `json:"asked"`
	Measured string `json:"measured"`
	Held     bool   `json:"held"`
	Safety   bool   `json:"safety"` // not to hold is a broken promise
}

// safety are the points that every row has.
func safety(r *chaos.Result) []Point {
	part := r.PartLoad
	if part == nil { // it broke off before
		part = &chaos.PartLoad{}
	}
	return []Point{
		{What: "load, messages a second", Asked: "a part of flat out at most", Measured: fmt.Sprintf("%.0f of %.0f", part.Rate, part.FlatOut), Held: part.Rate > 0},
		{
			What: "lost, duplicated, reordered, diverged", Asked: "0, 0, 0, 0", Safety: true,
			Measured: fmt.Sprintf("%d, %d, %d, %d of %d", r.Lost, r.Duplicated, r.Reordered, r.Diverged, r.Acked),
			Held:     r.Acked > 0 && r.Lost+r.Duplicated+r.Reordered+int64(r.Diverged) == 0,
		},
		{What: "all that the row checks, apart from times", Asked: "no violation", Measured: fmt.Sprintf("%d violations", r.Unsafe()), Held: r.Unsafe() == 0, Safety: true},
	}
}

// crowded is what all brokers took flat out when there were most of them.
func crowded(rate float64) Point {
	return Point{What: fmt.Sprintf("flat out with %d brokers, messages a second", widest), Asked: "said", Measured: fmt.Sprintf("%.0f", rate), Held: rate > 0}
}

func growing(r *chaos.Result) []Point {
	if r.PartLoad == nil {
		return nil
	}
	p := r.PartLoad
	point := func(what string, times float64, quiet chaos.Delays) Point {
		return Point{
			What: what, Asked: "at most 3 times quiet", Held: times > 0 && times <= 3,
			Measured: fmt.Sprintf("%.1f ms, quiet %.1f ms: %.2f times", p.Changing.P99, quiet.P99, times),
		}
	}
	return []Point{
		point("publish p99 while members change", p.Times(), p.Quiet),
		point("the same, beside as many brokers as there were then", p.TimesGrown(), p.Grown),
	}
}

func rolling(r *chaos.Result) []Point {
	var all []time.Duration
	for _, f := range r.Faults {
		for _, ms := range f.Pauses {
			all = append(all, time.Duration(ms*float64(time.Millisecond)))
		}
	}
	p, exit := pause.Of(all), r.Counts["roll_exit_ms"]
	return []Point{
		{What: "restarts", Asked: "all of every round", Measured: fmt.Sprintf("%d in %d rounds", r.Counts["roll_restarts"], len(r.Faults)), Held: r.Counts["roll_restarts"] == int64(3*len(r.Faults))},
		{
			What: "publish pause of a partition and restart", Asked: "p99 200 ms, max 500 ms", Held: len(all) > 0 && p.P99 <= 200 && p.Max <= 500,
			Measured: fmt.Sprintf("p50 %.0f, p99 %.0f, max %.0f ms of %d", p.P50, p.P99, p.Max, len(all)),
		},
		{What: "longest exit", Asked: "10 s", Measured: fmt.Sprintf("%d ms", exit), Held: exit > 0 && exit <= 10_000},
	}
}

func repairing(r *chaos.Result) []Point {
	bytes, ms := float64(r.Counts["lost_broker_repaired_bytes"]), float64(r.Counts["lost_broker_repair_ms"])
	return []Point{
		{
			What: "replicas made anew, without an operator", Asked: "all", Held: ms > 0, Safety: true,
			Measured: fmt.Sprintf("%d, whole %.1f s after the kill", r.Counts["lost_broker_repaired"], float64(r.Counts["lost_broker_whole_ms"])/1000),
		},
		{What: "first move after the kill", Asked: "moves.repair_after, 10 s", Measured: fmt.Sprintf("%d ms", r.Counts["lost_broker_notice_ms"]), Held: ms > 0},
		{
			What: "speed of repair", Asked: "stated", Held: ms > 0,
			Measured: fmt.Sprintf("%.2f GB in %.1f s: %.1f MB/s, %.1f s/GB", bytes/1e9, ms/1000, bytes/1e3/max(ms, 1), ms*1e6/max(bytes, 1)),
		},
	}
}

// crowd are the points of many partitions. The limit holds within 10 %.
func crowd(g *scale.Growth) []Point {
	return []Point{
		{
			What: fmt.Sprintf("%d leaderships back after a restart", g.LeadersBack), Asked: "30 s", Held: g.LeadersBack > 0 && g.BalanceSeconds <= 30,
			Measured: fmt.Sprintf("%.1f s after it was ready", g.BalanceSeconds),
		},
		{What: "replicas on a broker that joined", Asked: "its share", Measured: fmt.Sprintf("%d of %d partitions, %.0f s", g.Moved, g.Partitions, g.GrowSeconds), Held: g.Moved > 0},
		{
			What: "sent to it by one broker", Asked: fmt.Sprintf("at most %.1f MB/s, within 10 %%", g.Limit/1e6), Held: g.Most > 0 && g.Most <= 1.1*g.Limit,
			Measured: fmt.Sprintf("at most %.2f MB/s over 2 s; %s", g.Most/1e6, lanes(g.Sent)),
		},
	}
}

func lanes(sent map[string]float64) string {
	var words []string
	for _, lane := range []string{"snapshot", "fetch", "bulk"} {
		words = append(words, fmt.Sprintf("%s %.0f MB", lane, sent[lane]/1e6))
	}
	return strings.Join(words, ", ")
}

// Print writes the table.
func Print(w io.Writer, points []Point) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\twhat\tasked\tmeasured\t")
	for _, p := range points {
		verdict := "held"
		switch {
		case !p.Held && p.Safety:
			verdict = "BROKEN"
		case !p.Held:
			verdict = "missed"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", p.Scenario, p.What, p.Asked, p.Measured, verdict)
	}
	return t.Flush()
}

// Broken counts the points of safety that do not hold.
func Broken(points []Point) (n int) {
	for _, p := range points {
		if p.Safety && !p.Held {
			n++
		}
	}
	return n
}
