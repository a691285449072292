package report

import (
	"fmt"
	"math"
)

// promise is one that a run checks. Numbers are those of the invariants in the fault harness's documents.
type promise struct {
	Number, Says string
	Checked      string // how much of what was looked at; empty: the run did not come so far
	Broken       int64
}

// State is a class of the page.
func (p promise) State() string {
	switch {
	case p.Broken > 0:
		return "no"
	case p.Checked == "":
		return "open"
	default:
		return "yes"
	}
}

// promises are those that a result has counts of.
func (r *Run) promises() []promise {
	end := func(n int64, of string) string { // of what is known only when everything was compared
		if !r.checked() {
			return ""
		}
		return count(n) + " " + of
	}
	again := int64(0)
	if r.LostTurns == 0 {
		again = r.Redelivered
	}
	all := []promise{
		{"I1", "what was acknowledged is delivered, and is on every replica", end(r.Acked, "acknowledged"), r.Lost},
		{"I2", "nothing is delivered that was not sent", some(r.Got, "delivered"), r.Phantom},
		{"I3 I6", "a place in the log has one value, and no place is empty", end(r.ReadBack, "read back from replicas"), r.Diverged},
		{"I4", "messages of a producer come in its order", some(r.Got, "delivered"), r.Reordered},
		{"I5", "nothing is in the log twice", some(r.Got, "delivered"), r.Duplicated},
		{"I7", "what was acknowledged by a consumer comes again only if it lost its turn", fmt.Sprintf(
			"%s again, in %s lost turns", count(r.Redelivered), count(r.LostTurns)), again},
		{"I8", "a publish that begins after an acknowledgement stands behind it", some(r.RealTime.Checked, "acknowledged places"), r.RealTime.Broken},
		{"I10", "the files of all replicas are equal", end(r.Compared.Bytes, fmt.Sprintf("bytes of %d partitions", r.Compared.Partitions)), int64(len(r.Compared.Differ))},
		{"I13", "every publish is answered", end(r.Sent, "sent"), r.Unanswered},
		r.recovered(), r.evidence(),
	}
	for _, c := range systemChecks {
		if f, ok := r.Checks[c.name]; ok {
			all = append(all, promise{c.number, c.says, some(f.Checked, c.of), f.Broken})
		}
	}
	return all
}

// systemChecks are the checkers of Run.Checks. A result of a run that had not all of them shows the others.
var systemChecks = []struct{ name, number, says, of string }{
	{"turns", "I7", "a consumer's turn begins where the one before was committed, and passes nothing over", "deliveries and turns"},
	{"progress", "I11", "no replica goes back, and a later leader has what an earlier one had", "answers of replicas"},
	{"positions", "I12", "what subscriptions have committed is linearizable", "operations"},
	{"liveness", "I13", "with at most f brokers harmed every partition goes on, and no request waits", "requests and windows"},
	{"hygiene", "I14", "brokers hold what they held before, end only by the fault, and their logs are clean", "looks and lines"},
	{"memory", "D39", "the memory of the brokers does not grow", "series"},
}

// recovered looks for faults that nothing came back from.
func (r *Run) recovered() promise {
	p := promise{Number: "I15", Says: "brokers come back, catch up, and every partition acknowledges again"}
	back := 0
	for i, f := range r.Faults {
		switch {
		case f.Back():
			back++
		case i == len(r.Faults)-1 || !r.Faults[i+1].Again && !r.Faults[i+1].Rush:
			p.Broken++
		}
	}
	p.Checked = some(int64(back), "times")
	return p
}

// evidence looks for rows that showed nothing.
func (r *Run) evidence() promise {
	p := promise{Number: "I16", Says: "what a row is for was really seen"}
	n := 0
	for _, row := range r.Rows {
		for _, e := range row.Must {
			n++
			if !e.held(row.counts(r), row.Faults) {
				p.Broken++
			}
		}
	}
	p.Checked = some(int64(n), "kinds of evidence")
	return p
}

// least is how often it must have been seen after so many faults.
func (e Evidence) least(faults int) int64 { return int64(math.Ceil(e.PerFault * float64(faults))) }

func (e Evidence) held(counts map[string]int64, faults int) bool {
	n := counts[e.Counter]
	return n >= e.least(faults) && (e.Most < 0 || n <= e.Most)
}

func some(n int64, of string) string {
	if n == 0 {
		return ""
	}
	return count(n) + " " + of
}

// count writes a number with its thousands apart.
func count(n int64) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0 && text[at-1] != '-'; at -= 3 {
		text = text[:at] + " " + text[at:]
	}
	return text
}
