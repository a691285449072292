package verify

// Evidence says how often something must have happened, so that a run which met nothing is not taken for one that held.
type Evidence struct {
	Counter string // for example "leader_changes"
	Least   int64
	Most    int64 // below 0: no bound
}

// Show judges the evidence against what was counted. A counter that is not there counts as 0.
func Show(must []Evidence, counts map[string]int64) Findings {
	var f findings
	for _, e := range must {
		f.checked.Add(1)
		switch n := counts[e.Counter]; {
		case n < e.Least:
			f.note("%s was seen %d times, at least %d are needed: the run shows nothing", e.Counter, n, e.Least)
		case e.Most >= 0 && n > e.Most:
			f.note("%s was seen %d times, at most %d are allowed", e.Counter, n, e.Most)
		}
	}
	return f.Findings()
}
